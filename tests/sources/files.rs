//! Several files of one dump: where they lie in the snapshot, what is refused, and when nothing has changed.

use crate::taken::Vault;
use std::collections::VecDeque;
use vault::backup;
use vault::progress::Silent;
use vault::source::dump::{Dump, DumpFailure, DumpFile, Learned};

/// Files as they are given; the last may be found not to be whole.
struct Given {
    files: Vec<(&'static str, &'static str)>,
    left: VecDeque<(&'static str, &'static str)>,
    open: &'static [u8],
    is_cut: bool,
}

impl Given {
    fn new(files: &[(&'static str, &'static str)]) -> Self {
        Self { files: files.to_vec(), left: VecDeque::new(), open: b"", is_cut: false }
    }
}

impl Dump for Given {
    fn begin(&mut self) -> Result<(), DumpFailure> {
        self.left = self.files.iter().copied().collect();
        Ok(())
    }

    fn next(&mut self) -> Result<Option<DumpFile<'_>>, DumpFailure> {
        match self.left.pop_front() {
            Some((name, content)) => {
                self.open = content.as_bytes();
                Ok(Some(DumpFile { name: name.into(), content: &mut self.open, allow_empty: name == "empty" }))
            }
            None if self.is_cut => Err(DumpFailure::Cut { what: "it".into(), why: "the end is missing".into() }),
            None => Ok(None),
        }
    }

    fn learned(&mut self) -> Learned {
        Learned { lacking: vec!["roles".into()], facts: vec![("a".into(), "1".into())], ..Learned::default() }
    }
}

#[test]
fn files_lie_in_their_folders_whatever_order_they_come_in() {
    let vault = Vault::new();
    let files = [("b/x/deep", "1"), ("b-c", "2"), ("empty", ""), ("a", "3"), ("b/x.sql", "4"), ("b0", "5")];
    let report = vault.take(&mut Given::new(&files)).unwrap();
    assert_eq!((report.head.statistics.files, report.head.statistics.directories), (6, 2));
    assert_eq!((report.failed.as_slice(), report.facts.get("a")), (&["roles".to_owned()][..], Some("1")));
    let (_place, out) = vault.restored(&report);
    files
        .iter()
        .for_each(|(name, content)| assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), *content, "{name}"));
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 5);

    // the same once more is nothing new
    let options = backup::Options { skip_if_unchanged: true, ..backup::Options::default() };
    assert!(vault.take_as(&mut Given::new(&files), &options, &Silent).unwrap().snapshot.is_none());
    let other = vault.take_as(&mut Given::new(&files[1..]), &options, &Silent).unwrap();
    assert!(other.snapshot.is_some());
}

#[test]
fn a_dump_that_cannot_be_one_snapshot_is_none() {
    let vault = Vault::new();
    for twice in [["a", "a"], ["a", "a/b"], ["a/b", "a"]] {
        let files = twice.map(|name| (name, "x"));
        vault.refuses(&mut Given::new(&files), &[twice[1], "takes its place"]);
    }
    vault.refuses(&mut Given::new(&[]), &["no file"]);
    vault.refuses(&mut Given::new(&[("a", "x"), ("b", "")]), &["b gave no output"]);
    // and one whose end says so, though every byte was stored
    let mut cut = Given { is_cut: true, ..Given::new(&[("a", "x")]) };
    vault.refuses(&mut cut, &["the dump of it is not whole", "the end is missing"]);
}
