//! Whether the journal is whole: what somebody takes out, changes, moves or makes up is named, with the writer that it
//! concerns; machines that write at once, and those without memory, do no wrong.

use std::sync::Arc;
use std::time::Duration;
use testkit::faulty::{Failure, Faulty, ListFault};
use testkit::simulated::Simulated;
use testkit::world::{Hand, init, member, noise, open, open_as, snapshot_stream};
use vault::backend::{ErrorKind, Operation, Store};
use vault::journal::chain::{self, Chain, Writer};
use vault::progress::Silent;
use vault::repository::objects::trust::Trust;
use vault::repository::{Repository, objects};
use vault::{journal, keys, prune};
use vault_format::bundle::{Bundle, Role};
use vault_format::header::Header;
use vault_format::id::{ObjectId, WriterId};
use vault_format::journal::{Record, RunOutcome};
use vault_format::name::{JOURNAL, Name};

/// A repository in which a machine that remembers has run several times.
struct World {
    hand: Hand,
    store: Simulated,
    client: Bundle,
    slot: ObjectId,
    cache: tempfile::TempDir,
    runs: u64,
}

impl World {
    fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let (slot, client) = member(&owner, Role::Client, "laptop", None);
        let mut world = Self { hand, store, client, slot, cache: tempfile::tempdir().unwrap(), runs: 0 };
        (0..4).for_each(|_| world.run(true));
        world
    }

    /// The client in a process of its own.
    fn client(&mut self, remembers: bool) -> Repository {
        self.runs += 1;
        self.hand.advance(Duration::from_secs(60));
        let client = open_as(self.store.clone(), &self.hand.runtime(100 + self.runs, 0), &self.client).unwrap();
        if remembers {
            client.use_cache(self.cache.path()).unwrap();
        }
        client
    }

    fn run(&mut self, remembers: bool) {
        let client = self.client(remembers);
        snapshot_stream(&client, &noise(self.runs, 1000)).unwrap();
    }

    fn owner(&self) -> Repository {
        open(self.store.clone(), &self.hand.runtime(9, 0)).unwrap()
    }

    /// What the owner finds, on a machine that has seen nothing.
    fn verify(&self) -> Chain {
        chain::verify(&self.owner(), None).unwrap()
    }

    /// The client's records, oldest first.
    fn records(&self) -> Vec<Name> {
        let owner = self.owner();
        let trust = Trust::load(&owner).unwrap();
        let listed = owner.backend().list(JOURNAL).unwrap().into_iter();
        let listed = listed.filter_map(|entry| Some((Name::parse(&entry.name)?, entry))).collect();
        let writer = self.writer();
        let mut all = Vec::new();
        let mut note = |name: &Name, header: &Header, record: Record| {
            if header.writer == writer {
                all.push((record.started, record.duration, record.outcome != RunOutcome::Begun, name.clone()));
            }
        };
        objects::journal::visit(&owner, &trust, listed, &mut note).unwrap();
        all.sort();
        all.into_iter().map(|(.., name)| name).collect()
    }

    /// Whom the client signs as.
    fn writer(&self) -> WriterId {
        let client = open_as(self.store.clone(), &self.hand.runtime(8, 0), &self.client).unwrap();
        client.keys().writer()
    }

    /// One of its records that others follow, and how it is called in a report.
    fn old(&self) -> (String, ObjectId) {
        let name = self.records()[2].clone();
        (name.to_string(), name.id().unwrap())
    }

    /// What is found of the client; the others must be whole.
    fn of_client(&self, chain: &Chain) -> Writer {
        let writer = self.writer();
        let (own, others): (Vec<_>, Vec<_>) = chain.writers.iter().cloned().partition(|one| one.id == writer);
        for one in others {
            assert!(one.missing.is_empty() && one.altered.is_empty() && one.unknown_signer.is_empty(), "{one:?}");
        }
        own.into_iter().next().unwrap_or_default()
    }
}

#[test]
fn a_journal_that_nobody_touched_is_whole() {
    let world = World::new();
    let chain = world.verify();
    let own = world.of_client(&chain);
    let all = world.records();
    assert!(chain.is_whole() && chain.lost_head.is_none(), "{chain:?}");
    assert_eq!((own.head, own.concurrent), (all.last().unwrap().id(), 0));
    assert!(own.first < own.last, "{own:?}");
    assert!(chain.records > all.len() as u64, "the owner's key change is a record too");
    assert_eq!(chain.revoked, 0);
    // the client sees its own domain, and that is whole as well
    let client = open_as(world.store.clone(), &world.hand.runtime(7, 0), &world.client).unwrap();
    let chain = chain::verify(&client, None).unwrap();
    assert!(chain.is_whole() && chain.records == all.len() as u64, "{chain:?}");
}

#[test]
fn a_record_that_was_taken_out_is_missed() {
    let world = World::new();
    let (name, id) = world.old();
    assert!(world.store.remove(&name));
    let chain = world.verify();
    let own = world.of_client(&chain);
    assert!(!chain.is_whole() && own.missing == [id].into(), "{own:?}");
    assert!(own.altered.is_empty() && own.unknown_signer.is_empty(), "{own:?}");
}

#[test]
fn the_last_record_is_missed_by_its_machine_and_by_who_kept_its_id() {
    let mut world = World::new();
    let last = world.records().last().unwrap().clone();
    let id = last.id().unwrap();
    assert_eq!(chain::verify(&world.owner(), Some(id)).unwrap().lost_head, None);
    assert!(world.store.remove(&last.to_string()));
    assert!(world.verify().is_whole(), "nobody else names it");
    let kept = chain::verify(&world.owner(), Some(id)).unwrap();
    assert!(!kept.is_whole() && kept.lost_head == Some(id), "{kept:?}");
    let own = chain::verify(&world.client(true), None).unwrap();
    assert_eq!(world.of_client(&own).missing, [id].into(), "{own:?}");
}

#[test]
fn a_record_that_was_changed_is_named() {
    let world = World::new();
    let (name, id) = world.old();
    assert!(world.store.damage(&name, |bytes| bytes[200] ^= 1));
    let chain = world.verify();
    let own = world.of_client(&chain);
    assert!(!chain.is_whole());
    assert_eq!((own.altered, own.missing), ([id.to_string()].into(), [].into()));
}

#[test]
fn records_in_another_order_are_named() {
    let world = World::new();
    let all = world.records();
    let [first, second] = [&all[1], &all[2]].map(|name| (name.to_string(), name.id().unwrap()));
    // two that trade their places are not what their names say
    let objects = world.store.objects();
    assert!(world.store.damage(&first.0, |bytes| *bytes = objects[&second.0].clone()));
    assert!(world.store.damage(&second.0, |bytes| *bytes = objects[&first.0].clone()));
    let chain = world.verify();
    assert_eq!(world.of_client(&chain).altered, [first.1.to_string(), second.1.to_string()].into());
    // one that is sound lies under another month, where it stands for another run, be it beside the true one
    for is_beside in [true, false] {
        let world = World::new();
        let name = world.records()[1].clone();
        let Name::Journal(domain, year, month, id) = name else { panic!("{name}") };
        let moved = Name::Journal(domain, year - 1, month, id);
        world.store.put(&moved.to_string(), &world.store.objects()[&name.to_string()]).unwrap();
        assert!(is_beside || world.store.remove(&name.to_string()));
        let own = world.of_client(&world.verify());
        assert_eq!((own.altered, own.missing), ([id.to_string()].into(), [].into()), "{is_beside}");
        let entries = journal::read(&world.owner()).unwrap().entries;
        assert_eq!(entries.iter().filter(|entry| entry.id == id).count(), 1, "it is one run: {is_beside}");
    }
}

#[test]
fn what_a_stranger_put_is_named() {
    let world = World::new();
    let (name, id) = world.old();
    let strange = init(world.hand.store(), &world.hand.runtime(5, 0));
    snapshot_stream(&strange, b"theirs").unwrap();
    let theirs = strange.backend().list(JOURNAL).unwrap().remove(0).name;
    let bytes = strange.backend().get(&theirs, None).unwrap();
    let place = name.replace(&id.to_string(), &ObjectId::of(&bytes).to_string());
    world.store.put(&place, &bytes).unwrap();
    let chain = world.verify();
    let strangers: Vec<&Writer> = chain.writers.iter().filter(|one| !one.unknown_signer.is_empty()).collect();
    assert_eq!(strangers.len(), 1, "{chain:?}");
    assert_eq!(strangers[0].unknown_signer, [ObjectId::of(&bytes).to_string()].into());
    assert!(!chain.is_whole() && strangers[0].head.is_none());
}

#[test]
fn what_a_listing_shows_late_is_not_missed_and_what_it_hides_is() {
    let world = World::new();
    let all = world.store.objects().keys().filter(|name| name.starts_with("journal/")).count();
    let mut missed = 0;
    for shown in 0..all {
        for looks in [1, 2] {
            let faulty = Faulty::new(Arc::new(world.store.clone()));
            let owner = open(faulty.clone(), &world.hand.runtime(9, 0)).unwrap();
            (1..=looks).for_each(|nth| faulty.mislist("journal/", nth, ListFault::FirstPage(shown)));
            let chain = chain::verify(&owner, None).unwrap();
            assert!(looks == 2 || chain.is_whole(), "{shown} of {all}: {chain:?}");
            missed += usize::from(!chain.is_whole());
        }
    }
    assert!(missed > 0);
}

#[test]
fn what_the_store_refuses_is_no_offence() {
    let world = World::new();
    let mut refused = 0;
    for nth in 1.. {
        let faulty = Faulty::new(Arc::new(world.store.clone()));
        let owner = open(faulty.clone(), &world.hand.runtime(9, 0)).unwrap();
        let failure = Failure { operation: Operation::Get, nth, from_then_on: false, kind: ErrorKind::Denied };
        faulty.revive();
        faulty.fail(failure);
        match chain::verify(&owner, None) {
            Err(_) => refused += 1,
            Ok(chain) => {
                assert!(chain.is_whole(), "{nth}: {chain:?}");
                break;
            }
        }
    }
    assert!(refused > world.records().len(), "each was refused once");
}

#[test]
fn who_may_only_read_sees_the_journal_without_a_head() {
    let world = World::new();
    let faulty = Faulty::new(Arc::new(world.store.clone()));
    let owner = open(faulty.clone(), &world.hand.runtime(9, 0)).unwrap();
    faulty.revive();
    faulty.fail(Failure { operation: Operation::Put, nth: 1, from_then_on: true, kind: ErrorKind::Denied });
    let journal = journal::read(&owner).unwrap();
    assert!(journal.head.is_none() && journal.warning.is_some(), "{journal:?}");
    assert!(journal.entries.len() > world.records().len());
}

/// As two machines with one key file, or two runs of one machine that overlap.
#[test]
fn two_that_write_at_once_are_counted_and_do_no_wrong() {
    let mut world = World::new();
    let [first, second] = [world.client(true), world.client(true)];
    for (seed, repository) in [(1, &first), (2, &second), (3, &first)] {
        snapshot_stream(repository, &noise(seed, 500)).unwrap();
    }
    let chain = world.verify();
    assert!(chain.is_whole(), "{chain:?}");
    assert_eq!(world.of_client(&chain).concurrent, 1, "{chain:?}");
}

#[test]
fn machines_without_memory_do_no_wrong() {
    let mut world = World::new();
    (0..3).for_each(|_| world.run(false));
    let chain = world.verify();
    assert!(chain.is_whole(), "{chain:?}");
    assert_eq!(world.of_client(&chain).concurrent, 3, "each began anew: {chain:?}");
}

#[test]
fn neither_a_prune_nor_a_removed_key_makes_a_gap() {
    let world = World::new();
    let owner = world.owner();
    let prune = || prune::prune(&owner, &prune::Options::default(), &Silent).unwrap();
    prune();
    world.hand.advance(Duration::from_secs(100 * 24 * 3600));
    prune();
    assert!(world.verify().is_whole());
    let removed = world.records().len() as u64;
    keys::remove(&owner, world.slot, &Silent).unwrap();
    let chain = world.verify();
    assert!(chain.is_whole(), "{chain:?}");
    assert_eq!(chain.revoked, removed);
}
