//! A file with large holes in a tar archive, in the form that GNU tar made and that bsdtar and Python read too: PAX records
//! announce it (version 1.0), a map of the data goes before the data, and no byte of a hole is written. So a disk image
//! of terabytes is as small as what is in it, and a file that claims to be almost endless is no endless archive.

use std::io::{self, Read, Seek, SeekFrom};
use vault_format::tree::Extent;

/// Holes that are smaller together go out as the zeros that they are, which every reader understands.
const HOLES_BYTES_MIN: u64 = 1 << 20;
/// What the map is padded to.
const BLOCK_BYTES: usize = 512;

/// What gives the bytes of a file, zeros for its holes included, from any place.
pub trait Content: Read + Seek {}

impl<T: Read + Seek> Content for T {}

/// A file as it lies in the archive.
#[derive(Debug)]
pub(super) struct Sparse {
    size: u64,
    map: Vec<u8>,
    data: Vec<Extent>,
}

impl Sparse {
    /// None for a file that is better stored whole.
    pub(super) fn of(size: u64, holes: &[Extent]) -> Option<Self> {
        let empty = holes.iter().fold(0u64, |sum, hole| sum.saturating_add(hole.length));
        if empty < HOLES_BYTES_MIN {
            return None;
        }
        let data = blocks(size, holes);
        let mut map = format!("{}\n", data.len()).into_bytes();
        for extent in &data {
            map.extend_from_slice(format!("{}\n{}\n", extent.offset, extent.length).as_bytes());
        }
        map.resize(map.len().next_multiple_of(BLOCK_BYTES), 0);
        Some(Self { size, map, data })
    }

    /// Bytes in the archive.
    pub(super) fn stored(&self) -> u64 {
        self.data.iter().fold(self.map.len() as u64, |sum, extent| sum.saturating_add(extent.length))
    }

    /// What announces it; the name in the header then is anything.
    pub(super) fn records(&self, path: &[u8]) -> [(String, Vec<u8>); 4] {
        let record = |key: &str, value: &[u8]| (format!("GNU.sparse.{key}"), value.to_vec());
        let size = self.size.to_string();
        [record("major", b"1"), record("minor", b"0"), record("name", path), record("realsize", size.as_bytes())]
    }

    /// Map and data, one behind the other.
    pub(super) fn packed<'a>(&'a self, content: &'a mut dyn Content) -> impl Read + 'a {
        self.map.as_slice().chain(Data { content, rest: self.data.iter(), left: 0 })
    }
}

/// Where the data lies, in whole blocks: GNU tar begins each piece at one. The last, which may have no bytes, says where
/// the file ends.
fn blocks(size: u64, holes: &[Extent]) -> Vec<Extent> {
    const BLOCK: u64 = BLOCK_BYTES as u64;
    let mut data: Vec<Extent> = Vec::with_capacity(holes.len() + 1);
    let mut at = 0u64;
    for hole in holes.iter().copied().chain([Extent { offset: size, length: 0 }]) {
        let (start, end) = (at / BLOCK * BLOCK, hole.offset.div_ceil(BLOCK).saturating_mul(BLOCK).min(size));
        match data.last_mut() {
            _ if at >= hole.offset => {}
            // two pieces in one block are one
            Some(last) if last.offset + last.length >= start => last.length = end - last.offset,
            _ => data.push(Extent { offset: start, length: end - start }),
        }
        at = hole.offset.saturating_add(hole.length);
    }
    if data.last().is_none_or(|last| last.offset + last.length < size) {
        data.push(Extent { offset: size, length: 0 });
    }
    data
}

/// The data of a file without its holes.
struct Data<'a> {
    content: &'a mut dyn Content,
    rest: std::slice::Iter<'a, Extent>,
    /// Bytes of the extent that is read.
    left: u64,
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            let Some(extent) = self.rest.next() else { return Ok(0) };
            self.left = extent.length;
            if extent.length > 0 {
                self.content.seek(SeekFrom::Start(extent.offset))?;
            }
        }
        let count = (&mut *self.content).take(self.left).read(buffer)?;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::blocks;
    use vault_format::tree::Extent;

    #[test]
    fn data_lies_in_whole_blocks_and_the_end_is_told() {
        let placed = |size, holes: &[(u64, u64)]| {
            let holes: Vec<Extent> =
                holes.iter().map(|(offset, length)| Extent { offset: *offset, length: *length }).collect();
            blocks(size, &holes).iter().map(|extent| (extent.offset, extent.length)).collect::<Vec<_>>()
        };
        assert_eq!(placed(9000, &[(0, 9000)]), [(9000, 0)]);
        assert_eq!(placed(9000, &[(5, 8995)]), [(0, 512), (9000, 0)]);
        assert_eq!(placed(9000, &[(5, 5000)]), [(0, 512), (4608, 4392)]);
        assert_eq!(placed(9000, &[(0, 5000), (5001, 10), (5020, 3980)]), [(4608, 512), (9000, 0)]);
        assert_eq!(placed(1 << 62, &[(0, (1 << 62) - 1)]), [((1 << 62) - 512, 512)]);
    }
}
