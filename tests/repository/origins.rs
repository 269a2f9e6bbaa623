//! Where a source comes from: a derived name stands for one place, unchanged files are recognised by their absolute
//! path, the time of reading is no change, and a snapshot tells what it lacks.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use testkit::world::{Hand, folder, init, member, open_as, restore_stream, tick};
use vault::error::{Error, Result};
use vault::progress::Silent;
use vault::repository::Repository;
use vault::{backup, forget, list, source};
use vault_format::bundle::Role;
use vault_format::snapshot::{Body, LeftOut};

fn derived(host: &str) -> backup::Options {
    backup::Options { name: "docs".into(), host: host.into(), derived: true, ..backup::Options::default() }
}

fn take(repository: &Repository, paths: &[PathBuf], options: &backup::Options) -> Result<backup::Report> {
    take_with(repository, paths, &source::Options::default(), options)
}

fn take_with(
    repository: &Repository,
    paths: &[PathBuf],
    walk: &source::Options,
    options: &backup::Options,
) -> Result<backup::Report> {
    tick(repository);
    backup::backup(repository, backup::Source::Paths(paths.to_vec(), walk.clone()), options, &Silent)
}

fn stream(repository: &Repository, bytes: &[u8], name: &[u8], options: &backup::Options) -> Result<backup::Report> {
    tick(repository);
    let mut input = bytes;
    backup::backup(repository, backup::Source::Stream(&mut input, name.to_vec()), options, &Silent)
}

fn body(repository: &Repository, report: &backup::Report) -> Body {
    let catalog = list::snapshots(repository).unwrap();
    let id = report.snapshot.unwrap();
    let entry = catalog.snapshots.by_id(&id.to_string()).unwrap();
    entry.body(repository).unwrap()
}

/// Two folders of one name, and a link to the first.
fn two() -> (TempDir, PathBuf, PathBuf) {
    let place = folder(|root| {
        for who in ["alice", "bob"] {
            fs::create_dir_all(root.join(who).join("docs")).unwrap();
            fs::write(root.join(who).join("docs/file"), who).unwrap();
        }
        symlink(root.join("alice"), root.join("link")).unwrap();
    });
    let (alice, bob) = (place.path().join("alice/docs"), place.path().join("bob/docs"));
    (place, alice, bob)
}

fn refused(result: Result<backup::Report>, says: &[&str]) {
    let Err(Error::Request(refusal)) = result else { panic!("{result:?}") };
    let text = format!("{refusal:?}");
    for words in says {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_derived_name_stands_for_one_place() {
    let (place, alice, bob) = two();
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    take(&repository, std::slice::from_ref(&alice), &derived("host")).unwrap();
    let (left, right) = (alice.display().to_string(), bob.display().to_string());
    refused(take(&repository, std::slice::from_ref(&bob), &derived("host")), &[&left, &right, "bob-docs"]);
    let dry = backup::Options { dry_run: true, ..derived("host") };
    refused(take(&repository, std::slice::from_ref(&bob), &dry), &[&left]);
    refused(stream(&repository, b"bytes", b"docs", &derived("host")), &[&left, "a stream"]);
    // the same place in other words
    for same in ["alice/docs/", "alice/./docs", "bob/../alice/docs", "link/docs"] {
        take(&repository, &[place.path().join(same)], &derived("host"))
            .unwrap_or_else(|error| panic!("{same}: {error}"));
    }
    // moved, and said so once
    let said = backup::Options { derived: false, ..derived("host") };
    take(&repository, std::slice::from_ref(&bob), &said).unwrap();
    take(&repository, std::slice::from_ref(&bob), &derived("host")).unwrap();
    // the first place is not locked out by that: it goes on, and hears of it until the name is its own again
    for is_told in [true, false] {
        let report = take(&repository, std::slice::from_ref(&alice), &derived("host")).unwrap();
        let notes = report.notes.join(" ");
        assert_eq!(notes.contains("for one history") && notes.contains(&right), is_told, "{notes}");
        assert_eq!(report.head.statistics.unchanged_files, 1, "its own last tree is compared with");
    }
    let third = place.path().join("third/docs");
    fs::create_dir_all(&third).unwrap();
    refused(take(&repository, &[third], &derived("host")), &[&left]);
    // a writer knows that it is another place, and not which
    let (_, bundle) = member(&repository, Role::Writer, "w", None);
    let writer = open_as(store, &hand.runtime(2, 0), &bundle).unwrap();
    take(&writer, std::slice::from_ref(&alice), &derived("host")).unwrap();
    take(&writer, &[alice.join(".")], &derived("host")).unwrap();
    refused(take(&writer, &[bob], &derived("host")), &["can't read", &right]);
    // what was forgotten stands for nothing
    let catalog = list::snapshots(&repository).unwrap();
    let own = |id: &&vault::repository::SnapshotEntry| id.place.domain == repository.keys().domain();
    let ids: Vec<String> = catalog.snapshots.visible().filter(own).map(|entry| entry.id.to_string()).collect();
    let options = forget::Options { may_empty: true, ..forget::Options::default() };
    forget::by_id(&repository, &ids, &options).unwrap();
    take(&repository, &[alice], &derived("host")).unwrap();
}

#[test]
fn another_host_is_told_each_time() {
    let (_place, alice, _) = two();
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    let (_, bundle) = member(&repository, Role::Writer, "w", None);
    for repository in [&repository, &open_as(store, &hand.runtime(2, 0), &bundle).unwrap()] {
        for (host, told) in [("one", false), ("one", false), ("two", true), ("two", false), ("one", true)] {
            let report = take(repository, std::slice::from_ref(&alice), &derived(host)).unwrap();
            let notes = report.notes.join(" ");
            assert_eq!(notes.contains("comes from"), told, "{host}: {notes}");
        }
    }
}

#[test]
fn unchanged_files_are_known_by_their_absolute_path() {
    let place = folder(|root| {
        for name in ["a/p/one", "a/q/two", "a/q/deep/three", "b/four"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), name).unwrap();
        }
    });
    let paths = |names: &[&str]| names.iter().map(|name| place.path().join(name)).collect::<Vec<_>>();
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let said = backup::Options { derived: false, ..derived("host") };
    // what is taken, and how much of it was there the time before
    let steps: &[(&[&str], u64)] = &[
        (&["a/p", "a/q"], 0),
        (&["a/p", "a/q", "b"], 3),
        (&["a"], 3),
        (&["a/q"], 2),
        (&["a/q/deep"], 1),
        (&["."], 1),
        (&["b"], 1),
        (&["a", "b"], 1),
        (&["a/q/two"], 1),
        // the last one of these paths, not the last one
        (&["a/q"], 2),
    ];
    for (names, unchanged) in steps {
        let report = take(&repository, &paths(names), &said).unwrap();
        assert_eq!(report.head.statistics.unchanged_files, *unchanged, "{names:?}");
    }
}

#[test]
fn less_may_tell_that_a_file_is_unchanged() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|root| fs::write(root.join("file"), "content").unwrap());
    let paths = [source.path().to_owned()];
    let said = backup::Options { derived: false, ..derived("host") };
    take(&repository, &paths, &said).unwrap();
    let (file, copy) = (source.path().join("file"), source.path().join("copy"));
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::copy(&file, &copy).unwrap();
    fs::rename(&copy, &file).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    for (ignore_inode, ignore_ctime, unchanged) in
        [(false, false, 0), (true, false, 0), (false, true, 0), (true, true, 1)]
    {
        let options = backup::Options { ignore_inode, ignore_ctime, dry_run: true, ..said.clone() };
        let report = take(&repository, &paths, &options).unwrap();
        assert_eq!(report.head.statistics.unchanged_files, unchanged, "{ignore_inode} {ignore_ctime}");
    }
}

#[test]
fn the_time_of_reading_a_stream_is_no_change() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (_, bundle) = member(&owner, Role::Writer, "w", None);
    let writer = open_as(store, &hand.runtime(2, 0), &bundle).unwrap();
    let options = backup::Options { skip_if_unchanged: true, ..derived("host") };
    let long: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    for repository in [&owner, &writer] {
        for name in [&b"docs"[..], b"a/b/docs"] {
            assert!(stream(repository, &long, name, &options).unwrap().snapshot.is_some());
            for _ in 0..2 {
                assert!(stream(repository, &long, name, &options).unwrap().snapshot.is_none());
            }
            // shorter by the end alone: nothing of it is new
            assert!(stream(repository, &long[..4_000_000], name, &options).unwrap().snapshot.is_some());
        }
    }
    let nested = stream(&owner, b"other", b"a/b/docs", &options).unwrap();
    let catalog = list::snapshots(&owner).unwrap();
    let entry = catalog.snapshots.by_id(&nested.snapshot.unwrap().to_string()).unwrap();
    let mut out = Vec::new();
    let address = vault::repository::Address::new(&catalog, entry, b"a/b/docs");
    vault::restore::restore_to(&owner, &address, false, &mut out, &Silent).unwrap();
    assert_eq!(out, b"other");
    assert_eq!(restore_stream(&owner, nested.snapshot.unwrap()).unwrap_or_default().len() % 5, 0);
}

#[test]
fn a_snapshot_tells_its_rules_and_gaps() {
    let source = folder(|root| {
        for name in ["cache/CACHEDIR.TAG", "tagged/data", "a.TMP", "b.log", "keep"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "Signature: 8a477f597d28d172789f06886806bc55\n").unwrap();
        }
        drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
    });
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let rules = LeftOut {
        patterns: vec![source.path().join("b.log").as_os_str().as_encoded_bytes().to_vec(), b"./none".to_vec()],
        any_case: vec![b"*.tmp".to_vec()],
        caches: true,
        markers: vec!["data".into()],
        ..LeftOut::default()
    };
    let walk = source::Options { rules, ..source::Options::default() };
    let said = backup::Options { derived: false, ..derived("host") };
    let report = take_with(&repository, &[source.path().to_owned()], &walk, &said).unwrap();
    assert_eq!(report.head.statistics.files, 1);
    let body = body(&repository, &report);
    assert_eq!(body.left_out.patterns, [b"/b.log".to_vec(), b"/none".to_vec()]);
    assert_eq!((body.left_out.any_case, body.left_out.caches), (vec![b"*.tmp".to_vec()], true));
    let not_entered = [&b"cache"[..], b"socket", b"tagged"].map(<[u8]>::to_vec).to_vec();
    assert_eq!((body.gaps.unread, body.gaps.not_entered, body.gaps.more), (vec![], not_entered, false));
}

#[test]
fn a_list_names_what_is_gone_and_keeps_links() {
    let source = folder(|root| {
        fs::create_dir(root.join("sub")).unwrap();
        for name in ["sub/one", "two", "three.tmp", "unlisted"] {
            fs::write(root.join(name), name).unwrap();
        }
        symlink("nowhere", root.join("sub/link")).unwrap();
    });
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let paths: Vec<PathBuf> = ["sub/one", "two", "three.tmp", "sub/link", "gone", "two"]
        .iter()
        .map(|name| source.path().join(name))
        .collect();
    let rules = LeftOut { patterns: vec![b"*.tmp".to_vec()], ..LeftOut::default() };
    let walk = source::Options { listed: true, rules, ..source::Options::default() };
    let said = backup::Options { derived: false, ..derived("host") };
    let report = take_with(&repository, &paths, &walk, &said).unwrap();
    assert_eq!((report.head.statistics.files, report.head.statistics.others), (2, 1));
    assert!(report.failed.len() == 1 && report.failed[0].contains("/gone: "), "{:?}", report.failed);
    let body = body(&repository, &report);
    assert_eq!(
        (body.base.as_slice(), body.gaps.unread),
        (source.path().as_os_str().as_encoded_bytes(), vec![b"gone".to_vec()])
    );
    let none = take_with(&repository, &[Path::new("/nowhere/at/all").to_owned()], &walk, &said);
    assert!(none.unwrap_err().to_string().contains("/nowhere/at/all"));
    let cut = take_with(&repository, &[source.path().join("two\r")], &walk, &said).unwrap_err().to_string();
    assert!(cut.contains("two\\r") && cut.contains("CR LF"), "{cut}");
}

#[test]
fn a_list_that_no_snapshot_can_keep_is_refused_before_work() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let paths: Vec<PathBuf> = (0..40).map(|n| PathBuf::from(format!("/{n}/{}", "x".repeat(1 << 20)))).collect();
    let walk = source::Options { listed: true, ..source::Options::default() };
    refused(take_with(&repository, &paths, &walk, &derived("host")), &["40 paths", "32 MiB"]);
}

#[test]
fn a_snapshot_with_other_rules_is_another_one_though_its_tree_is_the_same() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (_, bundle) = member(&owner, Role::Writer, "w", None);
    let writer = open_as(store, &hand.runtime(2, 0), &bundle).unwrap();
    let plain = backup::Options { skip_if_unchanged: true, derived: false, ..derived("host") };
    let tagged = backup::Options { tags: vec!["release".into()], ..plain.clone() };
    let described = backup::Options { description: "before the move".into(), ..plain.clone() };
    let other_host = backup::Options { host: "other".into(), ..plain.clone() };
    let no_rule = source::Options::default();
    let with = |rules| source::Options { rules, ..source::Options::default() };
    let rule = with(LeftOut { patterns: vec![b"cache".to_vec()], ..LeftOut::default() });
    let caches = with(LeftOut { caches: true, ..LeftOut::default() });
    for repository in [&owner, &writer] {
        let source = folder(|root| fs::write(root.join("file"), "content").unwrap());
        let mode =
            |mode| fs::set_permissions(source.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        mode(0o755);
        let paths = [source.path().to_owned()];
        let steps =
            [(&no_rule, &plain), (&rule, &plain), (&caches, &plain), (&no_rule, &tagged), (&no_rule, &described)];
        for (at, (walk, options)) in steps.into_iter().enumerate() {
            let taken = || take_with(repository, &paths, walk, options).unwrap().snapshot.is_some();
            assert_eq!((taken(), taken()), (true, false), "step {at}");
        }
        mode(0o700);
        let taken = |options: &backup::Options| take(repository, &paths, options).unwrap();
        assert!(taken(&described).snapshot.is_some(), "the mode of the folder itself");
        let skipped = taken(&backup::Options { host: "other".into(), ..described.clone() });
        assert_eq!((skipped.snapshot, skipped.notes), (None, vec![]), "another host is no change, and no news");
        // a file for itself: what else lies in its folder is nothing of it
        let file = [source.path().join("file")];
        assert!(take(repository, &file, &other_host).unwrap().snapshot.is_some());
        fs::write(source.path().join("beside"), "").unwrap();
        assert!(take(repository, &file, &other_host).unwrap().snapshot.is_none());
    }
}

#[test]
fn size_and_mtime_tell_nothing_of_the_files_of_another_host() {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let source = folder(|_| ());
    let file = source.path().join("file");
    let write = |content: &str| {
        fs::write(&file, content).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_800);
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    };
    let unchanged = |host: &str| {
        let options = backup::Options { derived: false, ignore_inode: true, ignore_ctime: true, ..derived(host) };
        take(&repository, &[source.path().to_owned()], &options).unwrap().head.statistics.unchanged_files
    };
    write("AAAA");
    assert_eq!((unchanged("one"), unchanged("one")), (0, 1));
    write("BBBB");
    assert_eq!((unchanged("two"), unchanged("two")), (0, 1));
    write("AAAA");
    assert_eq!(unchanged("one"), 1, "its own last one is the base");
}
