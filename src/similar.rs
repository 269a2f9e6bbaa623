//! Which earlier pieces a new one takes the place of. A stream that was stored before comes again with a few changes: most
//! of its pieces are the same, in the same order, and those in between stand where others stood. Whoever is to store a
//! new piece learns which old ones lay there, so that it can be stored as the difference to them. Pieces are chunks of a
//! file, or pages of its list; what they hold is not looked at.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use vault_format::frame::BASES_MAX;
use vault_format::id::BlobId;

/// Old pieces that are looked through for the one that comes next.
const AHEAD: usize = 2048;
/// Bytes of new pieces that wait for the next one that is known.
const WAITING_BYTES: u64 = 4 << 20;
/// Old bytes that are kept behind the place where the stream should be by now.
const BEHIND_BYTES: u64 = 8 << 20;
/// A new piece takes the place of an old one if they share at least this part of the shorter one: a cut that moved by a
/// few bytes makes no neighbour a predecessor.
const SHARED_PART: u64 = 8;

/// A piece of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it holds.
    pub id: BlobId,
    /// Bytes of the stream.
    pub length: u64,
}

/// A piece with the bytes before it.
#[derive(Clone, Copy, Debug)]
struct Placed {
    piece: Piece,
    start: u64,
}

impl Placed {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.piece.length)
    }
}

/// A new piece that is settled: whatever the caller gave with it, and what it takes the place of.
#[derive(Debug)]
pub struct Settled<T> {
    /// As it was given.
    pub given: T,
    /// The old pieces, in stream order.
    pub before: Vec<BlobId>,
}

/// Lays a new stream beside an old one.
pub struct Alignment<'o, T> {
    old: Box<dyn Iterator<Item = Piece> + 'o>,
    /// Old pieces that may still come.
    ahead: VecDeque<Placed>,
    /// Which of them hold this, by number.
    numbers: HashMap<BlobId, VecDeque<u64>>,
    /// The number of the first one ahead.
    first: u64,
    old_end: u64,
    is_over: bool,
    new_end: u64,
    /// Where the old stream is, and the new one, behind the last piece that both have.
    last: (u64, u64),
    waiting: Vec<(Placed, T)>,
}

impl<'o, T> Alignment<'o, T> {
    /// Nothing was read of the new stream yet.
    pub fn new(old: impl Iterator<Item = Piece> + 'o) -> Self {
        let mut alignment = Self {
            old: Box::new(old),
            ahead: VecDeque::new(),
            numbers: HashMap::new(),
            first: 0,
            old_end: 0,
            is_over: false,
            new_end: 0,
            last: (0, 0),
            waiting: Vec::new(),
        };
        alignment.look_ahead();
        alignment
    }

    fn look_ahead(&mut self) {
        while !self.is_over && self.ahead.len() < AHEAD {
            let Some(piece) = self.old.next() else {
                self.is_over = true;
                break;
            };
            let number = self.first.saturating_add(self.ahead.len() as u64);
            self.numbers.entry(piece.id).or_default().push_back(number);
            self.ahead.push_back(Placed { piece, start: self.old_end });
            self.old_end = self.old_end.saturating_add(piece.length);
        }
    }

    /// Takes the next piece of the new stream. Gives those that are settled by it, this one among them or not, in order.
    pub fn push(&mut self, piece: Piece, given: T) -> Vec<Settled<T>> {
        let new = Placed { piece, start: self.new_end };
        self.new_end = new.end();
        if let Some((position, old)) = self.find(&piece.id) {
            let mut settled = self.settle(position, Some((old.start, new.start)));
            settled.push(Settled { given, before: Vec::new() });
            self.last = (old.end(), new.end());
            self.drop_first(position + 1);
            self.look_ahead();
            return settled;
        }
        self.waiting.push((new, given));
        let waits = self.waiting.first().map_or(0, |(first, _)| self.new_end - first.start);
        if waits <= WAITING_BYTES {
            return Vec::new();
        }
        // nothing is as it was for long: what follows most likely stands where it stood
        let settled = self.settle(self.ahead.len(), None);
        let passed = shifted(self.new_end, (self.last.1, self.last.0)).saturating_sub(BEHIND_BYTES);
        let behind = self.ahead.iter().take_while(|old| old.end() <= passed).count();
        self.drop_first(behind);
        self.look_ahead();
        settled
    }

    /// The new stream is over: gives the rest.
    pub fn finish(mut self) -> Vec<Settled<T>> {
        let ends = self.is_over.then_some((self.old_end, self.new_end));
        self.settle(self.ahead.len(), ends)
    }

    /// Where this comes next in the old stream.
    fn find(&self, id: &BlobId) -> Option<(usize, Placed)> {
        let position = usize::try_from(self.numbers.get(id)?.front()?.checked_sub(self.first)?).ok()?;
        self.ahead.get(position).map(|old| (position, *old))
    }

    fn drop_first(&mut self, count: usize) {
        for _ in 0..count {
            let Some(old) = self.ahead.pop_front() else { break };
            if let Entry::Occupied(mut numbers) = self.numbers.entry(old.piece.id) {
                numbers.get_mut().pop_front();
                if numbers.get().is_empty() {
                    numbers.remove();
                }
            }
            self.first += 1;
        }
    }

    /// Settles all that waits between the last piece that both streams have and the next, if that is known: it took the
    /// place of old ones among the first `count`.
    fn settle(&mut self, count: usize, next: Option<(u64, u64)>) -> Vec<Settled<T>> {
        let anchors = [Some(self.last), next];
        let waiting = std::mem::take(&mut self.waiting);
        let settle = |(new, given): (Placed, T)| Settled { given, before: self.before(&new, count, anchors) };
        waiting.into_iter().map(settle).collect()
    }

    /// The old pieces that stood where a new one stands, as seen from the pieces around that both streams have.
    fn before(&self, new: &Placed, count: usize, anchors: [Option<(u64, u64)>; 2]) -> Vec<BlobId> {
        let mut shared: Vec<(usize, u64)> = Vec::new();
        for (old_at, new_at) in anchors.into_iter().flatten() {
            let (start, end) = (shifted(new.start, (new_at, old_at)), shifted(new.end(), (new_at, old_at)));
            let from = self.ahead.partition_point(|old| old.end() <= start);
            let overlapping =
                self.ahead.iter().enumerate().take(count).skip(from).take_while(|(_, old)| old.start < end);
            for (position, old) in overlapping {
                let bytes = end.min(old.end()) - start.max(old.start);
                if bytes >= old.piece.length.min(new.piece.length) / SHARED_PART {
                    match shared.iter_mut().find(|(known, _)| *known == position) {
                        Some((_, most)) => *most = bytes.max(*most),
                        None => shared.push((position, bytes)),
                    }
                }
            }
        }
        shared.sort_unstable_by_key(|(position, bytes)| (std::cmp::Reverse(*bytes), *position));
        shared.truncate(BASES_MAX);
        shared.sort_unstable();
        shared.iter().filter_map(|(position, _)| Some(self.ahead.get(*position)?.piece.id)).collect()
    }
}

/// A place of one stream in the other, if both are at these places at once.
fn shifted(at: u64, (here, there): (u64, u64)) -> u64 {
    at.saturating_add(there).saturating_sub(here)
}

#[cfg(test)]
mod tests {
    use super::{AHEAD, Alignment, Piece};
    use vault_format::id::BlobId;

    fn id(number: u32) -> BlobId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        BlobId(id)
    }

    fn pieces(all: &[(u32, u64)]) -> Vec<Piece> {
        all.iter().map(|(number, length)| Piece { id: id(*number), length: *length }).collect()
    }

    /// For each new piece what it takes the place of.
    fn before(old: &[(u32, u64)], new: &[(u32, u64)]) -> Vec<Vec<u32>> {
        let mut alignment = Alignment::new(pieces(old).into_iter());
        let mut settled = Vec::new();
        for (position, piece) in pieces(new).into_iter().enumerate() {
            settled.extend(alignment.push(piece, position));
        }
        settled.extend(alignment.finish());
        assert!(settled.iter().map(|one| one.given).eq(0..new.len()), "each once, in order");
        let number = |id: &BlobId| u32::from_le_bytes([id.0[0], id.0[1], id.0[2], id.0[3]]);
        settled.iter().map(|one| one.before.iter().map(number).collect()).collect()
    }

    const NONE: Vec<u32> = Vec::new();

    #[test]
    fn a_piece_takes_the_place_of_what_stood_between_the_same_neighbours() {
        let old = [(1, 100), (2, 100), (3, 100), (4, 100)];
        assert_eq!(before(&old, &[(1, 100), (9, 101), (3, 100), (4, 100)]), [NONE, vec![2], NONE, NONE]);
        // at the ends too
        assert_eq!(before(&old, &[(8, 90), (2, 100), (3, 100), (9, 120)]), [vec![1], NONE, NONE, vec![4]]);
        // two that became one, and one that became two
        assert_eq!(before(&old, &[(1, 100), (9, 199), (4, 100)]), [NONE, vec![2, 3], NONE]);
        let split = [(1, 100), (8, 50), (9, 51), (3, 100), (4, 100)];
        assert_eq!(before(&old, &split), [NONE, vec![2], vec![2], NONE, NONE]);
    }

    #[test]
    fn what_was_put_in_or_taken_out_moves_the_rest() {
        let old = [(1, 100), (2, 100), (3, 100), (4, 100)];
        // a thousand bytes came in between two that changed: seen from behind, the last stands where the third stood
        let long = [(1, 100), (7, 100), (20, 500), (21, 500), (8, 100), (4, 100)];
        assert_eq!(before(&old, &long), [NONE, vec![2], vec![3], vec![2], vec![3], NONE]);
        assert_eq!(before(&old, &[(1, 100), (9, 100), (4, 100)]), [NONE, vec![2, 3], NONE]);
        assert_eq!(before(&old, &[(4, 100), (1, 100)]), [NONE, NONE]);
        assert_eq!(before(&[], &[(4, 100), (1, 100)]), [NONE, NONE]);
    }

    #[test]
    fn where_nothing_is_as_it_was_each_stands_where_it_stood() {
        let long = 128 << 10;
        let count = 3 * u32::try_from(AHEAD).unwrap();
        let old: Vec<_> = (0..count).map(|number| (number, long)).collect();
        let new: Vec<_> = (0..count).map(|number| (number + 1_000_000, long)).collect();
        let all = before(&old, &new);
        assert!(all.iter().enumerate().all(|(number, before)| *before == [u32::try_from(number).unwrap()]));
    }

    #[test]
    fn content_that_repeats_is_met_where_it_comes_first() {
        let old = [(1, 100), (0, 100), (0, 100), (0, 100), (2, 100), (3, 100)];
        let new = [(1, 100), (0, 100), (0, 100), (0, 100), (9, 100), (3, 100)];
        assert_eq!(before(&old, &new), [NONE, NONE, NONE, NONE, vec![2], NONE]);
    }
}
