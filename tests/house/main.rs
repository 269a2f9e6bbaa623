//! The house keeps its order: each module uses only what lies below it, no circle among the children of any folder, no
//! glob imports, each outside thing behind its one module, and nothing larger than a head can hold. `rules` says what
//! holds; each rule is shown here to bite on a made-up file.

mod check;
mod circle;
mod documents;
mod modules;
mod rules;
mod source;

use check::{Files, check};
use rules::EXCEPTIONS;
use std::fs;
use std::path::Path;

fn collect(root: &Path, folder: &str, files: &mut Files) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    for entry in entries {
        let entry = entry.expect("a folder of the repository can be read");
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(root, &name, files);
        } else if name.ends_with(".rs") {
            files.insert(name, fs::read_to_string(entry.path()).expect("a source file can be read"));
        }
    }
}

#[test]
fn house_is_in_order() {
    let mut files = Files::new();
    for folder in ["src", "format/src", "format/tests", "testkit", "tests", "benches", "examples", "fuzz/src"] {
        collect(Path::new(env!("CARGO_MANIFEST_DIR")), folder, &mut files);
    }
    assert!(files.contains_key("src/lib.rs") && files.contains_key("format/src/lib.rs"), "the sources were found");
    let mut unused: Vec<_> = EXCEPTIONS.iter().collect();
    let mut faults = check(&files);
    faults.retain(|fault| {
        let known = |(place, what, _): &(&str, &str, &str)| *place == fault.place && *what == fault.what;
        unused.retain(|exception| !known(exception));
        !EXCEPTIONS.iter().any(known)
    });
    let unused = unused.iter().map(|(place, what, _)| format!("{place}: {what}: no longer so: strike the exception"));
    let all: Vec<String> = faults.iter().map(ToString::to_string).chain(unused).collect();
    assert!(all.is_empty(), "{} faults\n{}", all.len(), all.join("\n"));
}

/// The faults of a few made-up files.
fn faults(files: &[(&str, &str)]) -> String {
    let files = files.iter().map(|(file, text)| (file.to_string(), text.to_string())).collect();
    check(&files).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_fault_is_found() {
    let bad = [
        ("src/chunk.rs", "use crate::repository::Repository;", "climbs"),
        ("src/chunk.rs", "fn f() { crate::backup::run() }", "climbs"),
        ("src/chunk.rs", "use super::backup::run;", "climbs"),
        ("src/chunk/inner.rs", "use super::super::backup::run;", "climbs"),
        ("src/chunk.rs", "mod inner { use super::super::backup::run; }", "climbs"),
        ("src/chunk.rs", "use crate::{metadata::M, error::{self, Error}};", "climbs"),
        ("src/cache.rs", "use crate::backend::Backend;", "stranger"),
        ("src/source/exclude.rs", "use crate::target::file;", "stranger"),
        ("src/backup.rs", "use crate::restore::plan;", "stranger"),
        ("src/backup.rs", "use crate::Unowned;", "in no layer"),
        ("src/engine.rs", "", "not in the layer table"),
        ("src/backup.rs", "use crate::chunk::*;", "glob"),
        ("src/backup.rs", "use crate::chunk::{Cut, inner::*};", "glob"),
        ("src/backup.rs", "use super::*;", "glob"),
        ("format/src/id.rs", "use super::*;", "glob"),
        ("src/backup.rs", "fn f() { println!(\"x\") }", "println!"),
        ("format/src/id.rs", "fn f() { eprint!(\"x\") }", "eprint!"),
        ("src/backup.rs", "use std::{env, fs};", "std::env"),
        ("src/backup.rs", "fn f() { std::env::var(\"X\"); }", "std::env"),
        ("src/repository/index.rs", "use rusqlite::Connection;", "rusqlite"),
        ("src/restore.rs", "fn f(o: opendal::Operator) {}", "opendal"),
        ("src/restore.rs", "fn f() { tokio::spawn(x) }", "tokio"),
        ("src/plan.rs", "use clap::Args;", "clap"),
        ("src/plan.rs", "use indicatif::ProgressBar;", "indicatif"),
        ("src/keys.rs", "use rpassword::prompt_password;", "rpassword"),
        ("src/backup.rs", "fn f() { SystemTime::now(); }", "SystemTime::now"),
        ("src/cli.rs", "fn f() { std::time::SystemTime::now(); }", "SystemTime::now"),
        ("src/backup.rs", "fn f() { std::time::Instant::now(); }", "Instant::now"),
        ("src/backup.rs", "fn f() { jiff::Timestamp::now(); }", "Timestamp::now"),
        ("src/backup.rs", "fn f() { getrandom::fill(&mut x); }", "getrandom"),
        ("src/backup.rs", "fn f() { unsafe { x() } }", "unsafe"),
        ("src/backup.rs", "fn f() { todo!() }", "todo!"),
        ("format/src/id.rs", "fn f() { unimplemented!() }", "unimplemented!"),
        ("src/backup.rs", "fn f() { dbg!(x) }", "dbg!"),
        ("src/cli/utils.rs", "", "says nothing"),
        ("tests/common/mod.rs", "", "says nothing"),
        ("format/src/id.rs", "use std::{fmt, fs::File};", "std::fs"),
        ("format/src/id.rs", "fn f() { std::thread::sleep(x) }", "std::thread"),
        ("format/src/id.rs", "use std::net::TcpStream;", "std::net"),
        ("format/src/id.rs", "use std::time::Duration;", "std::time"),
        ("format/src/id.rs", "use tokio::spawn;", "tokio"),
        ("format/src/id.rs", "use vault::chunk::Cut;", "climbs: vault"),
        ("format/src/id.rs", "fn f(at: jiff::SystemTime) {}", "SystemTime"),
        ("src/backup.rs", "use testkit::World;", "climbs: testkit"),
        ("testkit/src/world.rs", "fn f() { todo!() }", "todo!"),
        ("src/backup.rs", "fn f() { assert!(x, \"{}\", [std::env::var(\"X\")]) }", "std::env"),
        ("src/backup.rs", "#[arg(default = std::env::args())] struct A;", "std::env"),
        ("src/backup.rs", "fn f() { use crate::restore::{plan, run}; }", "stranger"),
        ("src/backup.rs", "fn f() {\n    std::println!();\n}", "src/backup.rs:2: std::println!();"),
        ("src/backup.rs", "fn f( {", "src/backup.rs: "),
    ];
    for (file, text, fault) in bad {
        let found = faults(&[(file, text)]);
        assert!(found.contains(fault), "{file}: {text}: expected {fault}, found: {found}");
    }
}

#[test]
fn re_exports_do_not_hide_a_layer() {
    let lib = ("src/lib.rs", "pub mod backup; pub use backup::Report as Told;");
    let backup = ("src/backup.rs", "mod report; pub use report::Report;");
    assert!(faults(&[lib, backup, ("src/chunk.rs", "use crate::Told;")]).contains("climbs: backup"));
    assert_eq!(faults(&[lib, backup, ("src/run.rs", "use crate::Told;")]), "");
}

#[test]
fn circles_are_found_in_every_folder() {
    let writer = ("src/copy/writer.rs", "use super::index::Index;");
    let index = ("src/copy/index.rs", "fn f() {\n  println(vec![crate::copy::packer::pack::g()])\n}");
    let parent = ("src/copy.rs", "use writer::{Writer as W};");
    assert_eq!(faults(&[parent, writer, index, ("src/copy/packer.rs", "use super::Copy;")]), "");
    for back in ["use super::writer::Writer;", "fn f(w: super::W) {}", "mod a { use super::super::{x, writer}; }"] {
        let found = faults(&[parent, writer, index, ("src/copy/packer/pack.rs", ""), ("src/copy/packer.rs", back)]);
        let edges = ["index -> packer: src/copy/index.rs:2: println(", "packer -> writer: src/copy/packer.rs:1: "];
        assert!(found.starts_with("vault::copy: circle") && found.lines().count() == 4, "{back}: {found}");
        assert!(edges.iter().all(|edge| found.contains(edge)), "{found}");
    }
    let sealed = [("format/src/seal.rs", "use crate::Key;"), ("format/src/key.rs", "use crate::seal;")];
    let found = faults(&[sealed[0], sealed[1], ("format/src/lib.rs", "pub use key::Key;")]);
    assert!(found.starts_with("vault_format: circle"), "{found}");
}

#[test]
fn what_is_too_large_is_found() {
    let code = |lines: usize| format!("fn f() {{\n// why\n\n{}}}", "x();\n".repeat(lines));
    assert_eq!(faults(&[("src/copy.rs", &code(70)), ("tests/cli.rs", &"\n".repeat(500))]), "");
    for file in ["src/copy.rs", "tests/cli/key.rs", "benches/vault.rs"] {
        let test = format!("#[cfg(test)] mod tests {{ impl A {{ {} }} }}", code(71));
        assert!(faults(&[(file, &test)]).contains("fn f has 71 lines"));
        assert!(faults(&[(file, &"\n".repeat(501))]).contains("501 lines"));
        for method in ["&self, a: A, b: B, c: C, d: D, e: E", "a: A, b: B, c: C, d: D, e: E, f: F"] {
            assert!(faults(&[(file, &format!("impl X {{ fn f({method}) {{}} }}"))]).contains("fn f has 6 parameters"));
            assert!(faults(&[(file, &format!("trait X {{ fn f({method}); }}"))]).contains("fn f has 6 parameters"));
            assert_eq!(faults(&[(file, &format!("impl T for X {{ fn f({method}) {{}} }}"))]), "");
        }
        assert!(faults(&[(file, "fn f((a, ..): &mut (u8, u8, u8)) {}")]).contains("fn f takes a tuple of 3"));
        assert_eq!(faults(&[(file, "fn f(a: (u8, u8), b: &[(u8, u8, u8)]) {}")]), "");
    }
}

#[test]
fn good_code_passes() {
    let good = [
        ("src/backup.rs", "use crate::repository::{self, Repository}; mod files; use rayon::prelude::*;"),
        ("src/backup/files.rs", "use super::{Report, trees::Walk}; pub(crate) fn f(a: u8) -> bool { a != print }"),
        ("src/backup.rs", "// use crate::restore::x;\n/* todo!() /* dbg!() */ */ const A: &str = \"unsafe\";"),
        ("src/backup.rs", "const A: &str = r#\"println!(\"x\")\"#; const Q: char = '\"'; fn f<'a>(x: &'a u8) {}"),
        ("src/backup.rs", "#[cfg(test)]\nmod tests { use super::*; fn f() { { println!(); } } }"),
        ("src/cli/exit.rs", "use crate::run::go; fn f() { println!(\"x\"); Instant::now(); std::env::args(); }"),
        ("src/main.rs", "mod cli; use cli::exit; fn main() { vault::run::go(); eprintln!(); }"),
        ("src/backend/opendal.rs", "use opendal::Operator; use crate::backend::location::Location;"),
        ("src/backend.rs", "mod opendal; use crate::runtime::Runtime;"),
        ("format/src/id.rs", "use crate::error::Error; use std::fmt;"),
        ("testkit/src/world.rs", "use vault::backup::run; use vault_format::id::Id; fn f() { println!(); }"),
    ];
    for (file, text) in good {
        assert_eq!(faults(&[(file, text)]), "", "{file}: {text}");
    }
}
