//! Compressed input, as the real programs make it, is known by its first bytes; what they make without is not.

use crate::cluster::Cluster;
use crate::private::find;
use std::io::Write;
use std::process::{Command, Stdio};
use testkit::world::noise;
use vault::compression::Compression;

/// What a shell gives that has this on its input; nothing if one of the programs is not there.
fn made(line: &str, input: &[u8]) -> Option<Vec<u8>> {
    let program = line.split(' ').next()?;
    if find(program).is_none() {
        drop(writeln!(std::io::stderr(), "SKIPPED reading what {program} makes: it is not installed"));
        return None;
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::fs::write(folder.path().join("d/a"), vec![b'a'; 1 << 20]).unwrap();
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", line]).current_dir(&folder).stdin(Stdio::from(file)).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

#[test]
fn what_programs_compress_is_known() {
    let lines = [
        ("gzip", Some(Compression::Gzip)),
        ("gzip --rsyncable -9", Some(Compression::Gzip)),
        ("tar -cz d", Some(Compression::Gzip)),
        ("zstd", Some(Compression::Zstd)),
        ("zstd --rsyncable", Some(Compression::Zstd)),
        ("pzstd -c", Some(Compression::Zstd)),
        ("xz", Some(Compression::Xz)),
        ("bzip2", Some(Compression::Bzip2)),
        ("lz4", Some(Compression::Lz4)),
        ("zip -qr - d", Some(Compression::Zip)),
        ("zip -q0r - d", None),
        ("tar -c d", None),
    ];
    let input = [&vec![b'a'; 100_000], noise(1, 100_000).as_slice()].concat();
    for (line, expected) in lines {
        if let Some(bytes) = made(line, &input) {
            assert_eq!(Compression::of(&bytes), expected, "{line}: {}", bytes[..32].escape_ascii());
        }
    }
}

#[test]
fn a_dump_of_postgres_says_whether_it_is_compressed() {
    for cluster in [Cluster::of_system(), Cluster::newest()].into_iter().flatten() {
        cluster.sql("app", "create table users as select i, md5(i::text) from generate_series(1, 9999) i");
        let dumped = |options: &str| {
            let (program, url) = (cluster.program("pg_dump"), cluster.url("owner", "app"));
            let output = Command::new(program).args(options.split(' ')).arg(url).output().unwrap();
            assert!(output.status.success(), "{options}: {}", String::from_utf8_lossy(&output.stderr));
            Compression::of(&output.stdout)
        };
        for options in ["-Fc", "-Fc -Z1", "-Fc -Z9"] {
            assert_eq!(dumped(options), Some(Compression::PgDump), "{options}");
        }
        for options in ["-Fc -Z0", "-Fc --compress=0", "-Ft", "-Fp"] {
            assert_eq!(dumped(options), None, "{options}");
        }
        assert_eq!(dumped("-Fp -Z5"), Some(Compression::Gzip));
    }
}
