//! Packs that this machine has put, as the store has them: content that changes a little is stored as the difference to
//! what lies in them, and a store far away need not be asked for that. They are sealed as they are, bounded by their bytes
//! and by the room on the disk; what was not used for the longest time goes first. What can't be kept or read is a miss.

use super::Cache;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens, statvfs};
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use vault_format::id::ObjectId;

/// All packs of one repository and key, in bytes.
const BYTES_MAX: u64 = 1 << 30;
/// What is left of the disk for others, in bytes.
const FREE_BYTES_MIN: u64 = 2 << 30;

impl Cache {
    /// Keeps a pack.
    pub fn keep_pack(&self, id: &ObjectId, bytes: &[u8]) {
        // where it can't be kept, the next run stores more
        let _ = keep(&self.packs(), id, bytes, BYTES_MAX);
    }

    /// True if a pack is here, which counts as its use.
    pub fn uses_pack(&self, id: &ObjectId) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let used = Timestamps { last_access: now, last_modification: now };
        let file = File::options().append(true).open(self.packs().join(id.to_string()));
        file.is_ok_and(|file| futimens(file, &used).is_ok())
    }

    /// A range of the bytes of a pack.
    pub fn pack(&self, id: &ObjectId, range: &Range<u64>) -> Option<Vec<u8>> {
        let length = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        let file = File::open(self.packs().join(id.to_string())).ok()?;
        // a file that was cut must not have memory taken for what is not there
        file.metadata().ok().filter(|file| range.end <= file.len())?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, range.start).ok()?;
        Some(bytes)
    }

    fn packs(&self) -> PathBuf {
        self.file.with_extension("packs")
    }
}

fn keep(folder: &Path, id: &ObjectId, bytes: &[u8], bytes_max: u64) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let needed = bytes.len() as u64;
    make_room(folder, bytes_max.saturating_sub(needed))?;
    let disk = statvfs(folder)?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < needed.saturating_add(FREE_BYTES_MIN) {
        return Ok(());
    }
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(folder.join(id.to_string()))?;
    Ok(())
}

/// Deletes what was not used for the longest time, until at most so many bytes are left; what a run that was cut off
/// has left is among it.
fn make_room(folder: &Path, bytes_max: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let entry = entry?;
        // another process may have deleted it meanwhile
        if let Ok(metadata) = entry.metadata() {
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in files {
        if total <= bytes_max {
            break;
        }
        std::fs::remove_file(path)?;
        total -= bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Cache, keep};
    use std::time::{Duration, SystemTime};
    use vault_format::id::{ObjectId, RepositoryId};
    use vault_format::key::Key;

    #[test]
    fn what_was_used_last_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), RepositoryId([1; 16]), Key::new([2; 32])).unwrap();
        let [a, b, c] = [1, 2, 3].map(|number| ObjectId([number; 32]));
        assert!(!cache.uses_pack(&a) && cache.pack(&a, &(0..1)).is_none());
        for (id, age) in [(a, 3), (b, 2)] {
            keep(&cache.packs(), &id, &[id.0[0]; 100], 250).unwrap();
            let file = std::fs::File::options().append(true).open(cache.packs().join(id.to_string())).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        assert!(cache.uses_pack(&a));
        keep(&cache.packs(), &c, &[3; 100], 250).unwrap();
        assert_eq!([a, b, c].map(|id| cache.uses_pack(&id)), [true, false, true]);
        assert_eq!(cache.pack(&a, &(98..100)), Some(vec![1; 2]));
        assert_eq!(cache.pack(&a, &(98..101)), None);
    }
}
