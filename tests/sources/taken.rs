//! Takes snapshots of dumps into a repository in memory, as a run does, and may step in while they flow.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use testkit::simulated::Simulated;
use testkit::world;
use vault::backup::{self, Report};
use vault::error::Result;
use vault::list;
use vault::progress::{Progress, Silent};
use vault::repository::Repository;
use vault::runtime::{Clock, Locked, Runtime};
use vault::source::dump::Dump;

/// A repository in memory, by the clock of the machine.
pub struct Vault {
    pub repository: Repository,
    pub runtime: Runtime,
}

impl Vault {
    pub fn new() -> Self {
        let runtime = Runtime::system(1).unwrap();
        let repository = world::init(Simulated::new(Clock::System, Duration::ZERO, 1), &runtime);
        Self { repository, runtime }
    }

    pub fn take(&self, dump: &mut dyn Dump) -> Result<Report> {
        self.take_as(dump, &backup::Options::default(), &Silent)
    }

    pub fn take_as(&self, dump: &mut dyn Dump, options: &backup::Options, progress: &dyn Progress) -> Result<Report> {
        let options = backup::Options { name: "app-db".into(), ..options.clone() };
        backup::backup(&self.repository, backup::Source::Dump(dump), &options, progress)
    }

    /// It must fail, with these words, and leave no snapshot.
    pub fn refuses(&self, dump: &mut dyn Dump, words: &[&str]) -> String {
        self.refuses_watched(dump, &Silent, words)
    }

    pub fn refuses_watched(&self, dump: &mut dyn Dump, progress: &dyn Progress, words: &[&str]) -> String {
        let before = self.count();
        let error = self.take_as(dump, &backup::Options::default(), progress).expect_err("it must fail").to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "{word:?} in: {error}"));
        assert_eq!(self.count(), before, "{error}");
        error
    }

    pub fn count(&self) -> usize {
        list::snapshots(&self.repository).unwrap().snapshots.visible().count()
    }

    /// The files of a snapshot, restored.
    pub fn restored(&self, report: &Report) -> (TempDir, PathBuf) {
        let folder = tempfile::Builder::new().prefix("vault-out-").tempdir().unwrap();
        let out = folder.path().join("out");
        let told = world::restore_folder(&self.repository, report.snapshot.unwrap(), &out).unwrap();
        assert!(told.failed.is_empty(), "{told:?}");
        (folder, out)
    }
}

pub fn fact<'r>(report: &'r Report, name: &str) -> Option<&'r str> {
    report.facts.get(name)
}

pub fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Has something happen once so many bytes have been read.
pub struct Watch {
    left: AtomicU64,
    step_in: Locked<Option<Box<dyn FnOnce() + Send>>>,
}

impl Watch {
    pub fn new(after: u64, step_in: impl FnOnce() + Send + 'static) -> Self {
        Self { left: AtomicU64::new(after), step_in: Locked::new(Some(Box::new(step_in))) }
    }
}

impl Progress for Watch {
    fn expect(&self, _: u64, _: u64) {}
    fn advance(&self, _: u64, bytes: u64) {
        let left = self.left.load(Ordering::SeqCst).saturating_sub(bytes);
        self.left.store(left, Ordering::SeqCst);
        let step_in = if left == 0 { self.step_in.lock().take() } else { None };
        step_in.into_iter().for_each(|step_in| step_in());
    }
    fn at(&self, _: &Path) {}
    fn note(&self, _: &str) {}
}
