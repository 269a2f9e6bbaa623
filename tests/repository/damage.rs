//! Objects vanish or rot one at a time, down to each single byte. What is lost is named, the next run stores it again,
//! and nothing damaged is ever taken for good.

use crate::small::{Small, flat, flat_of, open_as};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use testkit::compare::compare;
use testkit::faulty::sample;
use testkit::simulated::Simulated;
use testkit::world::{
    PASSWORD, assert_clean, assert_restores, backend, check, restore_folder, snapshot_folder, snapshot_stream,
};
use vault::check::Finding;
use vault::repository::{Access, Options, Repository};
use vault::{error, list};
use vault_format::name::Name;

/// One in so many flips outside of packs is restored.
const WHOLE_STEP: usize = 4;
/// One in so many flips is also restored into a real folder.
const FOLDER_STEP: usize = 23;

fn names(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.object.as_str()).collect()
}

fn assert_named_once(findings: &[Finding], context: &str) {
    let mut seen = names(findings);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), findings.len(), "{context}: {findings:#?}");
}

/// Runs `work` for every number below `count`, on all cores.
fn on_all_cores(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= count {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}

/// Exact bytes or an error, for all snapshots and all keys that may read them.
fn never_wrong(small: &Small, repository: &Repository, context: &str) {
    let Ok(catalog) = list::snapshots(repository) else { return };
    for (id, expected) in &small.contents {
        if let Ok(bytes) = flat_of(repository, &catalog, *id) {
            assert!(bytes == *expected, "{context}: snapshot {} gives other bytes", id.short());
        }
    }
}

/// The same through the code that fills folders.
fn never_wrong_in_a_folder(small: &Small, repository: &Repository, context: &str) {
    for id in &small.ids[..2] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("out");
        let Ok(report) = restore_folder(repository, *id, &target) else { continue };
        let mut differences = compare(small.folder.path(), &target);
        if *id == small.ids[0] {
            differences.retain(|(path, what)| path != "/three" && !(path.is_empty() && what.starts_with("mtime")));
        }
        if !report.failed.is_empty() {
            differences.retain(|(_, what)| what.starts_with("content") || what.starts_with("size"));
        }
        assert!(differences.is_empty(), "{context}: {report:#?} {differences:#?}");
    }
}

#[test]
fn every_flipped_byte_is_noticed_and_none_is_restored() {
    let small = Small::new();
    let objects: Vec<(String, Vec<u8>)> = small.store.objects().into_iter().collect();
    let bytes: Vec<(usize, usize)> = objects
        .iter()
        .enumerate()
        .flat_map(|(number, (_, bytes))| (0..bytes.len()).map(move |at| (number, at)))
        .collect();
    assert!(bytes.len() <= 64 << 10, "{} bytes", bytes.len());
    let unnoticed = Mutex::new(Vec::new());
    let tried: Vec<u64> = sample(bytes.len() as u64, 20).collect();
    on_all_cores(tried.len(), |number| {
        let (object, at) = bytes[tried[number] as usize - 1];
        let name = &objects[object].0;
        // any bit, another one for each byte
        let bit = 1u8 << ((at * 7 + object) % 8);
        let context = format!("{name} of {} bytes, byte {at}, bit {bit:#x}", objects[object].1.len());
        let copy = small.store.snapshot(5);
        copy.damage(name, |bytes| bytes[at] ^= bit);
        let repository = small.open(copy.clone(), 6).unwrap_or_else(|error| panic!("{context}: {error}"));
        let findings = check(&repository, true).findings;
        if !findings.iter().any(|finding| finding.object == *name) {
            unnoticed.lock().unwrap().push(context.clone());
        }
        // a restore reads ranges of packs; everything else it compares with its name as a whole, so that all bytes of
        // one object are alike
        if name.starts_with("packs/") || number % WHOLE_STEP == 0 {
            never_wrong(&small, &repository, &context);
        }
        if number % FOLDER_STEP == 0 {
            assert_named_once(&findings, &context);
            never_wrong_in_a_folder(&small, &repository, &context);
        }
    });
    let unnoticed = unnoticed.into_inner().unwrap();
    assert!(unnoticed.is_empty(), "{} of {} bytes: {unnoticed:#?}", unnoticed.len(), bytes.len());
}

/// Not by length, nor by where the store keeps it: a flip that makes a slot another one still opens nothing.
#[test]
fn a_flipped_slot_lets_nobody_in_by_password() {
    let small = Small::new();
    let objects = small.store.objects();
    let (name, bytes) = objects.iter().find(|(name, bytes)| name.starts_with("keys/") && bytes.len() > 1000).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 16) {
        let copy = small.store.snapshot(5);
        copy.damage(name, |bytes| bytes[at] ^= 1);
        let runtime = small.hand.runtime(6, 0);
        let access = Access::Password(PASSWORD);
        let opened = Repository::open(backend(copy, &runtime), runtime, Options::default(), access);
        assert!(opened.is_err_and(|error| error.to_string().contains(name.as_str())), "byte {at}");
    }
}

/// Takes a snapshot of everything that the sources still hold, and restores it.
fn assert_stored_again(small: &Small, copy: &Simulated, context: &str) {
    let repository = small.open(copy.clone(), 7).unwrap();
    let take = |result: error::Result<vault::backup::Report>| {
        result.unwrap_or_else(|error| panic!("{context}: {error}")).snapshot.unwrap()
    };
    let folder = take(snapshot_folder(&repository, small.folder.path()));
    let dump = take(snapshot_stream(&repository, &small.stream));
    assert_restores(&repository, folder, small.folder.path(), context);
    assert!(flat(&repository, dump).unwrap() == small.stream, "{context}: other bytes");
    // who has lost his slot is nobody any more, for this run and for those who would read it
    let client = open_as(copy.clone(), &small.hand, 8, small.client.clone()).unwrap();
    let own = take(snapshot_stream(&client, &small.stream));
    assert!(flat(&client, own).unwrap() == small.stream, "{context}: other bytes for the client");
}

/// What is found in a repository that something happened to; a finding names the object.
fn assert_noticed(small: &Small, copy: &Simulated, name: &Name, context: &str) -> Vec<Finding> {
    let repository = small.open(copy.clone(), 3).unwrap_or_else(|error| panic!("{context}: {error}"));
    let mut noticed = Vec::new();
    for read_data in [false, true] {
        noticed = check(&repository, read_data).findings;
        assert_named_once(&noticed, context);
        let id = name.id().map_or(name.to_string(), |id| id.to_string());
        let named = noticed.iter().any(|finding| finding.object.ends_with(&id));
        // that an index object is gone shows only by the packs of which nothing tells any more, and a slot's place
        // by those who miss it
        let inferred = context.contains("without") && matches!(name, Name::Index(..) | Name::Slot(_));
        assert!(named || (inferred && !noticed.is_empty()), "{context}: {noticed:#?}");
    }
    never_wrong(small, &repository, context);
    noticed
}

#[test]
fn what_is_cut_short_is_noticed_and_stored_again() {
    let small = Small::new();
    let objects: Vec<(String, Vec<u8>)> = small.store.objects().into_iter().collect();
    on_all_cores(objects.len(), |number| {
        let (name, bytes) = &objects[number];
        let length = bytes.len();
        for kept in [0, 1, 8, 63, 64, length / 2, length - 17, length - 1] {
            let context = format!("{name} cut from {length} to {kept} bytes");
            let copy = small.store.snapshot(5);
            copy.damage(name, |bytes| bytes.truncate(kept));
            let name = Name::parse(name).unwrap();
            assert_noticed(&small, &copy, &name, &context);
            assert_stored_again(&small, &copy, &context);
        }
    });
}

#[test]
fn what_vanished_is_noticed_and_stored_again() {
    let small = Small::new();
    let names = small.names();
    on_all_cores(names.len(), |number| {
        let name = &names[number];
        let copy = small.without(name);
        let context = format!("without {name}");
        // nobody can miss what nothing names
        if !matches!(name, Name::Journal(..) | Name::Order(_) | Name::Mark(_)) {
            let findings = assert_noticed(&small, &copy, name, &context);
            if let Name::Pack(..) = name {
                let pack = findings.iter().find(|finding| finding.object == name.to_string()).unwrap();
                let known = |path: &String| small.ids.iter().any(|id| path.starts_with(&format!("{}:/", id.short())));
                assert!(!pack.affected.is_empty() && pack.affected.iter().all(known), "{context}: {findings:#?}");
                assert_eq!(pack.affected.len() as u64, pack.affected_count, "{context}: {findings:#?}");
            }
        }
        assert_stored_again(&small, &copy, &context);
    });
}

#[test]
fn without_the_old_snapshots_nothing_lost_is_needed() {
    let small = Small::new();
    for name in small.names().into_iter().filter(|name| matches!(name, Name::Pack(..) | Name::Index(..))) {
        let copy = small.without(&name);
        assert_stored_again(&small, &copy, &name.to_string());
        for old in small.names().into_iter().filter(|name| matches!(name, Name::Snapshot(..))) {
            copy.remove(&old.to_string());
        }
        let mut findings = check(&small.open(copy, 9).unwrap(), true).findings;
        findings.retain(|finding| finding.object != name.to_string() && !finding.object.starts_with("snapshots/"));
        assert!(findings.is_empty(), "without {name}: {findings:#?}");
    }
}

/// One lost pack, and everything that needs it in every snapshot that reaches it, through a folder that they share.
#[test]
fn damage_in_a_shared_folder_is_told_to_every_snapshot() {
    let small = Small::new();
    let repository = small.open(small.store.clone(), 3).unwrap();
    let shared = small.folder.path().join("shared");
    fs::create_dir_all(shared.join("deep")).unwrap();
    let before: Vec<Name> = small.names();
    for number in 0..30 {
        fs::write(shared.join(format!("deep/{number:02}")), testkit::world::noise(100 + number, 40)).unwrap();
    }
    let mut ids = Vec::new();
    for number in 0..3 {
        fs::write(small.folder.path().join("changes"), [number]).unwrap();
        ids.push(snapshot_folder(&repository, small.folder.path()).unwrap().snapshot.unwrap());
    }
    assert_clean(&repository, true, "before");
    let first_data =
        |name: &Name| matches!(name, Name::Pack(vault_format::id::Class::Data, _)) && !before.contains(name);
    let packs: Vec<Name> = small.names().into_iter().filter(first_data).collect();
    let largest = packs.iter().max_by_key(|name| small.store.objects()[&name.to_string()].len()).unwrap();
    let findings = check(&small.open(small.without(largest), 4).unwrap(), false).findings;
    assert_eq!(names(&findings), [largest.to_string()], "{findings:#?}");
    let [finding] = findings.as_slice() else { panic!("one") };
    // thirty shared files in three snapshots, and what changed in the first of them
    assert_eq!((finding.affected.len(), finding.affected_count), (20, 91), "{findings:#?}");
    // the pack of the small change: each of its snapshots is told
    let other = packs.iter().filter(|name| *name != largest).map(|name| small.without(name));
    for copy in other {
        let findings = check(&small.open(copy, 4).unwrap(), false).findings;
        let affected: Vec<&String> = findings.iter().flat_map(|finding| &finding.affected).collect();
        let told = ids.iter().filter(|id| affected.contains(&&format!("{}:/changes", id.short()))).count();
        assert_eq!(told, 1, "{findings:#?}");
    }
}
