//! Prints what a file of a snapshot holds from an offset in bytes on, 1 MiB at most. Only what that range needs is
//! fetched: `VAULT_PASSWORD=... cargo run --example read_at -- LOCATION SNAPSHOT:PATH OFFSET`

use std::error::Error;
use std::io::Write;
use vault::backend::{Backend, BackendOptions, Location};
use vault::list;
use vault::repository::{Access, FileReader, Options, Repository};
use vault::runtime::Runtime;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [location, address, offset] = words.as_slice() else {
        return Err("say LOCATION SNAPSHOT:PATH OFFSET".into());
    };
    let password = std::env::var("VAULT_PASSWORD")?;
    let runtime = Runtime::system(std::thread::available_parallelism()?.get())?;
    let backend = Backend::open(&Location::parse(location)?, &BackendOptions::default(), &runtime)?;
    let repository = Repository::open(backend, runtime, Options::default(), Access::Password(password.as_bytes()))?;
    let view = list::snapshots(&repository)?;
    // the name of a source means its newest snapshot
    let address = list::find(&view, address.as_bytes(), &|_| None)?;
    let reader = address.reader()?;
    let node = address.find(&reader)?.ok_or("the path of a file is missing")?;
    let mut bytes = vec![0; 1 << 20];
    let length = FileReader::new(&reader, &node)?.read_at(offset.parse()?, &mut bytes)?;
    std::io::stdout().write_all(&bytes[..length])?;
    Ok(())
}
