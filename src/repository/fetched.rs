//! Objects that this process has fetched from a store that is far away: most operations ask for some of them twice, and
//! each time costs the way there and back. Names are hashes, so what was compared with its name once is right for good;
//! whether an object is still there only a listing says. Bounded, and the oldest goes first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use vault_format::id::ObjectId;

/// Bytes of all of them.
const BYTES_MAX: usize = 8 << 20;
/// Larger ones are read again: there are few.
const OBJECT_BYTES_MAX: usize = 1 << 20;

/// What was fetched, by the hash of its bytes.
#[derive(Default)]
pub(super) struct Fetched {
    objects: HashMap<ObjectId, Arc<Vec<u8>>>,
    order: VecDeque<ObjectId>,
    bytes: usize,
}

impl Fetched {
    pub fn get(&self, id: &ObjectId) -> Option<Arc<Vec<u8>>> {
        self.objects.get(id).cloned()
    }

    /// Keeps bytes whose hash this is.
    pub fn keep(&mut self, id: ObjectId, bytes: &[u8]) {
        if bytes.len() > OBJECT_BYTES_MAX || self.objects.contains_key(&id) {
            return;
        }
        self.bytes += bytes.len();
        self.objects.insert(id, Arc::new(bytes.to_vec()));
        self.order.push_back(id);
        while self.bytes > BYTES_MAX {
            let Some(gone) = self.order.pop_front().and_then(|oldest| self.objects.remove(&oldest)) else { return };
            self.bytes -= gone.len();
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, Fetched, OBJECT_BYTES_MAX};
    use vault_format::id::ObjectId;

    #[test]
    fn the_newest_stay_within_the_bytes() {
        let mut fetched = Fetched::default();
        let id = |number: u8| ObjectId([number; 32]);
        let count = u8::try_from(BYTES_MAX / OBJECT_BYTES_MAX).unwrap();
        for number in 0..=count {
            fetched.keep(id(number), &vec![number; OBJECT_BYTES_MAX]);
            fetched.keep(id(number), &vec![number; OBJECT_BYTES_MAX]);
        }
        assert!(fetched.get(&id(0)).is_none() && (1..=count).all(|number| fetched.get(&id(number)).is_some()));
        fetched.keep(id(200), &vec![0; OBJECT_BYTES_MAX + 1]);
        assert!(fetched.get(&id(200)).is_none());
        fetched.clear();
        assert!(fetched.get(&id(1)).is_none() && fetched.bytes == 0);
    }
}
