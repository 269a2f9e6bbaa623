//! What a snapshot lacks, as paths below its root, in bounds: a snapshot must be small whatever went wrong.

use vault_format::snapshot::Gaps;

/// Most bytes of paths that are kept.
const PATH_BYTES_MAX: usize = 1 << 20;

/// Collects gaps.
#[derive(Default)]
pub struct GapList {
    gaps: Gaps,
    bytes: usize,
}

impl GapList {
    /// An entry that could not be read, or not whole.
    pub fn unread(&mut self, path: &[u8]) {
        if self.gaps.unread.last().is_none_or(|last| last != path) && self.has_room(path) {
            self.gaps.unread.push(path.to_vec());
        }
    }

    /// An entry that was passed over.
    pub fn not_entered(&mut self, path: &[u8]) {
        if self.has_room(path) {
            self.gaps.not_entered.push(path.to_vec());
        }
    }

    fn has_room(&mut self, path: &[u8]) -> bool {
        self.bytes += path.len() + 8;
        self.gaps.more |= self.bytes > PATH_BYTES_MAX;
        !self.gaps.more
    }

    /// All that was kept.
    pub fn finish(&self) -> Gaps {
        self.gaps.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{GapList, PATH_BYTES_MAX};

    #[test]
    fn gaps_are_told_once_and_in_bounds() {
        let mut list = GapList::default();
        for path in [&b"a"[..], b"a", b"b"] {
            list.unread(path);
        }
        list.not_entered(b"mount");
        let gaps = list.finish();
        assert_eq!((gaps.unread.len(), gaps.not_entered.len(), gaps.more), (2, 1, false));
        for number in 0..PATH_BYTES_MAX / 1000 {
            list.unread(format!("{number:01000}").as_bytes());
        }
        let gaps = list.finish();
        assert!(gaps.more && gaps.unread.iter().map(Vec::len).sum::<usize>() <= PATH_BYTES_MAX);
    }
}
