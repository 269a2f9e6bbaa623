//! Cuts a stream where its content says so: FastCDC (Xia et al., 2016, 2020) with a gear table derived from the
//! repository's gear key, normalization level 2. Cut points depend on key, profile and bytes alone, never on how the
//! bytes arrive.

use crossbeam_channel::bounded;
use fastcdc::v2020::{Normalization, cut_gear, select_masks};
use std::io::{self, Read};
use vault_format::gear::{self, ChunkProfile, PROFILE_DEFAULT, PROFILE_INCOMPRESSIBLE};
use vault_format::key::Key;

/// How much of a stream decides its profile, in bytes.
const PROBE_BYTES: usize = 1 << 20;

/// What of that is looked at, evenly spread.
const SAMPLES: usize = 4;
const SAMPLE_BYTES: usize = 4 << 10;

/// The tables of one gear key.
pub struct Gear {
    table: Box<[u64; 256]>,
    shifted: Box<[u64; 256]>,
}

impl Gear {
    /// Derives the tables.
    pub fn new(gear_key: &Key) -> Self {
        let table = gear::table(gear_key);
        let shifted = Box::new(table.map(|value| value << 1));
        Self { table, shifted }
    }

    /// Length of the first chunk of `bytes`, which hold at least `profile.max` bytes or end the stream.
    pub fn cut(&self, profile: &ChunkProfile, bytes: &[u8]) -> usize {
        let (min, average, max) = (profile.min as usize, profile.average as usize, profile.max as usize);
        let (small, large) = select_masks(average, Normalization::Level2);
        let (table, shifted) = (self.table.as_slice(), self.shifted.as_slice());
        cut_gear(bytes, min, average, max, small, large, small << 1, large << 1, table, shifted).1
    }
}

/// The profile for a stream that begins with these bytes: a pure function of them.
pub fn profile_of(first: &[u8]) -> ChunkProfile {
    let probe = first.get(..PROBE_BYTES).unwrap_or(first);
    // below the smallest chunk nothing is cut, whatever the profile
    if probe.len() <= PROFILE_DEFAULT.min as usize {
        return PROFILE_DEFAULT;
    }
    if looks_random(probe) { PROFILE_INCOMPRESSIBLE } else { PROFILE_DEFAULT }
}

/// True if in a few samples hardly any byte comes more often than others: pictures, films, archives, what is encrypted.
/// Counted and not compressed, which for small files would cost as much as to store them; and in whole numbers, so that
/// every machine says the same.
fn looks_random(probe: &[u8]) -> bool {
    let mut counts = [0u64; 256];
    let mut all = 0;
    for sample in probe.chunks((probe.len() / SAMPLES).max(1)).take(SAMPLES) {
        let sample = sample.get(..SAMPLE_BYTES).unwrap_or(sample);
        all += sample.len() as u64;
        sample.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    }
    // how often two bytes are the same, against one in 256
    let pairs: u64 = counts.iter().map(|count| count * count).sum();
    pairs * 256 < all * all * 3 / 2
}

/// Reads a stream chunk by chunk through one reusable buffer.
pub struct Chunker {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    profile: Option<ChunkProfile>,
}

impl Default for Chunker {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunker {
    /// A chunker with an empty buffer of 4 MiB.
    pub fn new() -> Self {
        Self { buffer: vec![0; 4 << 20], start: 0, end: 0, at_end: false, profile: None }
    }

    /// Forgets the last stream.
    pub fn restart(&mut self) {
        (self.start, self.end, self.at_end, self.profile) = (0, 0, false, None);
    }

    /// The profile of the stream, once a chunk was asked for.
    pub fn profile(&self) -> Option<ChunkProfile> {
        self.profile
    }

    /// The next chunk; `None` at the end of the stream.
    pub fn next<R: Read>(&mut self, gear: &Gear, input: &mut R) -> io::Result<Option<&[u8]>> {
        let wanted = self.profile.map_or(PROBE_BYTES, |profile| profile.max as usize);
        self.fill(input, wanted)?;
        let profile = match self.profile {
            Some(profile) => profile,
            None => *self.profile.insert(profile_of(&self.buffer[self.start..self.end])),
        };
        if self.start == self.end {
            return Ok(None);
        }
        let length = gear.cut(&profile, &self.buffer[self.start..self.end]);
        let chunk = self.start..self.start + length;
        self.start = chunk.end;
        Ok(Some(&self.buffer[chunk]))
    }

    /// Gives all chunks of the stream, one after the other.
    pub fn cut<R: Read, E: From<io::Error>>(
        &mut self,
        gear: &Gear,
        input: &mut R,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(chunk) = self.next(gear, input)? {
            each(chunk)?;
        }
        Ok(())
    }

    /// The same with a thread that reads and cuts, a few MiB ahead of `each`. After an error of `each` it ends with the
    /// read that it is at.
    pub fn cut_ahead<R: Read + Send, E: From<io::Error>>(
        &mut self,
        gear: &Gear,
        input: &mut R,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (filled, blocks) = bounded::<io::Result<Block>>(1);
        let (used, spare) = bounded::<Block>(2);
        std::thread::scope(|scope| {
            let cut = move || {
                let mut is_over = false;
                while !is_over {
                    let mut block = spare.try_recv().unwrap_or_default();
                    let result = block.fill(self, gear, input);
                    is_over = !matches!(result, Ok(true));
                    if filled.send(result.map(|_| block)).is_err() {
                        return;
                    }
                }
            };
            std::thread::Builder::new().name("cut".into()).spawn_scoped(scope, cut)?;
            for block in blocks {
                let block = block?;
                block.chunks().try_for_each(&mut each)?;
                // nobody takes it any more at the end
                let _ = used.try_send(block);
            }
            Ok(())
        })
    }

    fn fill<R: Read>(&mut self, input: &mut R, wanted: usize) -> io::Result<()> {
        if self.at_end || self.end - self.start >= wanted {
            return Ok(());
        }
        if self.buffer.len() - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < wanted {
            match input.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Bytes of chunks that go from thread to thread at once, at least.
const BLOCK_BYTES: usize = 2 << 20;

/// Chunks that follow each other.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

impl Block {
    /// Takes the next chunks in the place of those that it held; false if no more follow.
    fn fill<R: Read>(&mut self, chunker: &mut Chunker, gear: &Gear, input: &mut R) -> io::Result<bool> {
        self.bytes.clear();
        self.lengths.clear();
        while self.bytes.len() < BLOCK_BYTES {
            let Some(chunk) = chunker.next(gear, input)? else { return Ok(false) };
            self.bytes.extend_from_slice(chunk);
            self.lengths.push(chunk.len());
        }
        Ok(true)
    }

    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        self.lengths.iter().map(move |length| {
            let (chunk, after) = rest.split_at(*length);
            rest = after;
            chunk
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Chunker, Gear, profile_of};
    use std::io::{self, Read};
    use vault_format::gear::{PROFILE_DEFAULT, PROFILE_INCOMPRESSIBLE};
    use vault_format::key::Key;

    /// Hands out at most `step` bytes a read.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(out.len()).min(self.0.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn cuts(data: &[u8], step: usize) -> Vec<usize> {
        let (gear, mut chunker, mut input) = (Gear::new(&Key::new([7; 32])), Chunker::new(), Slow(data, step));
        let mut out = Vec::new();
        while let Some(chunk) = chunker.next(&gear, &mut input).unwrap() {
            out.push(chunk.len());
        }
        out
    }

    #[test]
    fn what_is_compressed_already_is_cut_into_larger_chunks() {
        let mut noise = vec![0u8; 3 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let text: Vec<u8> =
            (0..300_000).flat_map(|line: u32| format!("{line}\t{}\n", line * 7919).into_bytes()).collect();
        let squeezed = vault_format::compress::compress(&text, 3).unwrap().unwrap();
        // numbers of four bytes, of which the upper ones are mostly zero
        let table: Vec<u8> = noise.chunks(2).flat_map(|pair| [pair[0], pair[1] & 3, 0, 0]).collect();
        let base64: Vec<u8> = noise.iter().map(|byte| b'0' + byte % 64).collect();
        for (bytes, profile) in [
            (&noise, PROFILE_INCOMPRESSIBLE),
            (&squeezed, PROFILE_INCOMPRESSIBLE),
            (&text, PROFILE_DEFAULT),
            (&table, PROFILE_DEFAULT),
            (&base64, PROFILE_DEFAULT),
        ] {
            assert!(bytes.len() > 100_000, "{}", bytes.len());
            assert_eq!(profile_of(bytes).id, profile.id, "{:?}", &bytes[..20]);
            assert_eq!(profile_of(&bytes[..40_000]).id, profile.id, "{:?}", &bytes[..20]);
        }
    }

    /// Those that a thread of its own cuts; reads fail behind some bytes.
    fn cuts_ahead(data: &[u8], fails_at: Option<usize>) -> io::Result<Vec<usize>> {
        let (gear, mut chunker) = (Gear::new(&Key::new([7; 32])), Chunker::new());
        let mut out = Vec::new();
        let end = Failing(fails_at.is_some());
        let mut input = Slow(&data[..fails_at.unwrap_or(data.len())], 700_001).chain(end);
        chunker.cut_ahead(&gear, &mut input, |chunk| {
            assert!(data[out.iter().sum::<usize>()..].starts_with(chunk));
            out.push(chunk.len());
            Ok::<(), io::Error>(())
        })?;
        Ok(out)
    }

    struct Failing(bool);

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            if self.0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(0) }
        }
    }

    #[test]
    fn what_goes_wrong_ends_both_threads() {
        let text: Vec<u8> =
            (0..20_000_000u32).map(|number| b'a' + (number.wrapping_mul(number) >> 7) as u8 % 13).collect();
        let failed = cuts_ahead(&text, Some(15_000_000)).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
        let (gear, mut chunker, mut count) = (Gear::new(&Key::new([7; 32])), Chunker::new(), 0);
        let stopped = chunker.cut_ahead(&gear, &mut text.as_slice(), |_| {
            count += 1;
            if count == 5 { Err(io::Error::from(io::ErrorKind::Interrupted)) } else { Ok(()) }
        });
        assert_eq!((stopped.unwrap_err().kind(), count), (io::ErrorKind::Interrupted, 5));
    }

    #[test]
    fn cuts_do_not_depend_on_reads() {
        let mut noise = vec![0u8; 9_000_001];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let text: Vec<u8> = noise.iter().map(|byte| b'a' + byte % 13).collect();
        for data in [&noise, &text] {
            let whole = cuts(data, usize::MAX);
            assert_eq!(whole.iter().sum::<usize>(), data.len());
            assert!(whole.len() > 8);
            assert_eq!(whole, cuts(data, 4093));
            assert_eq!(whole, cuts(data, 700_001));
            assert_eq!(whole, cuts_ahead(data, None).unwrap());
        }
    }
}
