//! Prune merges journal records by month: few objects hold what thousands did, each record tells the same as before, and
//! whoever looks meanwhile sees every one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use testkit::faulty::{self, Fault, Faulty, Mode};
use testkit::hooked::Hooked;
use testkit::simulated::Simulated;
use testkit::world::{Hand, assert_clean, init, member, noise, open, open_as, records, snapshot_stream};
use vault::backend::Store;
use vault::journal::{self, chain};
use vault::keys;
use vault::progress::Silent;
use vault::prune::{self, Options};
use vault::repository::Repository;
use vault::repository::objects::orders;
use vault_format::bundle::{Bundle, Role};
use vault_format::id::ObjectId;
use vault_format::month::Month;
use vault_format::name::Name;
use vault_format::order::Action;

const DAY: Duration = Duration::from_hours(25);

/// A client with a memory that has run eight times in each of three months, and the owner.
struct World {
    hand: Hand,
    store: Simulated,
    client: Bundle,
    slot: ObjectId,
    cache: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let (slot, client) = member(&owner, Role::Client, "laptop", None);
        let world = Self { hand, store, client, slot, cache: tempfile::tempdir().unwrap() };
        for month in 0..3 {
            (0..8).for_each(|run| world.run(8 * month + run));
            world.hand.advance(Duration::from_hours(31 * 24));
        }
        world
    }

    fn client(&self, seed: u64) -> Repository {
        let client = open_as(self.store.clone(), &self.hand.runtime(100 + seed, 0), &self.client).unwrap();
        client.use_cache(self.cache.path()).unwrap();
        client
    }

    fn run(&self, number: u64) {
        snapshot_stream(&self.client(number), &noise(number, 500)).unwrap();
    }

    fn owner(&self) -> Repository {
        open(self.store.clone(), &self.hand.runtime(9, 0)).unwrap()
    }

    fn prune(&self) -> (u64, u64) {
        let report = prune::prune(&self.owner(), &Options::default(), &Silent).unwrap();
        self.hand.advance(DAY);
        (report.merged_records, report.deleted_records)
    }

    /// All names below `journal/`: single records, and months.
    fn names(&self) -> (Vec<Name>, Vec<Name>) {
        names(&self.store)
    }
}

fn names(store: &Simulated) -> (Vec<Name>, Vec<Name>) {
    let all = store
        .objects()
        .into_keys()
        .filter_map(|name| Name::parse(&name))
        .filter(|name| matches!(name, Name::Journal(..) | Name::Month(..)));
    all.partition(|name| matches!(name, Name::Journal(..)))
}

/// The ids of all records that a reader tells of, each as often as it does.
fn told(repository: &Repository) -> Vec<ObjectId> {
    journal::read(repository).unwrap().entries.into_iter().map(|entry| entry.id).collect()
}

#[test]
fn months_that_are_over_become_few_objects_that_tell_the_same() {
    let world = World::new();
    let before: BTreeSet<ObjectId> = told(&world.owner()).into_iter().collect();
    let (single, none) = world.names();
    assert!(single.len() >= 24 && none.is_empty());
    let (merged, deleted) = world.prune();
    assert!(merged >= 24 && deleted == 0, "{merged} merged, {deleted} deleted");
    // while both lie there, each record is told once
    let both = told(&world.owner());
    assert_eq!(both.len(), both.iter().collect::<BTreeSet<_>>().len());
    assert!(before.iter().all(|id| both.contains(id)));
    assert!(world.prune().1 >= 24);
    let (single, months) = world.names();
    assert!(single.len() < 20 && months.len() <= 8, "{single:?} {months:?}");
    let after = told(&world.owner());
    assert!(before.iter().all(|id| after.contains(id)));
    let chain = chain::verify(&world.owner(), before.first().copied()).unwrap();
    assert!(chain.is_whole(), "{chain:?}");
    // the machine that remembers what it put last finds it too, and goes on
    assert!(chain::verify(&world.client(50), None).unwrap().is_whole());
    world.run(51);
    assert!(chain::verify(&world.client(52), None).unwrap().is_whole());
    assert_clean(&world.owner(), true, "merged");
    // a third look finds little to do, and a fourth nothing of old months
    world.prune();
    let before = world.names().1;
    world.prune();
    assert!(before.iter().filter(|name| !world.names().1.contains(name)).count() <= 2, "months are not written again");
}

#[test]
fn of_a_removed_key_the_records_stay_what_they_were() {
    let world = World::new();
    keys::remove(&world.owner(), world.slot, &Silent).unwrap();
    let revoked = chain::verify(&world.owner(), None).unwrap().revoked;
    assert!(revoked >= 24);
    world.prune();
    world.prune();
    let chain = chain::verify(&world.owner(), None).unwrap();
    assert!(chain.is_whole() && chain.revoked == revoked, "{chain:?}");
}

/// A record that vanishes between its listing and its reading lies in a month.
#[test]
fn a_reader_finds_what_moves_under_its_eyes() {
    let world = World::new();
    let owner = world.owner();
    let before: BTreeSet<ObjectId> = told(&owner).into_iter().collect();
    let gets = AtomicU64::new(0);
    let hooked = Hooked::new(world.store.clone(), move |_, what, name| {
        if what == "get" && name.starts_with("journal/") && gets.fetch_add(1, Ordering::SeqCst) == 5 {
            let at_once = Options { grace: Some(Duration::ZERO), ..Options::default() };
            assert!(prune::prune(&owner, &at_once, &Silent).unwrap().deleted_records >= 24);
        }
    });
    let reader = open(hooked, &world.hand.runtime(20, 0)).unwrap();
    let read = journal::read(&reader).unwrap();
    let ids: BTreeSet<ObjectId> = read.entries.iter().map(|entry| entry.id).collect();
    assert!(before.iter().all(|id| ids.contains(id)) && read.damaged.is_empty(), "{:?}", read.damaged);
}

#[test]
fn a_prune_that_dies_at_any_write_loses_no_record() {
    let world = World::new();
    let before: BTreeSet<ObjectId> = told(&world.owner()).into_iter().collect();
    let at_once = Options { grace: Some(Duration::ZERO), ..Options::default() };
    let try_at = |fault: Option<Fault>| {
        let store = world.store.snapshot(3);
        let faulty = Faulty::new(Arc::new(store.clone()));
        let owner = open(faulty.clone(), &world.hand.runtime(5, 0)).unwrap();
        fault.into_iter().for_each(|fault| faulty.plan(fault));
        let done = prune::prune(&owner, &at_once, &Silent).is_ok();
        assert!(done || fault.is_some());
        (store, faulty.mutations())
    };
    let (_, writes) = try_at(None);
    let (hand, modes) = (&world.hand, [Mode::NotApplied, Mode::AppliedUnacknowledged, Mode::TornFraction(0.6)]);
    for (operation_number, mode) in faulty::sample(writes, 7).zip(modes.into_iter().cycle()) {
        let (store, _) = try_at(Some(Fault { operation_number, mode, then_dead: true }));
        let owner = open(store.clone(), &hand.runtime(1000 + operation_number, 0)).unwrap();
        let after: BTreeSet<ObjectId> = told(&owner).into_iter().collect();
        assert!(before.iter().all(|id| after.contains(id)), "write {operation_number}");
        // who deletes stops at what is torn, until the owner has it passed over
        let torn: Vec<ObjectId> = store.torn().iter().filter_map(|name| Name::parse(name)?.id()).collect();
        if !torn.is_empty() {
            orders::put(&owner, owner.keys().domain(), Action::Quarantine(torn)).unwrap();
        }
        prune::prune(&owner, &at_once, &Silent).unwrap();
        let after: BTreeSet<ObjectId> = told(&owner).into_iter().collect();
        assert!(before.iter().all(|id| after.contains(id)), "write {operation_number}, and another prune");
    }
}

/// Only the owner merges: what a member signs as a month hides nothing, and nothing is deleted by it.
#[test]
fn a_month_that_the_owner_did_not_sign_is_none() {
    let world = World::new();
    let client = world.client(60);
    let (single, _) = world.names();
    let Name::Journal(domain, year, month, _) =
        *single.iter().find(|name| name.domain() == Some(client.keys().domain())).unwrap()
    else {
        panic!("a record")
    };
    let of_month = single
        .iter()
        .filter(|name| matches!(name, Name::Journal(of, y, m, _) if (*of, *y, *m) == (domain, year, month)));
    let stored: Vec<Vec<u8>> = of_month.map(|name| world.store.objects()[&name.to_string()].clone()).collect();
    let forged = Month::of(stored).seal((client.id(), domain), client.keys().signer(), &[7; 32]).unwrap();
    world.store.put(&Name::Month(domain, year, month, ObjectId::of(&forged)).to_string(), &forged).unwrap();
    let before = told(&world.owner());
    world.hand.advance(DAY);
    let (_, deleted) = world.prune();
    assert_eq!(deleted, 0, "nothing is held by what a member says");
    let after = told(&world.owner());
    assert!(before.iter().all(|id| after.contains(id)));
}

#[test]
fn a_month_that_rots_is_damage_and_what_it_held_is_missed() {
    let world = World::new();
    world.prune();
    world.prune();
    let (_, months) = world.names();
    let client = world.client(70).keys().domain();
    let name = months.iter().find(|name| name.domain() == Some(client)).unwrap().to_string();
    assert!(world.store.damage(&name, |bytes| bytes[300] ^= 1));
    let chain = chain::verify(&world.owner(), None).unwrap();
    assert!(!chain.is_whole(), "{chain:?}");
    assert!(chain.writers.iter().any(|writer| !writer.altered.is_empty()), "{chain:?}");
    // and it stops nobody
    world.prune();
    assert!(records(&world.owner()).len() > 10);
}
