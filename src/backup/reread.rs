//! Which of the unchanged files a run reads all the same. Turns go round, so that each file is read once in so many
//! runs, and this machine need not remember which. A key decides in which turn a path comes: nobody can tell from outside
//! which files a run will not look at.

use vault_format::key::Key;

/// The part whose turn it is.
pub struct Reread {
    key: Key,
    /// Paths are spread over so many buckets.
    buckets: u64,
    /// So many of them are read at each turn.
    width: u64,
    /// Where the buckets of this turn begin.
    start: u64,
}

impl Reread {
    /// Of all paths, a part (numerator, denominator) in one turn.
    pub fn new(id_key: &Key, (width, buckets): (u32, u32), turn: u64) -> Self {
        let (width, buckets) = (u64::from(width), u64::from(buckets.max(1)));
        let start = turn % buckets * width % buckets;
        Self { key: id_key.derive("vault v1 reread", &[]), buckets, width, start }
    }

    /// True if it is the turn of a path in the snapshot.
    pub fn is_due(&self, path: &[u8]) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *blake3::keyed_hash(self.key.expose(), path).as_bytes();
        let bucket = u64::from_le_bytes([a, b, c, d, e, f, g, h]) % self.buckets;
        (bucket + self.start) % self.buckets < self.width
    }
}

#[cfg(test)]
mod tests {
    use super::Reread;
    use vault_format::key::Key;

    #[test]
    fn each_path_is_read_in_one_round_and_each_turn_reads_its_part() {
        let key = Key::new([7; 32]);
        let paths: Vec<String> = (0..2_000).map(|number| format!("a/{number}")).collect();
        for part @ (some, all) in [(1, 1), (1, 2), (1, 20), (3, 7), (5, 8), (7, 7), (1, 64), (u32::MAX - 1, u32::MAX)] {
            let round = u64::from(all.div_ceil(some));
            for first in [0, 1, 1_000_003, u64::MAX - round] {
                let mut unread: Vec<&String> = paths.iter().collect();
                for turn in first..first + round {
                    let due = Reread::new(&key, part, turn);
                    unread.retain(|path| !due.is_due(path.as_bytes()));
                    let read = paths.iter().filter(|path| due.is_due(path.as_bytes())).count() as f64;
                    let share = paths.len() as f64 * f64::from(some) / f64::from(all);
                    // five standard deviations
                    assert!((read - share).abs() <= 5.0 * share.sqrt(), "{part:?} in turn {turn}: {read} of {share}");
                }
                assert!(unread.is_empty(), "{part:?} from turn {first}: {unread:?}");
            }
        }
        let none = Reread::new(&key, (0, 5), 3);
        assert!(!paths.iter().any(|path| none.is_due(path.as_bytes())));
    }

    #[test]
    fn only_who_has_the_key_knows_whose_turn_it_is() {
        let due = |byte| Reread::new(&Key::new([byte; 32]), (1, 2), 0);
        let (one, other) = (due(1), due(2));
        let same =
            (0..1_000u32).filter(|number| one.is_due(&number.to_le_bytes()) == other.is_due(&number.to_le_bytes()));
        assert!((400..600).contains(&same.count()));
    }
}
