//! A dump on its way into the snapshot, and its proof: what is read is looked at as it passes. A custom dump goes through
//! a `pg_restore` beside, which reads it to its end or fails, and gives the rows to count; of a plain one the rows are
//! counted here, and its last lines must be there. A program that ends well though its dump does not is caught so.

use super::Format;
use super::script::{Found, Script};
use crate::source::child::{Child, last_words};
use crate::source::dump::DumpFailure;
use std::io::{self, Read};

/// What a custom dump begins with.
const MAGIC: &[u8] = b"PGDMP";
/// Bytes of the begin that are looked at, and shown if they are wrong.
const BEGIN_BYTES: usize = 64;
/// What is read on of a dump that is known to be none: its program may say at its end why.
const LATE_BYTES: usize = 1 << 20;
const TERMINAL: &str = "each of its lines ends with CR LF, as a terminal makes them: leave out -t of `docker exec` (and \
                        -it), and say -T to `docker compose exec`";

/// A dump that is being read.
pub struct Flow<'a> {
    /// The database.
    pub what: String,
    format: Format,
    dump: Child<'a>,
    /// Reads a custom dump as well; gone once it has ended.
    proof: Option<Child<'a>>,
    script: Script,
    begin: Vec<u8>,
    lines: Lines,
    fault: Option<String>,
    late: usize,
}

/// A dump that came to its end.
pub struct Whole {
    /// What it told of itself.
    pub found: Found,
    /// What its program said last.
    pub messages: Vec<u8>,
}

/// How lines end, until one ends as it should.
#[derive(Default)]
struct Lines {
    has_plain: bool,
    has_wrong: bool,
    before: u8,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.has_plain {
                return;
            }
            if *byte == b'\n' {
                *(if self.before == b'\r' { &mut self.has_wrong } else { &mut self.has_plain }) = true;
            }
            self.before = *byte;
        }
    }

    fn are_of_terminal(&self) -> bool {
        self.has_wrong && !self.has_plain
    }
}

impl<'a> Flow<'a> {
    /// Reads a program's dump; `proof` is a `pg_restore` that reads its standard input.
    pub fn new(what: String, format: Format, dump: Child<'a>, proof: Option<Child<'a>>) -> Self {
        let (script, begin, lines) = (Script::default(), Vec::new(), Lines::default());
        Self { what, format, dump, proof, script, begin, lines, fault: None, late: 0 }
    }

    fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        let begin = self.begin.len();
        self.begin.extend(bytes.iter().take(BEGIN_BYTES.saturating_sub(begin)));
        self.lines.push(bytes);
        if begin < BEGIN_BYTES {
            self.fault = self.wrong_begin(bytes.is_empty());
        }
        let script = &mut self.script;
        if self.format == Format::Plain {
            script.push(bytes);
            return Ok(());
        }
        let Some(proof) = self.proof.as_mut() else { return Ok(()) };
        // it ends before its input does if that is not what it can read
        let goes_on = bytes.is_empty() || proof.feed(bytes, &mut |text| script.push(text))?;
        if goes_on { Ok(()) } else { self.prove() }
    }

    /// Has the proof come to its end, and notes what it found wrong.
    fn prove(&mut self) -> io::Result<()> {
        let Some(mut proof) = self.proof.take() else { return Ok(()) };
        let script = &mut self.script;
        proof.drain(&mut |text| script.push(text))?;
        if let Err(failure) = proof.finish() {
            let hint = if failure.to_string().contains("unsupported version") {
                "; it is of a newer pg_dump: install that version's client here, or name its folder by `tools`"
            } else {
                ""
            };
            self.fault = Some(format!("{failure}{hint}"));
        }
        Ok(())
    }

    /// What is wrong with the first bytes, once there are enough of them.
    fn wrong_begin(&self, is_end: bool) -> Option<String> {
        let has_magic = self.begin.starts_with(MAGIC);
        let is_short = self.begin.len() < MAGIC.len() && !is_end || self.begin.is_empty();
        let shown = || String::from_utf8_lossy(&self.begin).escape_debug().to_string();
        match self.format {
            _ if is_short => None,
            Format::Custom if has_magic => None,
            Format::Custom if self.begin.starts_with(b"--\n") || self.begin.starts_with(b"--\r\n") => {
                Some("it is a plain one: say format = \"plain\", or give its program --format=custom".into())
            }
            Format::Custom => Some(format!("it begins with \"{}\" and not with PGDMP, as a custom one does", shown())),
            Format::Plain if has_magic => Some("it is a custom one: say format = \"custom\"".into()),
            Format::Plain if self.lines.are_of_terminal() => Some(TERMINAL.into()),
            Format::Plain => None,
        }
    }

    /// Has all come to its end, and judges it. How the program ended comes first: it knows best what went wrong.
    pub fn finish(mut self) -> Result<Whole, DumpFailure> {
        let what = self.what.clone();
        let cut = |why: String| Err(DumpFailure::Cut { what, why });
        let fault = self.fault.take();
        let proof = if fault.is_none() { self.prove() } else { Ok(()) };
        let messages = self.dump.finish()?;
        if let Some(fault) = fault {
            return cut(fault);
        }
        if self.begin.is_empty() {
            let said = last_words(&messages).join(" / ");
            return cut(if said.is_empty() {
                "it has no bytes".into()
            } else {
                format!("it has no bytes, but: {said}")
            });
        }
        if self.format == Format::Custom && self.lines.are_of_terminal() {
            return cut(TERMINAL.into());
        }
        if let Err(error) = proof {
            return cut(error.to_string());
        }
        if let Some(fault) = self.fault {
            return cut(fault);
        }
        let (found, has_end) = self.script.end();
        if self.format == Format::Plain && !has_end {
            return cut("its last lines are missing (\"PostgreSQL database dump complete\")".into());
        }
        Ok(Whole { found, messages })
    }
}

impl Read for Flow<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.dump.read(out)?;
        let bytes = out.get(..length).unwrap_or_default();
        match &self.fault {
            None => self.look(bytes)?,
            Some(fault) if self.late > LATE_BYTES => {
                return Err(io::Error::other(format!("the dump of {} is not whole: {fault}", self.what)));
            }
            Some(_) => self.late += length,
        }
        Ok(length)
    }
}
