//! A dump on its way into the snapshot: it is looked at as it passes, and counts only if its last line is there. A program
//! that ends well though its dump does not is caught so: SQL that is cut between two statements looks whole otherwise.

use super::script::{Found, Script};
use crate::source::child::Child;
use crate::source::dump::DumpFailure;
use std::io::{self, Read};

/// A dump that is being read.
pub struct Flow<'a> {
    /// The database.
    pub what: String,
    dump: Child<'a>,
    script: Script,
}

impl<'a> Flow<'a> {
    /// Reads what a program writes.
    pub fn new(what: String, dump: Child<'a>) -> Self {
        Self { what, dump, script: Script::default() }
    }

    /// What the whole dump told, and what its program said last.
    pub fn finish(self) -> Result<(Found, Vec<u8>), DumpFailure> {
        let messages = self.dump.finish()?;
        let found = self.script.finish();
        let cut = |why: &str| Err(DumpFailure::Cut { what: self.what.clone(), why: why.into() });
        if found.is_of_terminal {
            return cut(
                "each of its lines ends with CR LF, as a terminal makes them: leave out -t of `docker exec` (and -it), \
                 and say -T to `docker compose exec`",
            );
        }
        if !found.is_whole {
            return cut("its last line, \"Dump completed\", is missing (--skip-comments and --compact leave it out)");
        }
        Ok((found, messages))
    }
}

impl Read for Flow<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.dump.read(out)?;
        self.script.push(out.get(..length).unwrap_or_default());
        Ok(length)
    }
}
