//! The directories that a walk is in, one below the other, and the path to where it is. A path is kept once for all of
//! them, and of directories far above that hold much only the place is kept where the walk goes on: they are read again
//! on the way back. So the memory of a walk follows from what one directory holds, and not from how deep they lie.

use super::names;
use crate::repository::Result;

/// Encoded bytes of pages that the directories above the last may hold together.
const HELD_BYTES_MAX: usize = 8 << 20;

/// A directory that is being read in order.
pub(super) trait Directory {
    /// Encoded bytes of the pages that it holds.
    fn held(&self) -> usize;
    /// Gives them up; what comes next stays what it was.
    fn rest(&mut self);
}

/// Directories on the way.
pub(super) struct Levels<D> {
    /// Each with the bytes of its path.
    open: Vec<(usize, D)>,
    path: Vec<u8>,
    /// Those that rest come first.
    resting: usize,
    /// Encoded bytes of the pages of the others but the last.
    held: usize,
}

impl<D: Directory> Levels<D> {
    /// None yet; the first lies at `path`.
    pub fn new(path: &[u8]) -> Self {
        Self { open: Vec::new(), path: path.to_vec(), resting: 0, held: 0 }
    }

    /// The path of what was named last, or of the directory that was left last.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Enters the directory that was named last.
    pub fn push(&mut self, directory: D) {
        self.held += self.open.last().map_or(0, |(_, above)| above.held());
        self.open.push((self.path.len(), directory));
        let above = self.open.len() - 1;
        while self.held > HELD_BYTES_MAX
            && let Some((_, far)) = self.open.get_mut(self.resting).filter(|_| self.resting < above)
        {
            self.held -= far.held();
            far.rest();
            self.resting += 1;
        }
    }

    /// Leaves the last one.
    pub fn pop(&mut self) {
        self.open.pop();
        let Some(last) = self.open.len().checked_sub(1) else { return };
        if self.resting > last {
            self.resting = last;
        } else {
            self.held -= self.open.last().map_or(0, |(_, directory)| directory.held());
        }
    }

    /// Leaves all but the first `depth`.
    pub fn truncate(&mut self, depth: usize) {
        while self.open.len() > depth {
            self.pop();
        }
    }

    /// The last one, and the path is its own again.
    pub fn last(&mut self) -> Option<&mut D> {
        let (path, directory) = self.open.last_mut()?;
        self.path.truncate(*path);
        Some(directory)
    }

    /// Makes the path that of a name in the last directory. Fails if it is longer than any may be, and stays then.
    pub fn name(&mut self, name: &[u8]) -> Result<()> {
        names::extend(&mut self.path, name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Directory, HELD_BYTES_MAX, Levels};
    use vault_format::tree::PATH_BYTES_MAX;

    /// A directory that holds so much, until it rests.
    struct Full(usize);

    impl Directory for Full {
        fn held(&self) -> usize {
            self.0
        }

        fn rest(&mut self) {
            self.0 = 0;
        }
    }

    #[test]
    fn however_deep_a_walk_is_its_directories_hold_no_more_than_they_may() {
        let mut levels = Levels::new(b"");
        let each = HELD_BYTES_MAX / 4;
        let held = |levels: &Levels<Full>| levels.open.iter().map(|(_, directory)| directory.held()).sum::<usize>();
        for depth in 0..1000 {
            levels.name(b"d").unwrap();
            levels.push(Full(each));
            assert!(held(&levels) <= HELD_BYTES_MAX + each, "{depth}");
        }
        // those next to where the walk is stay as they are
        assert!(levels.open.iter().rev().take(4).all(|(_, directory)| directory.held() == each));
        // on the way back each is read again, and counts again once something is entered below it
        while levels.len() > 1 {
            levels.pop();
            levels.last().unwrap().0 = each;
            assert!(held(&levels) <= HELD_BYTES_MAX + each, "{}", levels.len());
            levels.push(Full(each));
            assert!(held(&levels) <= HELD_BYTES_MAX + each, "{}", levels.len());
            levels.pop();
        }
        assert_eq!((levels.held, levels.resting), (0, 0));
    }

    #[test]
    fn a_path_is_that_of_the_last_name_and_never_too_long() {
        let mut levels = Levels::new(b"above");
        levels.push(Full(0));
        levels.name(b"a").unwrap();
        assert_eq!(levels.path(), b"above/a");
        levels.push(Full(0));
        levels.name(b"b").unwrap();
        assert_eq!(levels.path(), b"above/a/b");
        levels.last().unwrap();
        assert_eq!(levels.path(), b"above/a");
        let fits = vec![b'n'; PATH_BYTES_MAX - b"above/a/".len()];
        assert!(levels.name(&[fits.as_slice(), b"n"].concat()).is_err());
        assert_eq!(levels.path(), b"above/a");
        levels.name(&fits).unwrap();
    }
}
