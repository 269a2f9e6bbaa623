//! Documents keep to what is there: links lead to files and headings, paths in the description of the architecture
//! exist, and each rule of the protocol that a comment cites by its number is defined in SPEC.md.

use super::{Files, collect};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Most bytes of the first page.
const README_BYTES_MAX: usize = 9 << 10;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The documents at the top and in `docs`, by path.
fn documents() -> Vec<(PathBuf, String)> {
    let entries = ["", "docs"].map(|folder| fs::read_dir(root().join(folder)).expect("a folder"));
    let paths = entries.into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let pages = paths.filter(|path| path.extension().is_some_and(|end| end == "md"));
    pages.map(|path| (path.clone(), fs::read_to_string(path).expect("a page"))).collect()
}

/// What stands between two marks, wherever both stand in one line.
fn between<'t>(text: &'t str, open: &'t str, close: char) -> impl Iterator<Item = &'t str> {
    text.lines().flat_map(move |line| line.split(open).skip(1).filter_map(move |rest| rest.split(close).next()))
}

/// What a link calls a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_matches(['#', ' ']).chars().filter(|sign| sign.is_alphanumeric() || " -_".contains(*sign));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The rules that a text names by number, like W3.
fn rules(text: &str) -> BTreeSet<&str> {
    let is_rule = |word: &&str| word.len() == 2 && "WMSDT".contains(&word[..1]) && word.as_bytes()[1].is_ascii_digit();
    text.split(|sign: char| !sign.is_alphanumeric()).filter(is_rule).collect()
}

#[test]
fn links_lead_somewhere() {
    for (page, text) in documents() {
        for link in between(&text, "](", ')').filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            let there = || fs::read_to_string(&target).expect("a page");
            let is_heading = |line: &str| line.starts_with('#') && anchor(line) == heading;
            assert!(heading.is_empty() || there().lines().any(is_heading), "{}: {link}", page.display());
        }
    }
}

#[test]
fn what_the_architecture_names_is_there() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("a page");
    let named = |path: &&str| ["src/", "tests/", "format/", "testkit/"].iter().any(|top| path.starts_with(top));
    let paths: Vec<&str> = text.split('`').skip(1).step_by(2).filter(named).collect();
    assert!(paths.len() > 20, "the paths were found");
    let is_lost = |path: &&&str| !path.contains("NAME") && !root().join(path).exists();
    let lost: Vec<_> = paths.iter().filter(is_lost).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn each_test_that_shows_who_can_do_what_is_there() {
    let text = fs::read_to_string(root().join("docs/security.md")).expect("a page");
    let named: Vec<(&str, &str)> =
        text.split('`').skip(1).step_by(2).filter_map(|word| word.split_once("::")).collect();
    assert!(named.len() > 20, "the tests were found");
    let is_lost = |(file, name): &&(&str, &str)| {
        let folder = if file.starts_with("src/") || file.starts_with("format/") {
            ""
        } else if file.contains('/') {
            "tests"
        } else {
            "tests/repository"
        };
        let code = fs::read_to_string(root().join(folder).join(format!("{file}.rs"))).unwrap_or_default();
        !code.contains(&format!("fn {name}()"))
    };
    let lost: Vec<_> = named.iter().filter(is_lost).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn each_rule_undone_by_hand_was_noticed_by_a_test() {
    let text = fs::read_to_string(root().join("docs/security.md")).expect("a page");
    let (_, list) = text.split_once("\n## Rules undone by hand").expect("the list");
    let rows: Vec<&str> = list.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 30, "the rules were found");
    let names_one = |row: &&&str| between(row, "`", '`').any(|word| word.contains("::"));
    let unnoticed: Vec<_> = rows.iter().filter(|row| !names_one(row)).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}

#[test]
fn every_rule_that_is_cited_is_defined() {
    let text = fs::read_to_string(root().join("format/SPEC.md")).expect("the specification");
    let defined: BTreeSet<&str> = between(&text, "**", ',').filter(|word| rules(word).contains(word)).collect();
    assert!(defined.len() > 20, "the rules were found");
    let mut files = Files::new();
    collect(Path::new(&root()), "src", &mut files);
    let comments = files.values().flat_map(|code| code.lines()).filter(|line| line.trim_start().starts_with("//"));
    let cited: BTreeSet<&str> = comments.flat_map(rules).collect();
    assert!(cited.len() > 5, "the comments were found");
    let unknown: Vec<_> = cited.difference(&defined).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_first_page_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the first page");
    assert!(readme.len() <= README_BYTES_MAX, "README.md has {} bytes", readme.len());
}
