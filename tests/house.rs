//! The house keeps its order: layers, no cycles, no glob imports, and each outside thing behind its one module.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Top-level modules by layer; a module may use only lower layers and its own children. Layer 0 is vault-format.
const LAYERS: &[(u8, &[&str])] = &[
    (1, &["metadata", "progress", "runtime"]),
    (2, &["source", "target", "chunk", "similar", "retention"]),
    (3, &["cache", "backend"]),
    (4, &["repository"]),
    (5, &["error", "plan"]),
    (
        6,
        &[
            "backup", "restore", "list", "find", "diff", "stats", "forget", "undelete", "tag", "prune", "check",
            "repair", "copy", "keys", "wal",
        ],
    ),
    (7, &["run", "drill", "health", "report"]),
    (8, &["main", "cli"]),
];

/// Paths that only some modules may name, wherever in a path they stand.
const RESERVED: &[(&str, &[&str])] = &[
    ("rusqlite", &["cache"]),
    ("opendal", &["backend"]),
    ("tokio", &["backend"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli", "main"]),
    ("clap_mangen", &["cli", "main"]),
    ("indicatif", &["cli", "main"]),
    ("rpassword", &["cli", "main"]),
    ("std::env", &["cli", "main"]),
    ("getrandom", &["runtime"]),
    ("SystemTime::now", &["runtime"]),
    ("Timestamp::now", &["runtime"]),
    ("Zoned::now", &["runtime"]),
    ("Instant::now", &["runtime", "cli"]),
];

/// What the format crate, a function of its input, never names.
const NOT_IN_FORMAT: &[&str] = &[
    "vault",
    "tokio",
    "opendal",
    "rusqlite",
    "getrandom",
    "std::fs",
    "std::net",
    "std::thread",
    "std::time",
    "std::env",
    "std::process",
    "SystemTime",
    "Instant",
];

const BANNED_MACROS: &[&str] = &["todo", "unimplemented", "dbg"];
const PRINTING: &[&str] = &["print", "println", "eprint", "eprintln"];
const EMPTY_NAMES: &[&str] = &["util", "utils", "misc", "common", "helper", "helpers", "manager", "managers"];

/// Source text by path relative to the repository.
type Files = BTreeMap<String, String>;
/// A word or a sign of the language, and its line.
type Token = (String, usize);

/// A path in the code, every `use` tree taken apart.
struct Named {
    path: Vec<String>,
    line: usize,
    imported: bool,
    /// The inline modules around it.
    inside: Vec<String>,
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, names)| names.contains(&module)).map(|(layer, _)| *layer)
}

/// The end of a string or character literal that starts at `at`, if one does.
fn literal_end(text: &[char], at: usize) -> Option<usize> {
    let mut open = at;
    while open - at < 2 && matches!(text.get(open), Some('b' | 'c' | 'r')) {
        open += 1;
    }
    if open > at && text[open - 1] == 'r' {
        let hashes = text[open..].iter().take_while(|c| **c == '#').count();
        if text.get(open + hashes) == Some(&'"') {
            let mut end = open + hashes + 1;
            while end < text.len() {
                if text[end] == '"' && text[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
                    return Some(end + 1 + hashes);
                }
                end += 1;
            }
            return Some(end);
        }
    }
    let quote = *text.get(open)?;
    // 'a' and '\n' are characters, 'a alone is a lifetime.
    let is_literal = match quote {
        '"' => true,
        '\'' => text.get(open + 1) == Some(&'\\') || text.get(open + 2) == Some(&'\''),
        _ => false,
    };
    if !is_literal {
        return None;
    }
    let mut end = open + 1;
    while end < text.len() && text[end] != quote {
        end += if text[end] == '\\' { 2 } else { 1 };
    }
    Some((end + 1).min(text.len()))
}

/// The end of a comment that starts at `at`, if one does.
fn comment_end(text: &[char], at: usize) -> Option<usize> {
    let pair = |at: usize| (text.get(at).copied(), text.get(at + 1).copied());
    match pair(at) {
        (Some('/'), Some('/')) => Some(at + text[at..].iter().take_while(|c| **c != '\n').count()),
        (Some('/'), Some('*')) => {
            let (mut depth, mut end) = (0, at);
            while end < text.len() {
                match pair(end) {
                    (Some('/'), Some('*')) => (depth, end) = (depth + 1, end + 2),
                    (Some('*'), Some('/')) => (depth, end) = (depth - 1, end + 2),
                    _ => end += 1,
                }
                if depth == 0 {
                    break;
                }
            }
            Some(end)
        }
        _ => None,
    }
}

/// The tokens of a file, without comments, literals and `#[cfg(test)] mod … { … }`.
fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let (mut all, mut at, mut line): (Vec<Token>, usize, usize) = (Vec::new(), 0, 1);
    while at < text.len() {
        let word = text[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
        let end = if let Some(end) = comment_end(&text, at).or_else(|| literal_end(&text, at)) {
            end
        } else if word > 0 {
            all.push((text[at..at + word].iter().collect(), line));
            at + word
        } else if text[at..].starts_with(&[':', ':']) {
            all.push(("::".into(), line));
            at + 2
        } else {
            if !text[at].is_whitespace() {
                all.push((text[at].into(), line));
            }
            at + 1
        };
        line += text[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    without_tests(all)
}

fn without_tests(all: Vec<Token>) -> Vec<Token> {
    const TEST: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < all.len() {
        let here = all[at..].iter().map(|(word, _)| word.as_str());
        if here.clone().take(TEST.len()).eq(TEST) && here.clone().nth(TEST.len() + 1) == Some("{") {
            let mut depth = 0;
            for (word, _) in &all[at..] {
                at += 1;
                depth += i32::from(word == "{") - i32::from(word == "}");
                if word == "}" && depth == 0 {
                    break;
                }
            }
        } else {
            kept.push(all[at].clone());
            at += 1;
        }
    }
    kept
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Takes a `use` tree apart from `at`; returns where it ends.
fn use_tree(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<(Vec<String>, usize)>) -> usize {
    let mut path = prefix.to_vec();
    while let Some((word, line)) = tokens.get(at) {
        match word.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|(word, _)| word != "}") {
                    at = use_tree(tokens, at, &path, found);
                    at += usize::from(tokens.get(at).is_some_and(|(word, _)| word == ","));
                }
                return at + 1;
            }
            _ => {
                if word != "self" || path.is_empty() {
                    path.push(word.clone());
                }
                at += 1;
                if tokens.get(at).is_none_or(|(next, _)| next != "::") {
                    found.push((path, *line));
                    let renamed = tokens.get(at).is_some_and(|(next, _)| next == "as");
                    return at + if renamed { 2 } else { 0 };
                }
            }
        }
    }
    at
}

/// Every path of a file.
fn paths(tokens: &[Token]) -> Vec<Named> {
    let (mut all, mut at, mut depth) = (Vec::new(), 0, 0);
    let mut around: Vec<(String, i32)> = Vec::new();
    while let Some((word, line)) = tokens.get(at) {
        let inside = || around.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        match word.as_str() {
            "use" if tokens.get(at + 1).is_some_and(|(next, _)| next != "<") => {
                let mut found = Vec::new();
                at = use_tree(tokens, at + 1, &[], &mut found);
                all.extend(found.into_iter().map(|(path, line)| Named {
                    path,
                    line,
                    imported: true,
                    inside: inside(),
                }));
                continue;
            }
            "mod" if tokens.get(at + 2).is_some_and(|(next, _)| next == "{") => {
                around.push((tokens[at + 1].0.clone(), depth));
                at += 2;
                continue;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                around.pop_if(|(_, outer)| *outer == depth);
            }
            _ if is_word(word) => {
                let mut path = vec![word.clone()];
                while tokens.get(at + 1).is_some_and(|(next, _)| next == "::")
                    && tokens.get(at + 2).is_some_and(|(next, _)| is_word(next))
                {
                    path.push(tokens[at + 2].0.clone());
                    at += 2;
                }
                all.push(Named { path, line: *line, imported: false, inside: inside() });
            }
            _ => {}
        }
        at += 1;
    }
    all
}

/// `src/repository/writer.rs` is `repository::writer`, `src/lib.rs` is the root.
fn module_of(file: &str) -> Vec<String> {
    let inner = file.strip_prefix("src/").unwrap_or(file).trim_end_matches(".rs");
    let parts: Vec<String> = inner.split('/').filter(|part| *part != "mod").map(String::from).collect();
    if parts == ["lib"] { Vec::new() } else { parts }
}

/// A path of ours from the crate's root, None for one of somebody else's.
fn resolve(named: &Named, module: &[String]) -> Option<Vec<String>> {
    let mut base: Vec<String> = module.iter().chain(&named.inside).cloned().collect();
    let mut rest = named.path.as_slice();
    match rest.first()?.as_str() {
        // A lone `crate` is a visibility.
        "crate" | "vault" if rest.len() > 1 => return Some(rest[1..].to_vec()),
        "self" | "super" if rest.len() > 1 => {}
        // The root names its children bare.
        first if module.first().is_none_or(|top| top == "main") && rest.len() > 1 && layer(first).is_some() => {
            return Some(rest.to_vec());
        }
        _ => return None,
    }
    while let Some(("self" | "super", more)) = rest.split_first().map(|(first, more)| (first.as_str(), more)) {
        if rest[0] == "super" {
            base.pop();
        }
        rest = more;
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

fn names(path: &[String], reserved: &str) -> bool {
    let reserved: Vec<&str> = reserved.split("::").collect();
    // A crate stands first in a path; `backend::opendal` is a module of ours.
    if reserved.len() == 1 || reserved[0] == "std" {
        return path.len() >= reserved.len() && path.iter().zip(&reserved).all(|(word, name)| word == name);
    }
    path.windows(reserved.len()).any(|part| part.iter().zip(&reserved).all(|(word, name)| word == name))
}

/// What holds in every file of either crate.
fn check_everywhere(tokens: &[Token], paths: &[Named], complain: &mut impl FnMut(usize, String)) {
    for (at, (word, line)) in tokens.iter().enumerate() {
        let next = |ahead: usize| tokens.get(at + ahead).map(|(word, _)| word.as_str());
        if word == "unsafe" {
            complain(*line, "unsafe".into());
        }
        if BANNED_MACROS.contains(&word.as_str()) && next(1) == Some("!") && next(2) != Some("=") {
            complain(*line, format!("{word}!"));
        }
    }
    for named in paths.iter().filter(|named| named.imported) {
        let prelude = named.path.iter().rev().nth(1).is_some_and(|parent| parent == "prelude");
        if named.path.last().is_some_and(|last| last == "*") && !prelude {
            complain(named.line, format!("glob import {}", named.path.join("::")));
        }
    }
}

fn prints(tokens: &[Token]) -> impl Iterator<Item = &Token> {
    tokens.windows(3).filter(|t| PRINTING.contains(&t[0].0.as_str()) && t[1].0 == "!" && t[2].0 != "=").map(|t| &t[0])
}

/// A cycle in a graph of names, if there is one.
fn cycle(edges: &BTreeSet<(String, String)>) -> Option<String> {
    let mut left = edges.clone();
    loop {
        let before = left.len();
        let sources: BTreeSet<String> = left.iter().map(|(from, _)| from.clone()).collect();
        left.retain(|(_, to)| sources.contains(to));
        if left.len() == before {
            break;
        }
    }
    let words: Vec<String> = left.iter().map(|(from, to)| format!("{from} -> {to}")).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Every rule over every file; one line for each fault.
fn check(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    let modules: BTreeSet<Vec<String>> = files.keys().filter(|f| f.starts_with("src/")).map(|f| module_of(f)).collect();
    let exported = files.get("src/lib.rs").map(|text| paths(&tokens(text))).unwrap_or_default();
    let (mut tops, mut siblings) = (BTreeSet::new(), BTreeSet::new());
    for (file, text) in files {
        let mut complain = |line: usize, what: String| faults.push(format!("{file}:{line}: {what}"));
        if file.trim_end_matches(".rs").split('/').any(|part| EMPTY_NAMES.contains(&part)) {
            complain(1, "a name that says nothing".into());
        }
        if file.starts_with("tests/") || file.ends_with("/tests.rs") {
            continue;
        }
        let tokens = tokens(text);
        let paths = paths(&tokens);
        check_everywhere(&tokens, &paths, &mut complain);
        let module = module_of(file);
        let top = module.first().cloned().unwrap_or_default();
        let in_format = file.starts_with("format/");
        if !matches!(top.as_str(), "cli" | "main") || in_format {
            prints(&tokens).for_each(|(word, line)| complain(*line, format!("{word}! outside the command line")));
        }
        if in_format {
            for named in &paths {
                for name in NOT_IN_FORMAT.iter().filter(|name| names(&named.path, name)) {
                    complain(named.line, format!("the format names {name}"));
                }
            }
            continue;
        }
        if !top.is_empty() && layer(&top).is_none() {
            complain(1, format!("module {top} is not in the layer table"));
        }
        for named in &paths {
            for (name, _) in
                RESERVED.iter().filter(|(name, by)| names(&named.path, name) && !by.contains(&top.as_str()))
            {
                complain(named.line, format!("{name} outside its module"));
            }
            let Some(mut target) = resolve(named, &module) else { continue };
            if let Some(known) = exported.iter().find(|e| e.imported && e.path.last() == target.first())
                && layer(&target[0]).is_none()
            {
                target = resolve(known, &[]).unwrap_or(target);
            }
            let Some(used) = target.first().filter(|used| !top.is_empty() && **used != top) else {
                if let [parent, from, ..] = module.as_slice()
                    && let [_, to, ..] = target.as_slice()
                    && parent == "repository"
                    && to != from
                    && modules.contains(&target[..2])
                {
                    siblings.insert((from.clone(), to.clone()));
                }
                continue;
            };
            tops.insert((top.clone(), used.clone()));
            match (layer(&top), layer(used)) {
                (_, None) => complain(named.line, format!("{used} is in no layer: name the module that owns it")),
                (Some(own), Some(other)) if other >= own && own < 8 => {
                    let how = if other > own { "climbs" } else { "goes to a stranger" };
                    complain(named.line, format!("{top} (layer {own}) {how}: {used} (layer {other})"));
                }
                _ => {}
            }
        }
    }
    faults.extend(cycle(&tops).map(|cycle| format!("cycle between modules: {cycle}")));
    faults.extend(cycle(&siblings).map(|cycle| format!("cycle in repository: {cycle}")));
    faults
}

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
    for folder in ["src", "format/src", "tests"] {
        collect(Path::new(env!("CARGO_MANIFEST_DIR")), folder, &mut files);
    }
    assert!(files.contains_key("src/lib.rs") && files.contains_key("format/src/lib.rs"), "the sources were found");
    let faults = check(&files);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The faults of a few made-up files.
fn faults(files: &[(&str, &str)]) -> String {
    check(&files.iter().map(|(file, text)| (file.to_string(), text.to_string())).collect()).join("\n")
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
        ("format/src/id.rs", "use vault::chunk::Cut;", "vault"),
    ];
    for (file, text, fault) in bad {
        let found = faults(&[(file, text)]);
        assert!(found.contains(fault), "{file}: {text}: expected {fault}, found: {found}");
    }
}

#[test]
fn re_exports_do_not_hide_a_layer() {
    let lib = ("src/lib.rs", "pub mod backup; pub use backup::Report;");
    assert!(faults(&[lib, ("src/chunk.rs", "use crate::Report;")]).contains("climbs"));
    assert_eq!(faults(&[lib, ("src/run.rs", "use crate::Report;")]), "");
}

#[test]
fn cycles_are_found() {
    let writer = ("src/repository/writer.rs", "use super::index::Index;");
    let index = ("src/repository/index.rs", "fn f() { crate::repository::packer::g() }");
    assert_eq!(faults(&[writer, index, ("src/repository/packer.rs", "use super::Repository;")]), "");
    let found = faults(&[writer, index, ("src/repository/packer.rs", "use super::writer::Writer;")]);
    assert!(found.contains("cycle in repository"), "{found}");
    let found = faults(&[("src/error.rs", "use crate::plan::P;"), ("src/plan.rs", "use crate::error::E;")]);
    assert!(found.contains("cycle between modules"), "{found}");
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
    ];
    for (file, text) in good {
        assert_eq!(faults(&[(file, text)]), "", "{file}: {text}");
    }
}
