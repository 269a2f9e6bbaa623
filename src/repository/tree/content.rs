//! Whether a file on this machine has the content of a stored one, compared chunk by chunk where the stored file was
//! cut, so that the answer holds whatever cut it. Holes and zeros are the same content.

use crate::repository::Repository;
use crate::repository::read::reader::Reader;
use crate::repository::tree::chunks::Chunks;
use crate::source::FileReader;
use std::io::{self, Read};
use vault_format::id::BlobKind;
use vault_format::list::Content;
use vault_format::tree::Extent;

/// A file's content as programs see it: zeros in place of its holes.
struct Apparent<'f> {
    file: &'f mut FileReader,
    holes: std::iter::Peekable<std::vec::IntoIter<Extent>>,
    at: u64,
}

impl Read for Apparent<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let at = self.at;
        while self.holes.next_if(|hole| hole.offset.saturating_add(hole.length) <= at).is_some() {}
        let hole = self.holes.peek().copied();
        let read = match hole {
            Some(hole) if hole.offset <= at => {
                let read = bounded(hole.offset + hole.length - at, out.len());
                out.get_mut(..read).unwrap_or_default().fill(0);
                read
            }
            next => {
                let limit = next.map_or(out.len(), |hole| bounded(hole.offset - at, out.len()));
                self.file.read(out.get_mut(..limit).unwrap_or_default())?
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

fn bounded(length: u64, limit: usize) -> usize {
    usize::try_from(length).unwrap_or(limit).min(limit)
}

/// Content with the ranges taken out in which the stored file has holes; they must be zeros.
struct Masked<'h, R> {
    input: R,
    holes: std::iter::Peekable<std::slice::Iter<'h, Extent>>,
    at: u64,
    differs: bool,
}

impl<R: Read> Masked<'_, R> {
    /// Reads up to `out.len()` bytes outside of the holes; fewer only at the end.
    fn fill(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() && !self.differs {
            self.pass_holes()?;
            let at = self.at;
            let limit = self.holes.peek().map_or(u64::MAX, |hole| hole.offset.saturating_sub(at));
            let end = filled + bounded(limit, out.len() - filled);
            let read = self.input.read(out.get_mut(filled..end).unwrap_or_default())?;
            if read == 0 {
                break;
            }
            filled += read;
            self.at += read as u64;
        }
        Ok(filled)
    }

    fn pass_holes(&mut self) -> io::Result<()> {
        let mut buffer = [0u8; 16 << 10];
        loop {
            let at = self.at;
            let Some(hole) = self.holes.next_if(|hole| hole.offset <= at) else { return Ok(()) };
            let mut left = hole.length;
            while left > 0 {
                let limit = bounded(left, buffer.len());
                let read = self.input.read(buffer.get_mut(..limit).unwrap_or_default())?;
                if read == 0 || buffer.iter().take(read).any(|byte| *byte != 0) {
                    self.differs = true;
                    return Ok(());
                }
                left -= read as u64;
                self.at += read as u64;
            }
        }
    }
}

/// True if the open file has the content of a stored file of the same size. The outer error is the repository's, the
/// inner one the file's.
pub fn is_same(
    (repository, reader): (&Repository, &Reader),
    file: &mut FileReader,
    (content, holes): (&Content, &[Extent]),
    advance: &dyn Fn(u64),
) -> crate::repository::Result<io::Result<bool>> {
    let live_holes = file.holes().to_vec().into_iter().peekable();
    let input = Apparent { file, holes: live_holes, at: 0 };
    let mut masked = Masked { input, holes: holes.iter().peekable(), at: 0, differs: false };
    let mut buffer = Vec::new();
    for chunk in Chunks::new(reader, content) {
        let chunk = chunk?;
        buffer.resize(chunk.length as usize, 0);
        let read = match masked.fill(&mut buffer) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        let id = repository.keys().id_key().blob_id(BlobKind::Chunk, buffer.get(..read).unwrap_or_default());
        advance(read as u64);
        if masked.differs || id != chunk.id {
            return Ok(Ok(false));
        }
    }
    // a hole at the end, and then nothing more
    Ok(masked.fill(&mut [0]).map(|more| more == 0 && !masked.differs))
}
