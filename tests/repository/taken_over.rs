//! What a run takes over unread (W10): only what this machine committed itself, so that whoever has another key, or a
//! copy of its own, does not change what it stores next. And what it reads though nothing seems to have changed.

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;
use testkit::simulated::Simulated;
use testkit::world::{Hand, assert_restores, folder, init, init_like, member, open, open_as};
use testkit::world::{restore_folder, tick, with_content, with_nodes};
use vault::progress::Silent;
use vault::repository::Repository;
use vault::{backup, copy, forget, list, source};
use vault_format::bundle::{Bundle, Role};
use vault_format::id::ObjectId;
use vault_format::tree::Xattr;

const FILES: u64 = 3;

/// An honest client, its folder and the cache of its machine, and what a thief of a key has put behind its snapshot: the
/// same names, sizes and times, and other bytes.
struct Theft {
    hand: Hand,
    store: Simulated,
    owner: Repository,
    bundle: Bundle,
    source: TempDir,
    cache: TempDir,
    first: ObjectId,
    forged: ObjectId,
}

impl Theft {
    /// Has the honest client's own key been copied, or that of another member of its domain?
    fn new(is_same_key: bool) -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let (_, bundle) = member(&owner, Role::Client, "honest", Some("d"));
        let (_, other) = member(&owner, Role::Client, "other", Some("d"));
        let source = folder(|root| {
            (0..FILES).for_each(|number| fs::write(root.join(number.to_string()), format!("honest {number}")).unwrap());
        });
        let cache = tempfile::tempdir().unwrap();
        let thief = if is_same_key { &bundle } else { &other };
        let thief = open_as(store.clone(), &hand.runtime(2, 0), thief).unwrap();
        let nobody = ObjectId([0; 32]);
        let mut theft = Self { hand, store, owner, bundle, source, cache, first: nobody, forged: nobody };
        theft.first = theft.take(true, &options()).snapshot.unwrap();
        theft.hand.advance(Duration::from_secs(10));
        theft.forged = with_content(&thief, theft.first, b"ransom");
        theft
    }

    /// The honest client's next run, with the memory of its machine or without.
    fn take(&self, has_cache: bool, options: &backup::Options) -> backup::Report {
        let seed = u64::from_le_bytes(self.owner.runtime().random());
        let honest = open_as(self.store.clone(), &self.hand.runtime(seed, 0), &self.bundle).unwrap();
        if has_cache {
            honest.use_cache(self.cache.path()).unwrap();
        }
        take(&honest, self.source.path(), options)
    }

    fn assert_honest(&self, report: &backup::Report, context: &str) {
        assert_restores(&self.owner, report.snapshot.unwrap(), self.source.path(), context);
    }
}

fn options() -> backup::Options {
    backup::Options { name: "folder".into(), host: "host".into(), ..backup::Options::default() }
}

fn reread(part: (u32, u32)) -> backup::Options {
    backup::Options { reread: Some(part), ..options() }
}

fn take(repository: &Repository, path: &Path, options: &backup::Options) -> backup::Report {
    tick(repository);
    let source = backup::Source::Paths(vec![path.to_owned()], source::Options::default());
    backup::backup(repository, source, options, &Silent).unwrap()
}

fn unchanged(report: &backup::Report) -> u64 {
    report.head.statistics.unchanged_files
}

#[test]
fn nothing_is_taken_over_that_another_key_signed() {
    for has_cache in [true, false] {
        let theft = Theft::new(false);
        let catalog = list::snapshots(&theft.owner).unwrap();
        assert_eq!(catalog.snapshots.visible().next_back().unwrap().id, theft.forged, "it is the newest");
        let report = theft.take(has_cache, &options());
        assert_eq!((report.head.parent, unchanged(&report)), (Some(theft.first), FILES), "cache {has_cache}");
        theft.assert_honest(&report, "after the snapshot of another member");
    }
}

#[test]
fn a_copied_key_changes_nothing_on_the_machine_that_remembers_what_it_took() {
    let theft = Theft::new(true);
    let report = theft.take(true, &options());
    assert_eq!((report.head.parent, unchanged(&report)), (Some(theft.first), FILES));
    theft.assert_honest(&report, "after the snapshot of a copied key");
    // without a memory there is nothing to tell the two apart by
    let theft = Theft::new(true);
    assert_eq!(theft.take(false, &options()).head.parent, Some(theft.forged));
}

#[test]
fn a_machine_none_of_whose_own_snapshots_is_left_reads_everything() {
    let theft = Theft::new(true);
    forget::by_id(&theft.owner, &[theft.first.to_string()], &forget::Options::default()).unwrap();
    let report = theft.take(true, &options());
    assert_eq!((report.head.parent, report.head.turn, unchanged(&report)), (None, 0, 0));
    theft.assert_honest(&report, "after its own snapshot was forgotten");
    assert_eq!(unchanged(&theft.take(true, &options())), FILES, "and goes on from there");
}

#[test]
fn a_snapshot_of_somebody_else_is_no_reason_to_take_none() {
    let skip = backup::Options { skip_if_unchanged: true, ..options() };
    for is_same_key in [true, false] {
        let theft = Theft::new(true);
        forget::by_id(&theft.owner, &[theft.forged.to_string()], &forget::Options::default()).unwrap();
        let runtime = theft.hand.runtime(7, 0);
        let copied = || open_as(theft.store.clone(), &runtime, &theft.bundle).unwrap();
        let other = if is_same_key { copied() } else { theft.owner.clone() };
        // of the state that the machine finds
        let newest = with_content(&other, theft.first, b"");
        let catalog = list::snapshots(&theft.owner).unwrap();
        assert_eq!(catalog.snapshots.visible().next_back().unwrap().id, newest);
        let report = theft.take(true, &skip);
        assert_eq!((report.head.parent, unchanged(&report)), (Some(theft.first), FILES));
        theft.assert_honest(&report, "the newest of the name is another's");
        assert_eq!(theft.take(true, &skip).snapshot, None, "now it is its own");
    }
}

#[test]
fn machines_that_share_a_key_each_go_on_from_their_own() {
    let hand = Hand::new();
    let store = hand.store();
    init(store.clone(), &hand.runtime(1, 0));
    let source = folder(|root| fs::write(root.join("file"), "content").unwrap());
    let machines = [2, 3].map(|seed| {
        let repository = open(store.clone(), &hand.runtime(seed, 0)).unwrap();
        let cache = tempfile::tempdir().unwrap();
        repository.use_cache(cache.path()).unwrap();
        (repository, cache)
    });
    let run = |(repository, _): &(Repository, TempDir)| take(repository, source.path(), &options());
    let [one, other] = &machines;
    let first = run(one);
    let joined = run(other);
    assert_eq!(joined.head.parent, first.snapshot, "one without a memory goes by the key");
    for (machine, before) in [(one, first), (other, joined)] {
        let report = run(machine);
        assert_eq!((report.head.parent, report.head.turn), (before.snapshot, before.head.turn + 1));
    }
}

#[test]
fn a_copy_is_not_taken_over_though_its_signature_is_that_of_the_run() {
    let hand = Hand::new();
    let owner = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|root| fs::write(root.join("file"), "content").unwrap());
    take(&owner, source.path(), &options());
    let second = init_like(hand.store(), &hand.runtime(2, 0), &owner);
    drop(copy::copy(&owner, &second, &copy::Options::default(), &Silent).unwrap());
    let copied = list::snapshots(&second).unwrap().snapshots.all.remove(0);
    assert!(copied.by_owner && copied.header.writer == second.keys().writer());
    let report = take(&second, source.path(), &options());
    assert_eq!((report.head.parent, unchanged(&report), report.head.statistics.added_blobs), (None, 0, 0));
}

#[test]
fn a_change_that_only_the_ctime_shows_is_stored() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|_| ());
    let file = source.path().join("file");
    let write = |content: &str| {
        fs::write(&file, content).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(1_577_836_800);
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        let metadata = fs::metadata(&file).unwrap();
        use std::os::unix::fs::MetadataExt;
        (metadata.len(), metadata.modified().unwrap(), metadata.ino(), (metadata.ctime(), metadata.ctime_nsec()))
    };
    let before = write("AAAA");
    take(&repository, source.path(), &options());
    let mut after = write("BBBB");
    while after.3 == before.3 {
        after = write("BBBB");
    }
    assert_eq!((after.0, after.1, after.2), (before.0, before.1, before.2));
    let report = take(&repository, source.path(), &options());
    assert_eq!(unchanged(&report), 0);
    assert_restores(&repository, report.snapshot.unwrap(), source.path(), "changed, of the same size and mtime");
}

#[test]
fn attributes_are_taken_over_with_the_ctime_and_read_without() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|root| fs::write(root.join("file"), "content").unwrap());
    let colour = |colour: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(source.path().join("file"), "user.colour", colour, flags).unwrap();
    };
    let restored = |report: &backup::Report| {
        let target = tempfile::tempdir().unwrap();
        drop(restore_folder(&repository, report.snapshot.unwrap(), &target.path().join("out")).unwrap());
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(target.path().join("out/file"), "user.colour", &mut value).unwrap();
        value[..length].to_vec()
    };
    colour(b"blue");
    let first = take(&repository, source.path(), &options());
    let again = take(&repository, source.path(), &options());
    assert_eq!((unchanged(&again), restored(&first), restored(&again)), (1, b"blue".to_vec(), b"blue".to_vec()));
    colour(b"green");
    let report = take(&repository, source.path(), &options());
    assert_eq!((unchanged(&report), restored(&report)), (0, b"green".to_vec()));
    // a ctime that counts for nothing says nothing of them
    colour(b"red");
    let report = take(&repository, source.path(), &backup::Options { ignore_ctime: true, ..options() });
    assert_eq!((unchanged(&report), restored(&report)), (1, b"red".to_vec()));
}

/// The parent says of a file what its time of change does not show: that stays until the file is read again.
#[test]
fn attributes_are_read_again_with_the_content() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|root| fs::write(root.join("file"), "content").unwrap());
    let first = take(&repository, source.path(), &options()).snapshot.unwrap();
    hand.advance(Duration::from_secs(10));
    let forged = Xattr { name: b"user.forged".to_vec(), value: b"x".to_vec() };
    with_nodes(&repository, first, |_, node| node.metadata.xattrs = vec![forged.clone()]);
    let report = take(&repository, source.path(), &reread((1, 1)));
    assert_restores(&repository, report.snapshot.unwrap(), source.path(), "what is there now");
}

#[test]
fn each_unchanged_file_is_read_once_in_a_round() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|root| {
        fs::create_dir(root.join("sub")).unwrap();
        (0..60).for_each(|n| fs::write(root.join(format!("{}{n}", ["", "sub/"][n % 2])), n.to_string()).unwrap());
    });
    let first = take(&repository, source.path(), &options());
    assert_eq!(first.head.turn, 0);
    let mut read = Vec::new();
    for turn in 1..=4 {
        let report = take(&repository, source.path(), &reread((1, 4)));
        assert_eq!((report.head.turn, report.notes.len()), (turn, 0));
        read.push(60 - unchanged(&report));
    }
    assert!(read.iter().all(|count| (4..30).contains(count)) && read.iter().sum::<u64>() == 60, "{read:?}");
    assert_eq!(unchanged(&take(&repository, source.path(), &options())), 60, "nobody asked");
}

#[test]
fn what_changed_without_a_trace_is_found_where_it_is_read_again_and_told() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|root| (0..3).for_each(|n| fs::write(root.join(n.to_string()), "content").unwrap()));
    let first = take(&repository, source.path(), &options()).snapshot.unwrap();
    hand.advance(Duration::from_secs(10));
    with_content(&repository, first, b"before it rotted");
    let dry = |options| take(&repository, source.path(), &backup::Options { dry_run: true, ..options });
    assert_eq!(unchanged(&dry(options())), 3, "nothing shows");
    let report = take(&repository, source.path(), &reread((1, 1)));
    assert_eq!((unchanged(&report), report.notes.len()), (0, 3), "{:?}", report.notes);
    let path = source.path().join("0").display().to_string();
    assert!(report.notes[0].starts_with(&path) && report.notes[0].contains("size and times are the same"));
    assert_restores(&repository, report.snapshot.unwrap(), source.path(), "what is there now");
    assert_eq!(take(&repository, source.path(), &reread((1, 1))).notes, Vec::<String>::new());
}
