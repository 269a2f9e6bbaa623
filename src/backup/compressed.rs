//! Compressed input that a run has stored. It is told each time; what it costs, and what mends that, once: when content
//! that came again was new for the most part, and the last snapshot of the name does not know of it already. What was
//! told is a fact of the snapshot, `compressed`, and stays one as long as such input comes.

use crate::compression::Compression;
use crate::size;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::facts::Facts;

/// The fact that names by what input is compressed.
const FACT: &str = "compressed";
/// Between the names in it.
const COMMA: &str = ", ";

/// Shorter files are not looked at: most are pictures of a page, parts of a program, and what users have packed once.
const FILE_BYTES_MIN: u64 = 16 << 20;
/// Shorter streams cost too little to speak of.
const STREAM_BYTES_MIN: u64 = 1 << 20;
/// Most inputs that are named.
const NAMED_MAX: usize = 20;

/// A file or stream that was compressed before it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompressedInput {
    /// Its path in the snapshot.
    pub path: Vec<u8>,
    /// By what.
    pub by: Compression,
    /// Its bytes.
    pub size: u64,
    /// Those of them that were new.
    pub added_bytes: u64,
}

/// What kind of input it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    /// As a file among others.
    AsFile,
    /// As a stream: the output of a command, a dump.
    AsStream,
}

impl Comes {
    /// How long it is at least if it is looked at, in bytes.
    pub fn least(self) -> u64 {
        if self == Self::AsFile { FILE_BYTES_MIN } else { STREAM_BYTES_MIN }
    }
}

/// Inputs by one way of compression that came again, and were new for the most part.
struct Costly {
    largest: CompressedInput,
    count: u64,
    size: u64,
    added_bytes: u64,
}

impl Costly {
    fn add(&mut self, input: CompressedInput) {
        self.count += 1;
        self.size = self.size.saturating_add(input.size);
        self.added_bytes = self.added_bytes.saturating_add(input.added_bytes);
        if input.added_bytes > self.largest.added_bytes {
            self.largest = input;
        }
    }

    fn told(&self) -> String {
        let Self { largest, count, .. } = self;
        let path = String::from_utf8_lossy(&largest.path);
        let what = match count - 1 {
            0 => format!("{path} is"),
            1 => format!("{path} and another one are"),
            more => format!("{path} and {more} more are"),
        };
        format!(
            "{what} compressed by {}: {} of {} are new again, though much may be as before; to store only what changed, \
             {}",
            largest.by.name(),
            size::rounded(self.added_bytes),
            size::rounded(self.size),
            largest.by.remedy()
        )
    }
}

/// The compressed input of one run.
#[derive(Default)]
pub struct CompressedInputs {
    /// By bytes added, largest first.
    pub largest: Vec<CompressedInput>,
    seen: BTreeSet<Compression>,
    costly: BTreeMap<Compression, Costly>,
    /// Something large was taken over unread: it may be what was told of before.
    has_unread: bool,
}

impl CompressedInputs {
    /// Notes what was stored just now; `is_again` if something was stored in its place before.
    pub fn note(&mut self, input: CompressedInput, is_again: bool) {
        self.seen.insert(input.by);
        let at = self.largest.partition_point(|other| other.added_bytes >= input.added_bytes);
        self.largest.insert(at, input.clone());
        self.largest.truncate(NAMED_MAX);
        if !is_again || input.added_bytes < input.size / 2 {
            return;
        }
        match self.costly.entry(input.by) {
            Entry::Vacant(vacant) => {
                let (size, added_bytes) = (input.size, input.added_bytes);
                vacant.insert(Costly { largest: input, count: 1, size, added_bytes });
            }
            Entry::Occupied(mut costly) => costly.get_mut().add(input),
        }
    }

    /// Notes a file that was taken over unread.
    pub fn pass_over(&mut self, size: u64) {
        self.has_unread |= size >= FILE_BYTES_MIN;
    }

    /// True if it matters what the last snapshot knows.
    pub fn is_to_be_settled(&self) -> bool {
        self.has_unread || !self.seen.is_empty()
    }

    /// The fact that stands in the snapshot, and what is told now. `last` is what was known of the last one, if that can
    /// be read; where it can't, the second run of a source alone tells.
    pub fn settle(&self, last: Option<&Facts>, is_second: bool) -> (Facts, Vec<String>) {
        let names =
            |facts: &Facts| facts.get(FACT).unwrap_or_default().split(COMMA).filter_map(Compression::named).collect();
        let before: Option<BTreeSet<Compression>> = last.map(names);
        let before = before.as_ref();
        let is_known = |by: &Compression| before.map_or(!is_second, |before| before.contains(by));
        let told = self.costly.iter().filter(|(by, _)| !is_known(by)).map(|(_, costly)| costly.told()).collect();
        let still = before.into_iter().flatten().filter(|by| self.has_unread || self.seen.contains(by));
        let names: BTreeSet<&str> = still.chain(self.costly.keys()).map(|by| by.name()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let fact = (!names.is_empty()).then(|| (FACT, names.join(COMMA)));
        (fact.into_iter().collect(), told)
    }
}

#[cfg(test)]
mod tests {
    use super::{CompressedInput, CompressedInputs, FACT, NAMED_MAX};
    use crate::compression::Compression;
    use vault_format::facts::Facts;

    fn input(path: &str, by: Compression, added_bytes: u64) -> CompressedInput {
        CompressedInput { path: path.into(), by, size: 100 << 20, added_bytes: added_bytes << 20 }
    }

    fn run(inputs: &[(CompressedInput, bool)]) -> CompressedInputs {
        let mut all = CompressedInputs::default();
        inputs.iter().for_each(|(input, is_again)| all.note(input.clone(), *is_again));
        all
    }

    /// What each of these runs says, one after the other, and the fact of the last.
    fn said(runs: &[CompressedInputs]) -> (Vec<usize>, String) {
        let (mut counts, mut facts) = (Vec::new(), Facts::default());
        for inputs in runs {
            let settled = inputs.settle(Some(&facts), false);
            counts.push(settled.1.len());
            facts = settled.0;
        }
        (counts, facts.get(FACT).unwrap_or_default().to_owned())
    }

    #[test]
    fn what_it_costs_is_said_once_and_again_after_it_was_gone() {
        let first = || run(&[(input("db", Compression::Gzip, 100), false)]);
        let hour = || run(&[(input("db", Compression::Gzip, 96), true)]);
        let quiet = || run(&[(input("db", Compression::Gzip, 2), true)]);
        let plain = || run(&[]);
        assert_eq!(said(&[first(), hour(), hour(), quiet(), hour()]), (vec![0, 1, 0, 0, 0], "gzip".into()));
        assert_eq!(said(&[first(), hour(), plain(), hour()]), (vec![0, 1, 0, 1], "gzip".into()));
        // a large file that was not read may be the one
        let unread = CompressedInputs { has_unread: true, ..plain() };
        assert_eq!(said(&[first(), hour(), unread, hour()]), (vec![0, 1, 0, 0], "gzip".into()));
        let other = run(&[(input("a", Compression::Zip, 90), true), (input("db", Compression::Gzip, 90), true)]);
        assert_eq!(said(&[first(), hour(), other]), (vec![0, 1, 1], "gzip, zip".into()));
    }

    #[test]
    fn who_can_read_no_facts_tells_in_the_second_run_alone() {
        let hour = run(&[(input("db", Compression::Gzip, 96), true)]);
        assert_eq!([true, false].map(|is_second| hour.settle(None, is_second).1.len()), [1, 0]);
    }

    #[test]
    fn many_files_give_one_line_with_their_sums() {
        let inputs: Vec<_> =
            (0..50).map(|number| (input(&number.to_string(), Compression::Zip, 50 + number % 7), true)).collect();
        let all = run(&inputs);
        let told = all.settle(Some(&Facts::default()), false).1;
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("6 and 49 more are compressed by zip: 2.6 GiB of 4.9 GiB are new"), "{told:?}");
        assert_eq!((all.largest.len(), all.largest[0].added_bytes), (NAMED_MAX, 56 << 20));
    }
}
