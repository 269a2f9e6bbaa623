//! Replays the corpus of the fuzz target that restores hostile entries, through the same function.

use crate::paths::Place;
use std::path::Path;

#[test]
fn the_corpus_of_paths_replays() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/paths");
    let place = Place::new();
    let (mut entered, mut placed, mut written, mut left, mut refused, mut planted) = (0, 0, 0, 0, 0, 0);
    for file in std::fs::read_dir(&folder).unwrap() {
        let tally = place.run(&std::fs::read(file.unwrap().path()).unwrap());
        entered += tally.entered;
        placed += tally.placed;
        written += tally.written;
        left += tally.left;
        refused += tally.refused;
        planted += tally.planted;
    }
    let all = [entered, placed, written, left, refused, planted];
    assert!(all.iter().all(|count| *count >= 10), "the corpus does too little: {all:?}");
}
