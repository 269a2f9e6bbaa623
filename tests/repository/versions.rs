//! What comes again with a few changes is stored as the difference to what was there: it costs what changed, comes back
//! as it was whatever was forgotten and swept since, and needs few steps however many versions there are.

use crate::claims::claim_all;
use std::sync::Arc;
use std::time::Duration;
use testkit::recording::Recording;
use testkit::simulated::Simulated;
use testkit::world::{Hand, assert_clean, catalog_of_packs, init, member, noise, open, open_as, restore_stream, tick};
use testkit::world::{assert_restores, check, restore_folder, stored_bytes};
use vault::backend::{Operation, Store};
use vault::backup::{self, Source};
use vault::plan::Delta;
use vault::progress::Silent;
use vault::prune;
use vault::repair;
use vault::repository::Repository;
use vault::repository::lookup::FrameRecord;
use vault::repository::objects::orders;
use vault::source;
use vault_format::bundle::Role;
use vault_format::frame::{DEPTH_MAX, FrameCodec};
use vault_format::id::{BlobId, BlobKind, ObjectId};
use vault_format::name::Name;
use vault_format::order::Action;

/// Text of many lines, no two alike, of which a compressor makes a third.
pub fn dump(lines: usize) -> Vec<String> {
    let random = noise(5, 4 * lines);
    let word = |at: usize| random[at % random.len()];
    (0..lines)
        .map(|line| format!("{line}\tuser-{}\t{}-{}\t{}\n", word(line), word(2 * line), word(3 * line), word(4 * line)))
        .collect()
}

pub fn bytes(lines: &[String]) -> Vec<u8> {
    lines.concat().into_bytes()
}

/// An hour later: one line in five hundred is another one, one is new and one is gone.
pub fn work(lines: &mut Vec<String>, hour: usize) {
    for at in (hour * 7 % 500..lines.len()).step_by(500) {
        lines[at] = format!("{at}\tseen in hour {hour}\t{}\n", hour * at);
    }
    lines.insert(lines.len() / 3 * (hour % 3), format!("new in hour {hour}\n"));
    lines.remove(hour * 131 % lines.len());
}

pub fn take(repository: &Repository, name: &str, stream: &[u8], delta: Delta) -> (ObjectId, u64) {
    tick(repository);
    let (mut input, name) = (stream, name.to_owned());
    let options = backup::Options { name, delta, ..backup::Options::default() };
    let source = Source::Stream(&mut input, b"dump".to_vec());
    let report = backup::backup(repository, source, &options, &Silent).unwrap();
    (report.snapshot.unwrap(), report.head.statistics.stored_bytes)
}

pub fn world() -> (Hand, Simulated, Repository) {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    (hand, store, owner)
}

/// Frames that are deltas, the greatest depth, and kinds of blobs that have some.
fn deltas(repository: &Repository) -> (usize, u8, Vec<BlobKind>) {
    let lookup = catalog_of_packs(repository);
    let all: Vec<_> = lookup.frames().map(|(_, frame)| frame).filter(|f| f.codec == FrameCodec::Delta).collect();
    let mut kinds: Vec<BlobKind> = all.iter().map(|frame| frame.kind).collect();
    kinds.sort_by_key(|kind| *kind as u8);
    kinds.dedup();
    (all.len(), all.iter().map(|frame| frame.depth).max().unwrap_or(0), kinds)
}

#[test]
fn an_hour_costs_what_changed() {
    let (_, _, repository) = world();
    let mut lines = dump(300_000);
    let (first, whole) = take(&repository, "db", &bytes(&lines), Delta::Always);
    let mut taken = vec![(first, bytes(&lines))];
    for hour in 1..=4 {
        work(&mut lines, hour);
        let (id, stored) = take(&repository, "db", &bytes(&lines), Delta::Always);
        assert!(stored < whole / 10, "hour {hour}: {stored} of {whole}");
        taken.push((id, bytes(&lines)));
    }
    // where most of the list is as it was, its pages are deltas too
    lines[150_000] = "one line\n".into();
    let (id, stored) = take(&repository, "db", &bytes(&lines), Delta::Always);
    assert!(stored < whole / 50, "one line: {stored} of {whole}");
    taken.push((id, bytes(&lines)));
    let (count, depth, kinds) = deltas(&repository);
    assert!(count > 20 && depth > 1, "{count} deltas, depth {depth}");
    assert_eq!(kinds, [BlobKind::Chunk, BlobKind::List]);
    for (id, stream) in &taken {
        assert!(restore_stream(&repository, *id).unwrap() == *stream);
    }
    assert_clean(&repository, true, "after six versions");
    // without, each hour costs nearly all again: every chunk has changed
    let (_, plain) = take(&repository, "plain", &bytes(&dump(300_000)), Delta::Never);
    work(&mut lines, 5);
    let (_, never) = take(&repository, "db", &bytes(&lines), Delta::Never);
    assert!(plain < whole / 10 && never > whole / 2, "{plain}, {never} of {whole}");
}

/// All that the differences are decoded over is fetched with them, in few ranges, and hardly a byte twice.
#[test]
fn a_restore_fetches_each_base_once() {
    let (hand, store, repository) = world();
    let mut lines = dump(200_000);
    let mut last = take(&repository, "db", &bytes(&lines), Delta::Always).0;
    for hour in 1..=12 {
        work(&mut lines, hour);
        last = take(&repository, "db", &bytes(&lines), Delta::Always).0;
    }
    let recording = Recording::new(Arc::new(store.clone()));
    let far = open(recording.clone(), &hand.runtime(9, 0)).unwrap();
    recording.take();
    let target = tempfile::tempdir().unwrap();
    let report = restore_folder(&far, last, target.path()).unwrap();
    assert!(report.failed.is_empty() && std::fs::read(target.path().join("dump")).unwrap() == bytes(&lines));
    let mut read: Vec<_> = recording.take().into_iter().filter(|call| call.name.starts_with("packs/")).collect();
    read.retain(|call| call.operation == Operation::Get && call.range.is_some());
    let (count, all) = (read.len(), read.iter().map(|call| call.amount).sum::<u64>());
    // one pack for each run, and before the content the pages that tell of it
    let (stored, packs) = (stored_bytes(&store), store.list("packs/").unwrap().len());
    assert!(count < 5 * packs && all < stored * 11 / 10, "{count} requests for {all} of {stored} bytes, {packs} packs");
}

#[test]
fn many_versions_need_few_steps() {
    let (_, _, repository) = world();
    let mut lines = dump(4_000);
    let mut taken = Vec::new();
    for hour in 0..80 {
        work(&mut lines, hour);
        taken.push((take(&repository, "db", &bytes(&lines), Delta::Always).0, bytes(&lines)));
    }
    let (count, depth, _) = deltas(&repository);
    assert!(count > 60 && (2..=DEPTH_MAX).contains(&depth), "{count} deltas, depth {depth}");
    for (id, stream) in taken {
        assert!(restore_stream(&repository, id).unwrap() == stream);
    }
}

#[test]
fn a_file_with_another_number_is_the_next_version_and_so_is_one_in_such_a_folder() {
    dated(|day| format!("db-2026-11-{day}.sql"));
    dated(|day| format!("2026-11-{day}/all/db.sql"));
    dated(|day| format!("2026/11/{day}/db.sql"));
}

/// Only the same file is believed to be the same, however alike the two look.
#[test]
fn what_lies_in_the_next_folder_is_read_though_size_and_time_are_the_same() {
    let (_, _, repository) = world();
    let folder = tempfile::tempdir().unwrap();
    let options =
        backup::Options { name: "days".into(), ignore_inode: true, ignore_ctime: true, ..backup::Options::default() };
    for day in ["day-1", "day-2"] {
        std::fs::create_dir(folder.path().join(day)).unwrap();
        let path = folder.path().join(day).join("file");
        std::fs::write(&path, day).unwrap();
        std::fs::File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        tick(&repository);
        let source = Source::Paths(vec![folder.path().to_owned()], source::Options::default());
        let id = backup::backup(&repository, source, &options, &Silent).unwrap().snapshot.unwrap();
        assert_restores(&repository, id, folder.path(), day);
    }
}

/// Each dump has a name of its own, as this tells.
fn dated(name: fn(usize) -> String) {
    let (_, _, repository) = world();
    let mut lines = dump(30_000);
    let folder = tempfile::tempdir().unwrap();
    let write = |day: usize, lines: &[String]| {
        let path = folder.path().join(name(day));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes(lines)).unwrap();
    };
    write(28, &lines);
    let take = || {
        tick(&repository);
        let options = backup::Options { name: "dumps".into(), delta: Delta::Always, ..backup::Options::default() };
        let source = Source::Paths(vec![folder.path().to_owned()], source::Options::default());
        let report = backup::backup(&repository, source, &options, &Silent).unwrap();
        (report.snapshot.unwrap(), report.head.statistics.stored_bytes)
    };
    let (_, whole) = take();
    for day in 29..=30 {
        work(&mut lines, day);
        write(day, &lines);
        let (id, stored) = take();
        assert!(stored < whole / 5, "{}: {stored} of {whole}", name(day));
        assert_restores(&repository, id, folder.path(), "dated dumps");
    }
}

#[test]
fn far_from_the_store_what_the_machine_keeps_serves() {
    let (hand, store, _) = world();
    let cache = tempfile::tempdir().unwrap();
    let at_home = || {
        let repository = open(store.clone(), &hand.runtime(2, 0)).unwrap();
        repository.use_cache(cache.path()).unwrap();
        repository
    };
    let mut lines = dump(30_000);
    let (_, whole) = take(&at_home(), "db", &bytes(&lines), Delta::Auto);
    work(&mut lines, 1);
    let repository = at_home();
    let before = repository.backend().counts().bytes_read;
    let (id, stored) = take(&repository, "db", &bytes(&lines), Delta::Auto);
    let read = repository.backend().counts().bytes_read - before;
    assert!(stored < whole / 5 && read < whole / 5, "{stored}, {read} of {whole}");
    assert!(restore_stream(&repository, id).unwrap() == bytes(&lines));
    // in a container nothing stays
    let elsewhere = open(store.clone(), &hand.runtime(3, 0)).unwrap();
    work(&mut lines, 2);
    let (_, stored) = take(&elsewhere, "db", &bytes(&lines), Delta::Auto);
    assert!(stored > whole / 2, "{stored} of {whole}");
    work(&mut lines, 3);
    let (id, stored) = take(&elsewhere, "db", &bytes(&lines), Delta::Always);
    assert!(stored < whole / 5, "{stored} of {whole}");
    assert!(restore_stream(&elsewhere, id).unwrap() == bytes(&lines));
}

#[test]
fn a_key_that_reads_nothing_stores_all_of_it() {
    let (hand, store, owner) = world();
    let (_, bundle) = member(&owner, Role::Writer, "cron", None);
    let writer = open_as(store.clone(), &hand.runtime(2, 0), &bundle).unwrap();
    let mut lines = dump(20_000);
    for hour in 0..2 {
        work(&mut lines, hour);
        let (id, _) = take(&writer, "db", &bytes(&lines), Delta::Always);
        assert!(restore_stream(&owner, id).unwrap() == bytes(&lines));
    }
    assert_eq!(deltas(&owner).0, 0);
}

#[test]
fn a_flipped_byte_of_a_base_names_all_that_need_it() {
    let (hand, store, owner) = world();
    let mut lines = dump(4_000);
    let ids: Vec<ObjectId> = (0..3)
        .map(|hour| {
            work(&mut lines, hour);
            take(&owner, "db", &bytes(&lines), Delta::Always).0
        })
        .collect();
    let (repository, _) = flipped(&hand, &store, &owner, |frame| frame.kind == BlobKind::Chunk && frame.depth == 0);
    let report = check(&repository, true);
    let said = format!("{:?}", report.findings);
    for id in ids {
        assert!(said.contains(&format!("{}:/dump", id.short())), "{id} is not named: {said}");
        assert!(restore_stream(&repository, id).is_err());
    }
}

/// A copy of the store in which a byte of the first such frame is another, and the pack that holds it.
fn flipped(
    hand: &Hand,
    store: &Simulated,
    owner: &Repository,
    is_it: impl Fn(&FrameRecord) -> bool,
) -> (Repository, String) {
    let lookup = catalog_of_packs(owner);
    let (_, frame) = lookup.frames().find(|(_, frame)| is_it(frame)).unwrap();
    let pack = lookup.pack(frame.pack).unwrap();
    let name = Name::Pack(pack.class, pack.id).to_string();
    let copy = hand.store();
    for (object, mut stored) in store.objects() {
        if object == name {
            stored[frame.offset as usize + 9] ^= 1;
        }
        copy.put(&object, &stored).unwrap();
    }
    (open(copy, &hand.runtime(3, 0)).unwrap(), name)
}

/// A difference that does not open is damage of its own pack, whatever its bases hold.
#[test]
fn repair_names_the_pack_of_a_damaged_difference() {
    let (hand, store, owner) = world();
    let mut lines = dump(300_000);
    for version in 0..3 {
        lines[35_000 * (version + 1)] = format!("version {version}\n");
        take(&owner, "db", &bytes(&lines), Delta::Always);
    }
    for kind in [BlobKind::Chunk, BlobKind::List] {
        let is_difference = |frame: &FrameRecord| frame.kind == kind && frame.depth > 0;
        let (repository, pack) = flipped(&hand, &store, &owner, is_difference);
        let report = repair::repair(&repository, None, &repair::Options::default(), &Silent).unwrap();
        let said = report.damaged_packs.join("; ");
        assert!(said.contains(&pack) && report.lost_blobs > 0, "{kind:?}: {said:?} instead of {pack}");
    }
}

/// What snapshots that are gone leave behind are bases of pages as well as of chunks: all of them are replaced, and none
/// keeps prune from what else is to go.
#[test]
fn bases_of_pages_are_replaced_as_those_of_chunks() {
    let (hand, store, owner) = world();
    let mut lines = dump(300_000);
    let mut taken = Vec::new();
    for version in 0..8 {
        lines[35_000 * (version + 1)] = format!("version {version}\n");
        taken.push((take(&owner, "db", &bytes(&lines), Delta::Always).0, bytes(&lines)));
    }
    assert_eq!(deltas(&owner).2, [BlobKind::Chunk, BlobKind::List]);
    let kept = taken.split_off(7);
    let gone = taken.iter().map(|(id, _)| *id).collect();
    orders::put(&owner, owner.keys().domain(), Action::Forget(gone)).unwrap();
    let options =
        prune::Options { max_unused: prune::Unused::Bytes(0), without_snapshots: true, ..prune::Options::default() };
    let before = stored_bytes(&store);
    for _ in 0..2 {
        let report = prune::prune(&owner, &options, &Silent).unwrap();
        assert!(report.left_out.is_empty(), "{report:?}");
        hand.advance(Duration::from_hours(25));
    }
    assert!(stored_bytes(&store) < before);
    let repository = open(store.clone(), &hand.runtime(9, 0)).unwrap();
    let pages: Vec<BlobId> = {
        let lookup = catalog_of_packs(&repository);
        let pages = lookup.frames().map(|(_, frame)| frame).filter(|frame| frame.kind == BlobKind::List);
        pages.flat_map(|frame| frame.bases.to_vec()).collect()
    };
    assert!(pages.len() <= 1, "to replace one base alone frees nothing: {pages:?}");
    for (id, stream) in kept {
        assert!(restore_stream(&repository, id).unwrap() == stream);
    }
    assert_clean(&repository, true, "after the bases were replaced");
}

/// A thief says that it holds all bases, and holds noise: whoever reads what rests on them finds the right ones.
#[test]
fn a_base_that_is_a_lie_is_sought_elsewhere() {
    let (hand, store, owner) = world();
    let (_, client) = member(&owner, Role::Client, "client", Some("shared"));
    let (_, thief) = member(&owner, Role::Client, "thief", Some("shared"));
    let client = open_as(store.clone(), &hand.runtime(2, 0), &client).unwrap();
    let mut lines = dump(20_000);
    let mut taken = Vec::new();
    for hour in 0..4 {
        work(&mut lines, hour);
        taken.push((take(&client, "db", &bytes(&lines), Delta::Always).0, bytes(&lines)));
        for seed in 0..4 {
            claim_all(&store, &owner, &thief, (8 * u8::try_from(hour).unwrap() + seed, None));
        }
    }
    assert!(deltas(&owner).0 > 0);
    for (id, stream) in &taken {
        assert!(restore_stream(&owner, *id).unwrap() == *stream && restore_stream(&client, *id).unwrap() == *stream);
        let folder = tempfile::tempdir().unwrap();
        drop(restore_folder(&owner, *id, &folder.path().join("out")).unwrap());
        assert!(std::fs::read(folder.path().join("out/dump")).unwrap() == *stream);
    }
    // and so does who stores the next version
    work(&mut lines, 4);
    let (id, stored) = take(&client, "db", &bytes(&lines), Delta::Always);
    assert!(restore_stream(&owner, id).unwrap() == bytes(&lines));
    assert!(stored < bytes(&lines).len() as u64 / 20, "{stored} of a difference");
}
