//! Takes a dump without a repository, as a backup does.

use std::collections::BTreeMap;
use vault::runtime::{Clock, Runtime};
use vault::source::dump::{Dump, DumpFailure, Learned};

/// All that a dump gave.
#[derive(Debug)]
pub struct Dumped {
    pub files: BTreeMap<String, Vec<u8>>,
    pub learned: Learned,
}

impl Dumped {
    /// The only file.
    pub fn only(&self) -> &[u8] {
        assert_eq!(self.files.len(), 1, "{:?}", self.files.keys());
        self.files.values().next().unwrap()
    }

    pub fn fact(&self, name: &str) -> Option<&str> {
        self.learned.facts.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub fn take(dump: &mut dyn Dump) -> Result<Dumped, DumpFailure> {
    let mut files = BTreeMap::new();
    dump.begin()?;
    while let Some(file) = dump.next()? {
        let mut bytes = Vec::new();
        let read = file.content.read_to_end(&mut bytes);
        read.map_err(|error| DumpFailure::Refused(format!("cannot read the stream: {error}")))?;
        assert!(file.allow_empty || !bytes.is_empty(), "an empty file");
        files.insert(String::from_utf8(file.name).unwrap(), bytes);
    }
    Ok(Dumped { files, learned: dump.learned() })
}

/// The system's clock.
pub fn runtime() -> Runtime {
    Runtime::seeded(1, Clock::System, 0)
}
