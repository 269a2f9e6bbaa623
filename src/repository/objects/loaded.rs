//! What comes of reading all listed objects of one kind: those that count, those that can't be used, and those that
//! somebody put who may not. One object that is torn costs nobody the others. A store that did not answer has said
//! nothing of any object: that ends the reading, and never passes for damage.

use crate::backend::ErrorKind;
use crate::repository::{Error, Listed, Repository, Result};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use vault_format::id::ObjectId;
use vault_format::name::Name;
use vault_format::object::OBJECT_BYTES_MAX;

/// Why an object whose bytes are sound is passed over. Whoever can write to the store can put such a thing, so it must
/// stop nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Neither the owner nor a member that may write there has signed it.
    #[error("nobody who may has signed it")]
    Unsigned,
    /// Its writer was revoked, and the owner does not list it among what still counts.
    #[error("it was made with a key after the owner had revoked it")]
    Revoked,
    /// A member signed it as it is, and it breaks the rules of the format, so it is no damage. Only what nobody needs is
    /// passed over so: packs tell the same as an index.
    #[error("its writer made it against the rules of the format")]
    Malformed,
    /// No object is that large, so nobody reads it: junk of any size must not fill the memory of whoever looks.
    #[error("it is larger than any object but a pack may be")]
    TooLarge,
}

/// What is made of an object that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// It counts.
    Counts(T),
    /// It is passed over.
    Ignored(Reason),
}

impl<T> Verdict<T> {
    /// Takes an error that only a stranger can have caused for what it is: no damage. Other errors stay.
    pub(crate) fn sorted(read: Result<Self>) -> Result<Self> {
        match read {
            Err(Error::Object { source, .. }) if source.is_strange() => Ok(Self::Ignored(Reason::Unsigned)),
            read => read,
        }
    }
}

/// An object that can't be used, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Damage {
    /// The object.
    pub name: Name,
    /// What was wrong; shown as one line, it names the object.
    pub error: Error,
}

/// An object that does not count, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct Ignored {
    /// The object.
    pub name: Name,
    /// Why not.
    pub reason: Reason,
}

/// The objects of one kind.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// Those that count, in the order of the listing.
    pub good: Vec<T>,
    /// Those that can't be used.
    pub damaged: Vec<Damage>,
    /// Those that do not count.
    pub ignored: Vec<Ignored>,
}

impl<T> Default for Loaded<T> {
    fn default() -> Self {
        Self { good: Vec::new(), damaged: Vec::new(), ignored: Vec::new() }
    }
}

impl<T> Loaded<T> {
    /// Drops damage of objects that the owner wants passed over.
    pub(crate) fn spare(&mut self, quarantined: &BTreeSet<ObjectId>) {
        self.damaged.retain(|damage| !damage.name.id().is_some_and(|id| quarantined.contains(&id)));
    }

    /// Takes what of others can't be used, unless the owner wants it passed over, and what does not count; gives the rest.
    pub(crate) fn keep<U>(&mut self, mut other: Loaded<U>, quarantined: &BTreeSet<ObjectId>) -> Vec<U> {
        other.spare(quarantined);
        self.damaged.append(&mut other.damaged);
        self.ignored.append(&mut other.ignored);
        other.good
    }
}

/// Reads what was listed, as many at a time as the store serves. Ends with an error where the store did not answer; one
/// object that it refuses is damaged, since the others may well be open to whoever asks.
pub(crate) fn load<T: Send>(
    repository: &Repository,
    listed: &[Listed],
    read: impl Fn(&Listed) -> Result<Verdict<T>> + Sync,
) -> Result<Loaded<T>> {
    let is_silent = AtomicBool::new(false);
    let threads = repository.backend().connections();
    let all = repository.runtime().map(threads, listed, |object| {
        // whatever is asked next would have to wait as long
        if is_silent.load(Ordering::SeqCst) {
            return None;
        }
        if object.1.size > OBJECT_BYTES_MAX as u64 {
            return Some(Ok(Verdict::Ignored(Reason::TooLarge)));
        }
        let read = Verdict::sorted(read(object));
        is_silent.fetch_or(read.as_ref().is_err_and(says_nothing), Ordering::SeqCst);
        Some(read)
    });
    gather(listed.iter().zip(all).filter_map(|((name, _), read)| Some((name, read?))))
}

/// What came of each object, sorted.
pub(crate) fn gather<'n, T>(read: impl Iterator<Item = (&'n Name, Result<Verdict<T>>)>) -> Result<Loaded<T>> {
    let mut loaded = Loaded::default();
    for (name, read) in read {
        match read {
            Ok(Verdict::Counts(one)) => loaded.good.push(one),
            Ok(Verdict::Ignored(reason)) => loaded.ignored.push(Ignored { name: name.clone(), reason }),
            Err(error) if says_nothing(&error) => return Err(error),
            Err(error) => loaded.damaged.push(Damage { name: name.clone(), error }),
        }
    }
    Ok(loaded)
}

fn says_nothing(error: &Error) -> bool {
    error.is_unanswered() && error.backend().is_none_or(|error| error.kind != ErrorKind::Denied)
}
