//! Restores a snapshot, or what lies at a path of it, into a folder; what exists there stays:
//! `VAULT_PASSWORD=... cargo run --example restore -- LOCATION SNAPSHOT[:PATH] TARGET`

use std::error::Error;
use std::path::Path;
use vault::backend::{Backend, BackendOptions, Location};
use vault::progress::Silent;
use vault::repository::{Access, Options, Repository};
use vault::runtime::Runtime;
use vault::{list, restore};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [location, asked, target] = words.as_slice() else {
        return Err("say LOCATION SNAPSHOT[:PATH] TARGET".into());
    };
    let password = std::env::var("VAULT_PASSWORD")?;
    let runtime = Runtime::system(std::thread::available_parallelism()?.get())?;
    let backend = Backend::open(&Location::parse(location)?, &BackendOptions::default(), &runtime)?;
    let repository = Repository::open(backend, runtime, Options::default(), Access::Password(password.as_bytes()))?;
    let view = list::snapshots(&repository)?;
    // no times here, as in `docs@yesterday`: how they are written is the program's own matter
    let address = list::find(&view, asked.as_bytes(), &|_| None)?;
    let options = restore::Options::default();
    let report = restore::restore(&repository, &address, Path::new(target), &options, &Silent)?;
    println!("{} files, {} bytes; {} were there", report.files, report.bytes, report.same);
    report.failed.iter().for_each(|failed| eprintln!("not restored: {failed}"));
    Ok(())
}
