//! Takes a snapshot of a folder, in a repository that is made if its place is empty:
//! `VAULT_PASSWORD=... cargo run --example backup -- LOCATION FOLDER`

use std::error::Error;
use std::path::PathBuf;
use vault::backend::{Backend, BackendOptions, Location};
use vault::backup::{self, Source};
use vault::progress::Silent;
use vault::repository::{Access, NewRepository, Options, Repository};
use vault::runtime::Runtime;
use vault::source;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let (Some(location), Some(folder)) = (words.next(), words.next()) else {
        return Err("say LOCATION FOLDER".into());
    };
    let password = std::env::var("VAULT_PASSWORD")?;
    let location = Location::parse(location.to_str().ok_or("the location is not text")?)?;
    let runtime = Runtime::system(std::thread::available_parallelism()?.get())?;
    let backend = Backend::open(&location, &BackendOptions { create: true, ..Default::default() }, &runtime)?;
    let repository = if backend.list("")?.is_empty() {
        Repository::init(backend, runtime, Options::default(), NewRepository::new(password.as_bytes()))?
    } else {
        Repository::open(backend, runtime, Options::default(), Access::Password(password.as_bytes()))?
    };
    // were the repository in the folder, it would grow by itself with every snapshot
    let rules = source::Options { own: repository.own_folders(), ..Default::default() };
    let source = Source::Paths(vec![PathBuf::from(folder)], rules);
    let options = backup::Options { name: "example".into(), ..Default::default() };
    let report = backup::backup(&repository, source, &options, &Silent)?;
    let snapshot = report.snapshot.ok_or("no snapshot was taken")?;
    println!("{}: {} files", snapshot.short(), report.head.statistics.files);
    report.failed.iter().for_each(|failed| eprintln!("left out: {failed}"));
    Ok(())
}
