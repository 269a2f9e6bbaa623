//! Every run leaves a pack or two, however little it stores. Prune merges them: what is there for years stays few, and
//! the same bytes are not written again each week.

use crate::claims::{World, claim_all};
use std::time::Duration;
use testkit::simulated::Simulated;
use testkit::world::{Hand, assert_clean, init, member, noise, open_as, restore_stream, snapshot_stream, stored_bytes};
use vault::progress::Silent;
use vault::prune::{self, Options};
use vault::repository::Repository;
use vault_format::bundle::Role;
use vault_format::id::ObjectId;

const DAY: Duration = Duration::from_hours(25);

fn count(store: &Simulated, prefix: &str) -> usize {
    store.objects().keys().filter(|name| name.starts_with(prefix)).count()
}

/// What each run of prune wrote again: packs that were merged, and bytes.
fn prune_often(repository: &Repository, hand: &Hand, times: u32) -> Vec<(u64, u64)> {
    let prune = |_| {
        let report = prune::prune(repository, &Options::default(), &Silent).unwrap();
        assert!(report.left_out.is_empty() && report.swept.rescued_blobs == 0, "{report:?}");
        hand.advance(DAY);
        (report.marked.figures.merged_packs, report.marked.figures.written_bytes)
    };
    (0..times).map(prune).collect()
}

fn streams(from: u64, to: u64) -> Vec<Vec<u8>> {
    (from..to).map(|seed| noise(seed, 3_000)).collect()
}

fn take(repository: &Repository, streams: &[Vec<u8>]) -> Vec<ObjectId> {
    streams.iter().map(|stream| snapshot_stream(repository, stream).unwrap().snapshot.unwrap()).collect()
}

#[test]
fn many_small_packs_become_few_and_stay_so() {
    for (role, runs) in [(None, 20), (Some(Role::Client), 70), (Some(Role::Writer), 20)] {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let writer = role.map(|role| {
            let (_, bundle) = member(&owner, role, "member", None);
            open_as(store.clone(), &hand.runtime(2, 0), &bundle).unwrap()
        });
        let writer = writer.as_ref().unwrap_or(&owner);
        let streams = streams(0, runs);
        let ids = take(writer, &streams);
        hand.advance(DAY);
        assert_eq!(count(&store, "packs/") as u64, 2 * runs);
        let before = stored_bytes(&store);
        let written = prune_often(&owner, &hand, 3);
        assert_eq!((written[0].0, &written[1..]), (2 * runs, &[(0, 0), (0, 0)][..]), "{role:?}");
        assert!(count(&store, "packs/") <= 2 && count(&store, "index/") <= 2, "{role:?}: {:?}", store.objects().keys());
        assert!(stored_bytes(&store) < before, "{role:?}");
        assert_clean(&owner, true, "merged");
        let reader = if role == Some(Role::Writer) { &owner } else { writer };
        for (id, stream) in ids.iter().zip(&streams) {
            assert!(restore_stream(reader, *id).unwrap() == *stream, "{role:?}");
        }
        // what was merged is relied on as before
        let again = snapshot_stream(writer, &streams[7]).unwrap();
        assert!(again.head.statistics.added_bytes < 1000, "{role:?}");
    }
}

/// A prune after every eight runs: each byte is written again a few times in all, and what is there grows hardly.
#[test]
fn the_same_bytes_are_not_written_again_each_time() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (mut written, mut most) = (0, 0);
    let mut ids = Vec::new();
    for week in 0..16 {
        ids.extend(take(&owner, &streams(8 * week, 8 * week + 8)));
        written += prune_often(&owner, &hand, 1)[0].1;
        most = most.max(count(&store, "packs/"));
    }
    prune_often(&owner, &hand, 2);
    // 128 runs, of about 3 KiB of data and 2 KiB beside it each
    assert!(written < 5 * 128 * 6_000, "{written}");
    assert!(most <= 60, "{most} packs");
    for (id, stream) in ids.iter().zip(&streams(0, 128)) {
        assert!(restore_stream(&owner, *id).unwrap() == *stream);
    }
    assert_clean(&owner, true, "merged");
}

#[test]
fn no_more_is_merged_than_may_be_repacked_and_nothing_for_a_few() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    take(&owner, &streams(0, 7));
    hand.advance(DAY);
    assert_eq!(prune_often(&owner, &hand, 1)[0].0, 0, "seven of each class are few");
    take(&owner, &streams(7, 40));
    hand.advance(DAY);
    let look = |max_repack| {
        let options = Options { dry_run: true, max_repack, ..Options::default() };
        let figures = prune::prune(&owner, &options, &Silent).unwrap().marked.figures;
        (figures.merged_packs, figures.repacked_bytes)
    };
    let (all, bytes) = look(None);
    assert_eq!(all, 80);
    let (some, budget) = look(Some(bytes / 2));
    assert!(some > 20 && some < 70 && budget <= bytes / 2, "{some} packs, {budget} of {bytes} bytes");
    assert_eq!(look(Some(10_000)), (0, 0), "that is worth nothing");
}

/// A member says that its packs hold what they do not. In the owner's name everybody would rely on it.
#[test]
fn what_a_member_says_of_its_packs_becomes_nobodys_truth() {
    let world = World::new(Role::Client);
    let streams = streams(0, 12);
    take(&world.honest, &streams);
    let is_data = |name: &String| name.starts_with("packs/d/");
    let lost: Vec<String> = world.store.objects().into_keys().filter(is_data).collect();
    let (_, liar) = member(&world.owner, Role::Client, "liar", Some("shared"));
    world.hand.advance(DAY);
    claim_all(&world.store, &world.owner, &liar, (1, None));
    assert!(lost.len() == 12 && lost.iter().all(|name| world.store.remove(name)));
    world.hand.advance(DAY);
    let merged = prune_often(&world.owner, &world.hand, 2);
    assert!(merged[0].0 > 0, "the pages are as they should be: {merged:?}");
    let (_, honest) = member(&world.owner, Role::Client, "another", Some("shared"));
    let honest = open_as(world.store.clone(), &world.hand.runtime(10, 0), &honest).unwrap();
    for stream in &streams {
        let id = snapshot_stream(&honest, stream).unwrap().snapshot.unwrap();
        assert!(restore_stream(&honest, id).unwrap() == *stream);
    }
}
