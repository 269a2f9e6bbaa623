//! Compressed input: named in each run, and what it costs is said once, as long as it comes.

use std::fs;
use testkit::world::{Hand, folder, init, noise, snapshot_folder, snapshot_stream};
use vault::backup::Report;
use vault::compression::Compression;
use vault::list;
use vault::repository::Repository;

/// What `gzip` would give: no two of them share anything.
fn packed(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = noise(seed, length);
    bytes[..10].copy_from_slice(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03");
    bytes
}

/// What it said of compressed input; each is a note too.
fn told(report: &Report) -> Vec<&str> {
    let told: Vec<&str> = report.advice.iter().map(String::as_str).collect();
    assert!(told.iter().all(|told| report.notes.iter().any(|note| note == told)), "{report:?}");
    told
}

fn fact(repository: &Repository, report: &Report) -> Option<String> {
    let catalog = list::snapshots(repository).unwrap();
    let entry = catalog.snapshots.by_id(&report.snapshot.unwrap().to_string()).unwrap();
    entry.body(repository).unwrap().facts.get("compressed").map(str::to_owned)
}

#[test]
fn a_stream_that_comes_compressed_again_is_told_of_once() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let take = |seed| snapshot_stream(&repository, &packed(seed, 2 << 20)).unwrap();
    let first = take(1);
    let named: Vec<_> = first.compressed.iter().map(|one| (one.path.as_slice(), one.by, one.size)).collect();
    assert_eq!(named, [(b"dump".as_slice(), Compression::Gzip, 2 << 20)]);
    // nobody knows yet whether it comes again
    assert_eq!((told(&first), fact(&repository, &first)), (Vec::new(), None));
    let second = take(2);
    assert_eq!(second.compressed[0].added_bytes, 2 << 20);
    let said = told(&second);
    assert!(
        said.len() == 1 && said[0].starts_with("dump is compressed by gzip: 2.0 MiB of 2.0 MiB are new"),
        "{said:?}"
    );
    assert!(said[0].contains("pg_dump -Z0") && said[0].contains("--rsyncable"), "{said:?}");
    for report in [take(3), take(3)] {
        assert_eq!((told(&report), report.compressed.len()), (Vec::new(), 1));
        assert_eq!(fact(&repository, &report).as_deref(), Some("gzip"));
    }
    // what is mended, and comes back, is told of again
    let plain = snapshot_stream(&repository, &vec![b'a'; 2 << 20]).unwrap();
    assert_eq!((plain.compressed.len(), fact(&repository, &plain)), (0, None));
    assert_eq!(told(&take(4)).len(), 1);
}

#[test]
fn a_large_file_is_told_of_once_though_it_does_not_change_each_time() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|root| fs::write(root.join("db-1.gz"), packed(1, 16 << 20)).unwrap());
    let take = |name: &str, bytes: &[u8]| {
        fs::write(source.path().join(name), bytes).unwrap();
        snapshot_folder(&repository, source.path()).unwrap()
    };
    // small ones, and those that nothing stood for before, are nobody's dump
    assert_eq!(told(&take("small.gz", &packed(2, 2 << 20))), Vec::<&str>::new());
    assert_eq!(told(&take("small.gz", &packed(3, 2 << 20))), Vec::<&str>::new());
    fs::remove_file(source.path().join("db-1.gz")).unwrap();
    let second = take("db-2.gz", &packed(4, 16 << 20));
    assert!(told(&second)[0].starts_with("db-2.gz is compressed by gzip: 16.0 MiB of 16.0 MiB"), "{second:?}");
    assert_eq!(second.compressed.len(), 1);
    hand.advance(std::time::Duration::from_secs(3600));
    let unread = take("notes", b"x");
    assert_eq!(
        (told(&unread).len(), unread.compressed.len(), fact(&repository, &unread).as_deref()),
        (0, 0, Some("gzip"))
    );
    assert_eq!(told(&take("db-2.gz", &packed(5, 16 << 20))), Vec::<&str>::new());
}
