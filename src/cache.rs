//! The local cache: one SQLite file for each repository and key, with objects as the store has them and with tree and list
//! pages sealed under a key of the holder's. Several processes use it at once, and it can be deleted at any time. A listing
//! says what exists, and whoever takes bytes from here checks them against their name or id; what is noted here besides
//! counts only with a proof under a key of the holder's. What can't be read is a miss; a file that SQLite takes for damaged
//! is made anew.

mod committed;
mod memory;
mod packs;
mod quiet;
mod verified;

use crate::runtime::Locked;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OptionalExtension, ToSql, TransactionBehavior, params};
use std::collections::{BTreeSet, HashSet};
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vault_format::id::{BlobId, ObjectId, RepositoryId, SourceLabel};
use vault_format::key::Key;
use vault_format::seal;
use verified::Verified;

/// Changes whenever the tables do; another version's file is made anew.
const SCHEMA: i32 = 7;
const TABLES: &str = "
    create table objects (name text primary key, bytes blob not null);
    create table pages (id blob primary key, source blob not null, sealed blob not null);
    create index pages_of_source on pages (source, id);
    create table made (id blob primary key, proof blob not null, at integer not null default (unixepoch()));";

/// How long it is known which packs were made here, in seconds: no run is older.
const MADE_SECONDS: i64 = 15 * 24 * 3600;

/// Bytes of the log that are read again by each process that opens the cache, at most about.
const LOG_BYTES: u64 = 1 << 20;

/// What marks a cache folder (bford.info/cachedir).
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder can't be made.
    #[error("cannot make the cache folder {}: {source}", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file can't be used.
    #[error("cannot use the cache {}: {source}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

/// An open cache.
pub struct Cache {
    file: PathBuf,
    connection: Locked<Option<Connection>>,
    key: Key,
    verified: Locked<Verified>,
}

impl Cache {
    /// Opens the cache of a repository in a folder, or makes it. Pages are sealed with keys derived from `key`.
    pub fn open(folder: &Path, repository: RepositoryId, key: Key) -> Result<Self, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| Error::Folder { folder: folder.to_owned(), source })?;
        // backups of the home folder need not hold it; if this fails they will
        // a link of that name is not followed: somebody else may have put it into the folder
        let _ = File::create_new(folder.join("CACHEDIR.TAG")).and_then(|mut file| file.write_all(TAG.as_bytes()));
        // two keys on one machine can't read each other's pages
        let holder = key.derive("vault v1 cache name", &[]);
        let holder: String = holder.expose().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let file = folder.join(format!("{repository}-{holder}.sqlite"));
        let opened = connect(&file).or_else(|error| {
            if is_damage(&error) {
                remove(&file);
                return connect(&file);
            }
            Err(error)
        });
        match opened {
            Ok(connection) => {
                Ok(Self { file, connection: Locked::new(Some(connection)), key, verified: Locked::default() })
            }
            Err(source) => Err(Error::File { file, source }),
        }
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> Option<&Path> {
        self.file.parent()
    }

    /// The bytes of an object.
    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        self.bytes("select bytes from objects where name = ?1", name)
    }

    /// Keeps an object.
    pub fn keep_object(&self, name: &str, bytes: &[u8]) {
        self.ask(|connection| {
            connection.execute("insert or ignore into objects values (?1, ?2)", params![name, bytes])
        });
    }

    /// Drops the objects below a prefix that a listing no longer shows.
    pub fn retain_objects(&self, prefix: &str, listed: &BTreeSet<String>) {
        self.ask(|connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let known: Vec<String> = change
                .prepare_cached("select name from objects where substr(name, 1, length(?1)) = ?1")?
                .query_map([prefix], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for name in known.iter().filter(|name| !listed.contains(*name)) {
                change.execute("delete from objects where name = ?1", [name])?;
            }
            change.commit()
        });
    }

    /// The plaintext of a page. The caller checks it against its id.
    pub fn page(&self, id: &BlobId) -> Option<Vec<u8>> {
        let sealed = self.bytes("select sealed from pages where id = ?1", id.0.as_slice())?;
        seal::open(&self.page_key(id), 0, &[], &sealed, "a cached page").ok()
    }

    /// Keeps pages of a source, each with its plaintext unless it should be known. Where all are, nothing is written: a run
    /// over a tree that has not changed would else write the whole cache anew.
    pub fn keep_pages(&self, source: SourceLabel, pages: &[(BlobId, Option<Vec<u8>>)]) {
        let source = source.0.as_slice();
        self.ask(|connection| {
            let mut new = Vec::new();
            {
                let mut known = connection.prepare_cached("select 1 from pages where source = ?1 and id = ?2")?;
                for (page, plaintext) in pages {
                    if !known.exists(params![source, page.0.as_slice()])? {
                        new.push((page, plaintext));
                    }
                }
            }
            if new.is_empty() {
                return Ok(());
            }
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (page, plaintext) in new {
                let id = page.0.as_slice();
                let known = change
                    .prepare_cached("update pages set source = ?2 where id = ?1")?
                    .execute(params![id, source])?;
                // one key seals one plaintext, for the id is its hash
                if known == 0
                    && let Some(plaintext) = plaintext
                    && let Ok(sealed) = seal::seal(&self.page_key(page), 0, &[], plaintext)
                {
                    let insert = "insert into pages values (?1, ?2, ?3)";
                    change.prepare_cached(insert)?.execute(params![id, source, sealed])?;
                }
            }
            change.commit()
        });
    }

    /// Drops the pages of a source but for those that its newest snapshot needs.
    pub fn retain_pages(&self, source: SourceLabel, needed: &HashSet<BlobId>) {
        let source = source.0.as_slice();
        self.ask(|connection| {
            let kept: Vec<Vec<u8>> = connection
                .prepare_cached("select id from pages where source = ?1")?
                .query_map([source], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let is_needed = |id: &[u8]| id.try_into().is_ok_and(|id| needed.contains(&BlobId(id)));
            if kept.iter().all(|id| is_needed(id)) {
                return Ok(());
            }
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for id in kept.iter().filter(|id| !is_needed(id)) {
                change
                    .prepare_cached("delete from pages where id = ?1 and source = ?2")?
                    .execute(params![id, source])?;
            }
            change.commit()
        });
    }

    /// Notes that a pack, whose end has this hash, is made here.
    pub fn note_made(&self, id: &ObjectId, end: &[u8; 32]) {
        self.ask(|connection| {
            connection.execute("delete from made where at < unixepoch() - ?1", [MADE_SECONDS])?;
            let proof = self.proof(id, end);
            let row = params![id.0.as_slice(), proof.as_slice()];
            connection.execute("insert or ignore into made (id, proof) values (?1, ?2)", row)
        });
    }

    /// True if that was noted, by somebody who holds this key.
    pub fn has_made(&self, id: &ObjectId, end: &[u8; 32]) -> bool {
        let found = self.bytes("select proof from made where id = ?1", id.0.as_slice());
        let proof = blake3::Hash::from_bytes(self.proof(id, end));
        // the comparison of hashes takes the same time whatever they are
        found.and_then(|found| blake3::Hash::from_slice(&found).ok()).is_some_and(|found| found == proof)
    }

    fn proof(&self, id: &ObjectId, end: &[u8; 32]) -> [u8; 32] {
        *self.key.derive("vault v1 made pack", &[&id.0, end]).expose()
    }

    fn page_key(&self, id: &BlobId) -> Key {
        self.key.derive("vault v1 cached page", &[&id.0])
    }

    /// The bytes that a query finds for a key.
    fn bytes(&self, query: &str, key: impl ToSql) -> Option<Vec<u8>> {
        self.ask(|connection| connection.prepare_cached(query)?.query_row([key], |row| row.get(0)).optional()).flatten()
    }

    /// Asks the database; what fails is a miss, and a damaged file is given up and made anew by the next run.
    fn ask<T>(&self, question: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
        let mut connection = self.connection.lock();
        let answer = question(connection.as_mut()?);
        if let Err(error) = &answer
            && is_damage(error)
        {
            *connection = None;
            remove(&self.file);
        }
        answer.ok()
    }
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // nothing waits for the disk, which may be busy for long with what was dumped just now. What is lost with the power
    // is the end of the log, whose pages are checksummed; the tables are written, and waited for, by `settle` alone
    connection.execute_batch("pragma journal_mode = wal; pragma synchronous = off; pragma wal_autocheckpoint = 0;")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let version = |connection: &Connection| connection.query_row("pragma user_version", [], |row| row.get::<_, i32>(0));
    if version(&connection)? == SCHEMA {
        return Ok(connection);
    }
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // another process may have been faster
    if version(&change)? != SCHEMA {
        let made_anew = ["objects", "pages", "made", "verified"];
        made_anew.iter().try_for_each(|table| change.execute_batch(&format!("drop table if exists {table};")))?;
        change.execute_batch(TABLES)?;
        change.execute_batch(committed::TABLE)?;
        change.execute_batch(memory::TABLE)?;
        change.execute_batch(quiet::TABLE)?;
        change.execute_batch(verified::TABLE)?;
        change.pragma_update(None, "user_version", SCHEMA)?;
    }
    change.commit()?;
    Ok(connection)
}

/// Takes a log that became long into the tables.
fn settle(connection: &Connection, file: &Path) -> rusqlite::Result<()> {
    if std::fs::metadata(beside(file, "-wal")).is_ok_and(|log| log.len() > LOG_BYTES) {
        // who reads meanwhile need not be waited for: the next one settles it
        connection.busy_timeout(Duration::ZERO)?;
        connection.execute_batch("pragma synchronous = normal; pragma wal_checkpoint(truncate);")?;
    }
    Ok(())
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Removes a cache and what SQLite puts beside it; processes that have it open keep their own copy.
fn remove(file: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        // if it can't be removed, the next run meets the same damage and goes on without a cache
        let _ = std::fs::remove_file(beside(file, suffix));
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.write_verified();
        self.ask(|connection| settle(connection, &self.file));
    }
}

#[cfg(test)]
mod tests {
    use super::{Cache, Locked, TAG};
    use vault_format::id::{BlobId, ObjectId, RepositoryId, SourceLabel};
    use vault_format::key::Key;

    fn open(folder: &std::path::Path) -> Cache {
        Cache::open(folder, RepositoryId([1; 16]), Key::new([2; 32])).unwrap()
    }

    fn page(byte: u8) -> (BlobId, Option<Vec<u8>>) {
        (BlobId([byte; 32]), Some(vec![byte; 100]))
    }

    #[test]
    fn keeps_what_the_last_run_of_a_source_needs() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, source) = (open(folder.path()), SourceLabel([3; 8]));
        cache.keep_pages(source, &[page(1), page(2)]);
        let again = open(folder.path());
        again.keep_pages(source, &[(page(1).0, None), page(3)]);
        again.retain_pages(source, &[page(1).0, page(3).0].into());
        let found = [1, 2, 3].map(|byte| cache.page(&BlobId([byte; 32])));
        assert_eq!(found, [Some(vec![1; 100]), None, Some(vec![3; 100])]);
        cache.keep_object("index/a", b"one");
        cache.keep_object("index/b", b"two");
        again.retain_objects("index/", &["index/b".to_owned()].into());
        assert_eq!((cache.object("index/a"), cache.object("index/b")), (None, Some(b"two".to_vec())));
    }

    #[test]
    fn what_is_known_already_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, source) = (open(folder.path()), SourceLabel([3; 8]));
        cache.keep_pages(source, &[page(1), page(2)]);
        let log = || {
            let files = std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
            let log = files.into_iter().find(|file| file.path().to_string_lossy().ends_with("-wal")).unwrap();
            log.metadata().unwrap().len()
        };
        let before = log();
        cache.keep_pages(source, &[(page(1).0, None), page(2)]);
        cache.retain_pages(source, &[page(1).0, page(2).0].into());
        assert!(before > 0 && log() == before);
    }

    #[test]
    fn a_long_log_is_taken_into_the_tables() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..8 {
            let cache = open(folder.path());
            cache.keep_object(&format!("index/{number}"), &[number; 300_000]);
            let log = super::beside(&cache.file, "-wal");
            drop(cache);
            assert!(std::fs::metadata(log).map_or(0, |log| log.len()) <= super::LOG_BYTES + 400_000);
        }
        let cache = open(folder.path());
        assert!((0..8).all(|number| cache.object(&format!("index/{number}")) == Some(vec![number; 300_000])));
    }

    #[test]
    fn writes_through_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("CACHEDIR.TAG")).unwrap();
        open(folder.path());
        assert_eq!(std::fs::read(victim).unwrap(), b"mine");
        let other = tempfile::tempdir().unwrap();
        open(other.path());
        assert_eq!(std::fs::read(other.path().join("CACHEDIR.TAG")).unwrap(), TAG.as_bytes());
    }

    #[test]
    fn holds_no_plaintext_and_opens_with_its_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).keep_pages(SourceLabel([3; 8]), &[page(b'x')]);
        let other = Cache::open(folder.path(), RepositoryId([1; 16]), Key::new([9; 32])).unwrap();
        assert_eq!(other.page(&BlobId([b'x'; 32])), None);
        other.keep_pages(SourceLabel([3; 8]), &[page(b'x')]);
        assert_eq!(other.page(&BlobId([b'x'; 32])), Some(vec![b'x'; 100]));
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(100).any(|window| window == [b'x'; 100]));
        }
    }

    #[test]
    fn knows_which_packs_were_made_here() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path());
        let (id, end) = (ObjectId([1; 32]), [2; 32]);
        cache.note_made(&id, &end);
        let again = open(folder.path());
        assert!(again.has_made(&id, &end));
        assert!(!again.has_made(&id, &[3; 32]) && !again.has_made(&ObjectId([3; 32]), &end));
        // somebody who can write the file, but has another key
        let foreign = Cache {
            file: cache.file.clone(),
            connection: Locked::default(),
            key: Key::new([9; 32]),
            verified: Locked::default(),
        };
        *foreign.connection.lock() = Some(super::connect(&cache.file).unwrap());
        foreign.note_made(&ObjectId([4; 32]), &end);
        assert!(!again.has_made(&ObjectId([4; 32]), &end));
    }

    #[test]
    fn a_damaged_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()));
        let mut files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let file = files.find(|path| path.extension().is_some_and(|end| end == "sqlite")).unwrap();
        std::fs::write(&file, [7; 8192]).unwrap();
        let cache = open(folder.path());
        cache.keep_object("index/a", b"one");
        assert_eq!(cache.object("index/a"), Some(b"one".to_vec()));
    }
}
