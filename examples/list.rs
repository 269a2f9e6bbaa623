//! Prints all snapshots of a repository, and everything in the newest:
//! `VAULT_PASSWORD=... cargo run --example list -- LOCATION`

use std::error::Error;
use vault::backend::{Backend, BackendOptions, Location};
use vault::list;
use vault::repository::{Access, Address, Options, Repository};
use vault::runtime::Runtime;

fn main() -> Result<(), Box<dyn Error>> {
    let location = std::env::args().nth(1).ok_or("say LOCATION")?;
    let password = std::env::var("VAULT_PASSWORD")?;
    let runtime = Runtime::system(std::thread::available_parallelism()?.get())?;
    let backend = Backend::open(&Location::parse(&location)?, &BackendOptions::default(), &runtime)?;
    let repository = Repository::open(backend, runtime, Options::default(), Access::Password(password.as_bytes()))?;
    let view = list::snapshots(&repository)?;
    for snapshot in view.snapshots.visible() {
        println!("{} {} {} bytes", snapshot.id.short(), snapshot.head.source, snapshot.head.root.bytes);
    }
    let Some(newest) = view.snapshots.visible().next_back() else { return Ok(()) };
    list::nodes(&Address::new(&view, newest, b""), true, &mut |path, _| {
        println!("  {}", String::from_utf8_lossy(path));
        Ok(())
    })?;
    Ok(())
}
