//! The salt of an object, from which the keys of its sections and frames follow. Two texts under one key and nonce would
//! give away what differs between them, and fresh randomness alone does not keep that from happening: a machine that was
//! cloned while it ran, or a state of it that was resumed twice, draws the same bytes again. So a fresh salt takes in all
//! that is sealed under it: who draws the same and seals something else gets another one.

use crate::key::Key;

/// Length of a salt in bytes.
pub const SALT_BYTES: usize = 32;

/// Where a salt comes from.
#[derive(Clone, Copy, Debug)]
pub enum Salt {
    /// It is these bytes: for what must come out the same each time, as vectors do.
    Given([u8; SALT_BYTES]),
    /// It is made of these random bytes and of what is sealed.
    Fresh([u8; SALT_BYTES]),
}

impl Salt {
    /// The salt of an object that holds these texts, all that follow from it in order. The key is one that they are
    /// sealed under, so that whoever guesses the random bytes can't test guesses of a text by the salt.
    pub(crate) fn over(self, key: &Key, texts: &[&[u8]]) -> [u8; SALT_BYTES] {
        match self {
            Self::Given(salt) => salt,
            Self::Fresh(random) => {
                let lengths: Vec<[u8; 8]> = texts.iter().map(|text| (text.len() as u64).to_le_bytes()).collect();
                let told = lengths.iter().zip(texts).flat_map(|(length, text)| [length.as_slice(), text]);
                *key.derive("vault v1 salt", &[&random[..]].into_iter().chain(told).collect::<Vec<_>>()).expose()
            }
        }
    }
}

impl From<&[u8; SALT_BYTES]> for Salt {
    fn from(salt: &[u8; SALT_BYTES]) -> Self {
        Self::Given(*salt)
    }
}

#[cfg(test)]
mod tests {
    use super::Salt;
    use crate::key::Key;

    #[test]
    fn who_draws_the_same_and_seals_something_else_gets_another_salt() {
        let (key, fresh) = (Key::new([1; 32]), Salt::Fresh([2; 32]));
        let salt = fresh.over(&key, &[b"one", b"two"]);
        assert_eq!(salt, fresh.over(&key, &[b"one", b"two"]), "nothing else counts");
        for (what, other) in [
            ("another text", fresh.over(&key, &[b"one", b"twi"])),
            ("cut elsewhere", fresh.over(&key, &[b"onet", b"wo"])),
            ("one text less", fresh.over(&key, &[b"one"])),
            ("other bytes drawn", Salt::Fresh([3; 32]).over(&key, &[b"one", b"two"])),
            ("another key", fresh.over(&Key::new([4; 32]), &[b"one", b"two"])),
        ] {
            assert_ne!(salt, other, "{what}");
        }
        assert_eq!(Salt::Given([5; 32]).over(&key, &[b"one"]), [5; 32]);
    }
}
