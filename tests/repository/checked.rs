//! What a check reads, what it leaves out because it was verified lately, and how far each role sees.

use crate::small::{Small, add_member, open_as};
use std::collections::BTreeSet;
use std::time::Duration;
use testkit::simulated::Simulated;
use testkit::world::{Hand, check, init, noise, open, records, restore_stream, snapshot_stream};
use vault::check::{Options, Read, Report};
use vault::progress::Silent;
use vault::repository::Repository;
use vault_format::bundle::Role;
use vault_format::id::{Class, ObjectId};
use vault_format::name::Name;

const DAY: Duration = Duration::from_hours(24);

fn read(repository: &Repository, read: Read, max_age: Option<Duration>) -> Report {
    let report = vault::check::check(repository, &Options { read, max_age, ..Options::default() }, &Silent).unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    report
}

/// The packs of the newest record that says that some were verified.
fn last_verified(repository: &Repository) -> BTreeSet<ObjectId> {
    records(repository).into_iter().rfind(|record| !record.verified.is_empty()).unwrap().verified.into_iter().collect()
}

fn packs(store: &Simulated) -> BTreeSet<ObjectId> {
    let packs = store.objects().into_keys().filter_map(|name| match Name::parse(&name) {
        Some(Name::Pack(_, id)) => Some(id),
        _ => None,
    });
    packs.collect()
}

/// A repository with `count` data packs and as many of metadata.
fn world(count: u64) -> (Hand, Simulated, Repository) {
    let hand = Hand::new();
    let store = hand.store();
    let repository = init(store.clone(), &hand.runtime(1, 0));
    for seed in 0..count {
        snapshot_stream(&repository, &noise(seed, 2_000)).unwrap();
    }
    hand.advance(DAY);
    (hand, store, repository)
}

#[test]
fn all_parts_together_are_everything() {
    let (hand, store, repository) = world(6);
    let mut all = BTreeSet::new();
    for number in 1..=5 {
        hand.advance(DAY);
        let report = read(&repository, Read::Part { number, of: 5 }, None);
        if report.verified_packs > 0 {
            let part = last_verified(&repository);
            assert_eq!(part.len() as u64, report.verified_packs);
            assert!(all.is_disjoint(&part));
            all.extend(part);
        }
    }
    assert_eq!(all, packs(&store));
}

#[test]
fn shares_take_what_was_verified_longest_ago() {
    let (hand, store, repository) = world(6);
    for share in [Read::Percent(20.0), Read::Bytes(8_000)] {
        let mut seen = BTreeSet::new();
        let mut runs = 0;
        while seen.len() < packs(&store).len() {
            hand.advance(DAY);
            let report = read(&repository, share, None);
            assert!((1..=5).contains(&report.verified_packs), "{report:?}");
            let part = last_verified(&repository);
            // nothing twice before everything once
            assert!(part.is_disjoint(&seen) || seen.union(&part).count() == packs(&store).len(), "{share:?}");
            seen.extend(part);
            runs += 1;
            assert!(runs <= 8, "{share:?}: {seen:?}");
        }
        assert!(runs >= 3, "{share:?}");
        drop(read(&repository, Read::All, None));
    }
}

#[test]
fn what_was_verified_lately_is_left_out() {
    let (hand, store, repository) = world(3);
    let all = packs(&store).len() as u64;
    let report = read(&repository, Read::All, Some(7 * DAY));
    assert_eq!((report.verified_packs, report.skipped_packs), (all, 0));
    hand.advance(6 * DAY);
    let report = read(&repository, Read::All, Some(7 * DAY));
    assert_eq!((report.verified_packs, report.skipped_packs, report.read_bytes), (0, all, 0));
    assert_eq!(read(&repository, Read::All, None).verified_packs, all);
    hand.advance(8 * DAY);
    assert_eq!(read(&repository, Read::All, Some(7 * DAY)).verified_packs, all);
}

#[test]
fn a_restore_counts_as_a_look() {
    let (hand, _, repository) = world(0);
    let first = snapshot_stream(&repository, &noise(1, 3_000)).unwrap().snapshot.unwrap();
    snapshot_stream(&repository, &noise(2, 3_000)).unwrap();
    hand.advance(DAY);
    restore_stream(&repository, first).unwrap();
    hand.advance(DAY);
    let report = read(&repository, Read::All, Some(7 * DAY));
    // data and trees of the first, not those of the second
    assert_eq!((report.verified_packs, report.skipped_packs), (2, 2));
}

#[test]
fn only_the_owner_and_the_own_key_are_believed() {
    let small = Small::new();
    let client = open_as(small.store.clone(), &small.hand, 3, small.client.clone()).unwrap();
    small.hand.advance(DAY);
    let own = read(&client, Read::All, Some(7 * DAY));
    assert_eq!((own.snapshots, own.verified_packs, own.skipped_packs), (1, 2, 0));
    assert_eq!(read(&client, Read::All, Some(7 * DAY)).skipped_packs, 2);
    // a stolen key could say anything
    let owner = small.open(small.store.clone(), 4).unwrap();
    let all = read(&owner, Read::All, Some(7 * DAY));
    assert_eq!((all.snapshots, all.verified_packs, all.skipped_packs), (3, packs(&small.store).len() as u64, 0));
}

#[test]
fn a_time_to_come_says_nothing() {
    let (hand, _, repository) = world(1);
    hand.advance(30 * DAY);
    drop(read(&repository, Read::All, None));
    hand.0.fetch_sub(i64::try_from((20 * DAY).as_nanos()).unwrap(), std::sync::atomic::Ordering::SeqCst);
    assert_eq!(read(&repository, Read::All, Some(7 * DAY)).skipped_packs, 0);
}

#[test]
fn a_writer_sees_names_and_structure_of_its_domain() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    snapshot_stream(&owner, &noise(1, 1_000)).unwrap();
    let of_owner = packs(&store);
    let writer = add_member(&store, &owner, Role::Writer);
    let repository = open_as(store.clone(), &hand, 2, writer.clone()).unwrap();
    snapshot_stream(&repository, &noise(2, 1_000)).unwrap();
    let report = read(&repository, Read::All, None);
    assert_eq!((report.snapshots, report.verified_packs), (1, 2));
    assert!(report.notes.iter().any(|note| note.contains("opens no content")), "{:?}", report.notes);
    for id in packs(&store) {
        let copy = store.snapshot(1);
        let names = [Class::Data, Class::Metadata].map(|class| Name::Pack(class, id).to_string());
        assert!(names.iter().any(|name| copy.damage(name, |bytes| bytes[100] ^= 1)));
        let findings = check(&open_as(copy.clone(), &hand, 3, writer.clone()).unwrap(), true).findings;
        assert_eq!(findings.is_empty(), of_owner.contains(&id), "{findings:#?}");
        // the owner sees both
        let findings = check(&open(copy, &hand.runtime(4, 0)).unwrap(), true).findings;
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert!(names.contains(&findings[0].object), "{findings:#?}");
    }
}

#[test]
fn a_scrub_needs_no_key() {
    let small = Small::new();
    let runtime = small.hand.runtime(1, 2);
    let scrub = |store: Simulated| {
        let backend = testkit::world::backend(store, &runtime);
        vault::check::scrub(&backend, &runtime, &Silent).unwrap()
    };
    let whole = scrub(small.store.clone());
    assert!(whole.findings.is_empty() && whole.notes.is_empty(), "{whole:?}");
    assert_eq!(whole.objects, small.store.objects().len() as u64);
    for (name, bytes) in small.store.objects() {
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let copy = small.store.snapshot(1);
            copy.damage(&name, |bytes| bytes[at] ^= 1);
            let findings = scrub(copy).findings;
            assert_eq!(findings.iter().map(|finding| &finding.object).collect::<Vec<_>>(), [&name], "byte {at}");
        }
        for length in [0, bytes.len() - 1] {
            let copy = small.store.snapshot(1);
            copy.damage(&name, |bytes| bytes.truncate(length));
            assert_eq!(scrub(copy).findings.len(), 1, "{name} cut to {length}");
        }
    }
    let findings = scrub(small.without(&Name::ConfigCopy)).findings;
    assert_eq!(findings.iter().map(|finding| finding.object.as_str()).collect::<Vec<_>>(), ["config.copy"]);
}

/// Prune deletes what a check has listed: that is no damage.
#[test]
fn what_is_swept_meanwhile_is_no_damage() {
    let (hand, store, repository) = world(0);
    let old = snapshot_stream(&repository, &noise(1, 3_000)).unwrap().snapshot.unwrap();
    snapshot_stream(&repository, &noise(2, 3_000)).unwrap();
    drop(repository);
    let owner = open(store.clone(), &hand.runtime(5, 0)).unwrap();
    let forget = vault_format::order::Action::Forget(vec![old]);
    vault::repository::objects::orders::put(&owner, owner.keys().domain(), forget).unwrap();
    vault::prune::mark(&owner, &vault::prune::Options::default()).unwrap();
    hand.advance(2 * DAY);
    let lists = ["packs/", "index/", "marks/", "snapshots/"].map(|prefix| ("list", prefix));
    let gets = ["packs/d", "index/", "snapshots/"].map(|prefix| ("get", prefix));
    for (what, prefix) in lists.into_iter().chain(gets) {
        let copy = store.snapshot(1);
        let swept = std::sync::atomic::AtomicBool::new(false);
        let (inner, runtime) = (copy.clone(), hand.runtime(6, 0));
        let hooked = testkit::hooked::Hooked::new(copy, move |_, operation, name| {
            let here = operation == what && name.starts_with(prefix);
            if here && !swept.swap(true, std::sync::atomic::Ordering::SeqCst) {
                let owner = open(inner.clone(), &runtime).unwrap();
                assert!(vault::prune::sweep(&owner, &vault::prune::Options::default()).unwrap().packs > 0);
            }
        });
        let repository = open(hooked, &hand.runtime(7, 0)).unwrap();
        let findings = check(&repository, true).findings;
        assert!(findings.is_empty(), "sweep before {what} {prefix}: {findings:#?}");
    }
}
