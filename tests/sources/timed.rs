//! A source has only so much time: what is not through with it by then gives no snapshot, whatever kind it is of.

use crate::taken::{Vault, Watch};
use std::io::Read;
use std::time::Duration;
use testkit::world::noise;
use vault::backup::{self, Source};
use vault::progress::Progress;
use vault::source::dump::{Dump, DumpFailure, DumpFile, Learned};
use vault::source::{self, Limit};

const SHORT: Duration = Duration::from_secs(1);

/// Takes longer than it may, once the first bytes are read.
pub fn slow() -> Watch {
    Watch::new(1, || std::thread::sleep(SHORT))
}

/// It ends with its time, and says so.
pub fn runs_out(vault: &Vault, source: Source<'_>, progress: &dyn Progress) {
    let options = backup::Options {
        name: "app".into(),
        limit: Some(Limit::new(&vault.runtime, SHORT)),
        ..backup::Options::default()
    };
    let error = backup::backup(&vault.repository, source, &options, progress).expect_err("it must fail").to_string();
    assert!(error.contains("it took longer than its timeout of 1s and was ended"), "{error}");
    assert_eq!(vault.count(), 0);
}

#[test]
fn a_large_file_ends_with_the_time_of_its_source() {
    let (vault, folder) = (Vault::new(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("large"), noise(1, 12 << 20)).unwrap();
    let paths = || Source::Paths(vec![folder.path().to_owned()], source::Options::default());
    runs_out(&vault, paths(), &slow());
    // with time enough it is taken
    let options =
        backup::Options { limit: Some(Limit::new(&vault.runtime, SHORT * 600)), ..backup::Options::default() };
    let options = backup::Options { name: "app".into(), ..options };
    backup::backup(&vault.repository, paths(), &options, &vault::progress::Silent).unwrap();
    assert_eq!(vault.count(), 1);
}

/// Gives bytes without an end.
struct Endless;

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        out.fill(7);
        Ok(out.len())
    }
}

impl Dump for Endless {
    fn begin(&mut self) -> Result<(), DumpFailure> {
        Ok(())
    }

    fn next(&mut self) -> Result<Option<DumpFile<'_>>, DumpFailure> {
        Ok(Some(DumpFile { name: b"dump".to_vec(), content: self, allow_empty: false }))
    }

    fn learned(&mut self) -> Learned {
        Learned::default()
    }
}

#[test]
fn a_dump_ends_with_the_time_of_its_source() {
    let vault = Vault::new();
    runs_out(&vault, Source::Dump(&mut Endless), &slow());
    runs_out(&vault, Source::Stream(&mut Endless, b"stream".to_vec()), &slow());
}
