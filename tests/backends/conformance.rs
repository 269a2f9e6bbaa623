//! The suite that every kind of backend passes.

use std::ops::Range;
use vault::backend::{Backend, ErrorKind};

/// What `Store` promises. `times` says whether the store keeps modification times.
pub fn conformance(backend: &Backend, times: bool) {
    objects(backend, times);
    // A folder on the way to an object is none itself.
    assert_eq!(kind(backend.stat("packs/d")), ErrorKind::NotFound);
}

/// The same of objects alone.
pub fn objects(backend: &Backend, times: bool) {
    put_and_read(backend, times);
    ranges(backend);
    never_replaced(backend);
    names(backend);
    deleted_and_put_again(backend);
    listings(backend, times);
    together(backend);
}

fn kind<T: std::fmt::Debug>(result: vault::backend::Result<T>) -> ErrorKind {
    result.unwrap_err().kind
}

fn put_and_read(backend: &Backend, times: bool) {
    assert_eq!(backend.list("").unwrap(), []);
    let before = backend.counts();
    let big: Vec<u8> = (0..3_000_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    for (name, bytes) in [("config", &b"c"[..]), ("packs/d/3f/big", &big), ("packs/m/00/x", b"tree")] {
        backend.put(name, bytes).unwrap();
        assert!(backend.get(name, None).unwrap() == bytes, "{name}");
        let stat = backend.stat(name).unwrap();
        assert_eq!(stat.size, bytes.len() as u64);
        assert_eq!(stat.modified.is_some(), times);
        if let Some(modified) = stat.modified {
            let age = jiff::Timestamp::now().as_nanosecond() - i128::from(modified.nanoseconds());
            assert!((-5_000_000_000..3_600_000_000_000).contains(&age), "{name}: {age}");
        }
    }
    let after = backend.counts();
    assert_eq!((after.put - before.put, after.get - before.get, after.stat - before.stat), (3, 3, 3));
    assert_eq!(after.bytes_written - before.bytes_written, big.len() as u64 + 5);
    assert_eq!(after.bytes_read - before.bytes_read, big.len() as u64 + 5);
    for missing in ["packs/d/3f/none", "nowhere/at/all"] {
        assert_eq!(kind(backend.get(missing, None)), ErrorKind::NotFound);
        assert_eq!(kind(backend.get(missing, Some(0..1))), ErrorKind::NotFound);
        assert_eq!(kind(backend.get(missing, Some(0..0))), ErrorKind::NotFound);
        assert_eq!(kind(backend.stat(missing)), ErrorKind::NotFound);
    }
}

fn ranges(backend: &Backend) {
    backend.put("packs/d/3f/digits", b"0123456789").unwrap();
    let get = |range: Range<u64>| backend.get("packs/d/3f/digits", Some(range));
    assert_eq!(get(0..10).unwrap(), b"0123456789");
    assert_eq!(get(3..5).unwrap(), b"34");
    assert_eq!(get(9..10).unwrap(), b"9");
    assert_eq!(get(4..4).unwrap(), b"");
    assert_eq!(get(10..10).unwrap(), b"");
    for past in [9..11, 10..11, 500..600, 0..1_000_000, 11..11] {
        assert_eq!(kind(get(past.clone())), ErrorKind::Damaged, "{past:?}");
    }
    let backwards = Range { start: 5, end: 3 };
    assert_eq!(kind(get(backwards)), ErrorKind::Other);
}

fn never_replaced(backend: &Backend) {
    backend.put("keys/one", b"first").unwrap();
    backend.put("keys/one", b"first").unwrap();
    assert_eq!(kind(backend.put("keys/one", b"other")), ErrorKind::Exists);
    assert_eq!(kind(backend.put("keys/one", b"longer than first")), ErrorKind::Exists);
    assert_eq!(backend.get("keys/one", None).unwrap(), b"first");
}

fn names(backend: &Backend) {
    for bad in ["", "/etc/passwd", "../up", "packs/../../up", "packs//x", "packs/", "a/./b", "nul\0", "tmp/x"] {
        assert_eq!(kind(backend.put(bad, b"x")), ErrorKind::Other, "{bad:?}");
        assert_eq!(kind(backend.get(bad, None)), ErrorKind::Other, "{bad:?}");
        assert_eq!(kind(backend.delete(bad)), ErrorKind::Other, "{bad:?}");
    }
    assert_eq!(kind(backend.list("packs")), ErrorKind::Other);
    assert_eq!(kind(backend.list("../")), ErrorKind::Other);
    assert_eq!(kind(backend.list("tmp/")), ErrorKind::Other);
    let odd = "wal/main cluster/1/000000010000000000000001-%41+b&c=d#e?f";
    backend.put(odd, b"odd").unwrap();
    assert_eq!(backend.get(odd, None).unwrap(), b"odd");
    let listed = backend.list("wal/").unwrap();
    assert_eq!(listed.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), [odd]);
    backend.delete(odd).unwrap();
}

fn deleted_and_put_again(backend: &Backend) {
    backend.put("orders/gone", b"1").unwrap();
    backend.delete("orders/gone").unwrap();
    assert_eq!(kind(backend.get("orders/gone", None)), ErrorKind::NotFound);
    assert_eq!(kind(backend.stat("orders/gone")), ErrorKind::NotFound);
    backend.delete("orders/gone").unwrap();
    backend.delete("orders/never/was").unwrap();
    assert_eq!(backend.list("orders/").unwrap(), []);
    backend.put("orders/gone", b"other bytes now").unwrap();
    assert_eq!(backend.get("orders/gone", None).unwrap(), b"other bytes now");
    backend.delete("orders/gone").unwrap();
}

/// More objects than S3 shows on one page, in folders, put by several threads.
fn listings(backend: &Backend, times: bool) {
    const COUNT: usize = 1_100;
    let name = |n: usize| format!("index/domain/{:02x}/{n:05}", n % 16);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for n in (thread..COUNT).step_by(4) {
                    backend.put(&name(n), &vec![b'x'; n % 7 + 1]).unwrap();
                }
            });
        }
    });
    let mut wanted: Vec<(String, u64)> = (0..COUNT).map(|n| (name(n), (n % 7 + 1) as u64)).collect();
    wanted.sort();
    let listed = backend.list("index/").unwrap();
    assert!(listed.iter().all(|e| e.modified.is_some() == times));
    assert!(listed.into_iter().map(|e| (e.name, e.size)).collect::<Vec<_>>() == wanted);
    let part = backend.list("index/domain/0a/").unwrap();
    assert_eq!(part.len(), wanted.iter().filter(|(name, _)| name.starts_with("index/domain/0a/")).count());
    assert_eq!(backend.list("index/domain/0/").unwrap(), []);
    assert_eq!(backend.list("nowhere/").unwrap(), []);
    let all: Vec<String> = backend.list("").unwrap().into_iter().map(|e| e.name).collect();
    assert!(all.is_sorted() && all.iter().all(|name| !name.starts_with("tmp/")));
    let top = ["config", "keys/one", "packs/d/3f/big", "packs/d/3f/digits", "packs/m/00/x"];
    assert_eq!(
        all.iter().filter(|name| !name.starts_with("index/")).collect::<Vec<_>>(),
        top.iter().collect::<Vec<_>>()
    );
}

/// Several writers of one name: all with the same bytes succeed.
fn together(backend: &Backend) {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8).map(|_| scope.spawn(|| backend.put("snapshots/same", b"same bytes"))).collect();
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
    });
    assert_eq!(backend.get("snapshots/same", None).unwrap(), b"same bytes");
    assert_eq!(backend.list("snapshots/").unwrap().len(), 1);
}

/// A root that is gone is an error for every listing.
pub fn missing_root(backend: &Backend, remove: impl FnOnce()) {
    remove();
    assert_eq!(kind(backend.list("")), ErrorKind::NoPlace);
    assert_eq!(kind(backend.list("packs/")), ErrorKind::NoPlace);
    // some stores tell the missing place from the missing object only when they list
    assert!(matches!(kind(backend.get("config", None)), ErrorKind::NoPlace | ErrorKind::NotFound));
}
