//! A stream from outside, such as standard input. It fills the buffers it is given, because pipes hand out small
//! pieces, and counts what it passed on.

use std::io::{self, Read};

/// Any reader as a source.
pub struct Stream {
    reader: Box<dyn Read + Send>,
    bytes: u64,
}

impl Stream {
    /// A stream over a reader.
    pub fn new(reader: impl Read + Send + 'static) -> Self {
        Self { reader: Box::new(reader), bytes: 0 }
    }

    /// Bytes passed on so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes += filled as u64;
        Ok(filled)
    }
}
