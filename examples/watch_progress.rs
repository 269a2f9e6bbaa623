//! Takes a snapshot of a folder in a repository that is there, and tells how far it is:
//! `VAULT_PASSWORD=... cargo run --example watch_progress -- LOCATION FOLDER`

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use vault::backend::{Backend, BackendOptions, Location};
use vault::backup::{self, Source};
use vault::progress::Progress;
use vault::repository::{Access, Options, Repository};
use vault::runtime::Runtime;
use vault::source;

/// Bytes so far, and of how many. Any thread may tell at any time.
#[derive(Default)]
struct Watch {
    expected: AtomicU64,
    done: AtomicU64,
}

impl Progress for Watch {
    fn expect(&self, _files: u64, bytes: u64) {
        self.expected.store(bytes, Ordering::Relaxed);
    }

    fn advance(&self, _files: u64, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn at(&self, path: &Path) {
        let (done, expected) = (self.done.load(Ordering::Relaxed), self.expected.load(Ordering::Relaxed));
        println!("{done} of {expected} bytes, at {}", path.display());
    }

    fn note(&self, note: &str) {
        println!("note: {note}");
    }

    fn wants_total(&self) -> bool {
        true
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [location, folder] = words.as_slice() else { return Err("say LOCATION FOLDER".into()) };
    let password = std::env::var("VAULT_PASSWORD")?;
    let runtime = Runtime::system(std::thread::available_parallelism()?.get())?;
    let backend = Backend::open(&Location::parse(location)?, &BackendOptions::default(), &runtime)?;
    let repository = Repository::open(backend, runtime, Options::default(), Access::Password(password.as_bytes()))?;
    let rules = source::Options { own: repository.own_folders(), ..Default::default() };
    let options = backup::Options { name: "example".into(), ..Default::default() };
    let watch = Watch::default();
    let report = backup::backup(&repository, Source::Paths(vec![folder.into()], rules), &options, &watch)?;
    report.failed.iter().for_each(|failed| eprintln!("left out: {failed}"));
    println!("{} bytes in all", watch.done.load(Ordering::Relaxed));
    Ok(())
}
