//! A store that hides orders: each is named by the orders, the records and the snapshots that came after it, so whoever
//! drops or deletes stops, and check tells. Who names it decides how far: a member's word reaches its domain.

use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use testkit::simulated::Simulated;
use testkit::world::{Hand, check, init, member, noise, open, open_as, records, restore_stream, snapshot_stream};
use vault::backend::Store;
use vault::error::{Error, Refusal};
use vault::progress::Silent;
use vault::repository::Repository;
use vault::repository::objects::orders;
use vault::retention::Policy;
use vault::tag::{self, Change};
use vault::{check as checking, forget, journal, keys, list, prune, repair, undelete};
use vault_format::bundle::{Bundle, BundleKeys, Role};
use vault_format::id::ObjectId;
use vault_format::journal::Record;
use vault_format::name::Name;
use vault_format::object::Author;
use vault_format::order::Action;

/// A repository with two snapshots.
struct World {
    hand: Hand,
    store: Simulated,
    owner: Repository,
    ids: [ObjectId; 2],
}

impl World {
    fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let ids = [1, 2].map(|seed| snapshot_stream(&owner, &noise(seed, 20_000)).unwrap().snapshot.unwrap());
        Self { hand, store, owner, ids }
    }

    /// A process of its own.
    fn open(&self) -> Repository {
        open(self.store.clone(), &self.hand.runtime(9, 0)).unwrap()
    }

    fn orders(&self) -> BTreeSet<String> {
        self.store.objects().into_keys().filter(|name| name.starts_with("orders/")).collect()
    }

    /// The one order that some work puts.
    fn order_of(&self, work: impl FnOnce(&Repository)) -> String {
        let before = self.orders();
        work(&self.open());
        let new: Vec<String> = self.orders().difference(&before).cloned().collect();
        assert_eq!(new.len(), 1, "{new:?}");
        new[0].clone()
    }

    fn hold(&self, id: ObjectId) -> String {
        self.order_of(|owner| tagged(owner, id, &Change { hold: Some(true), ..Change::default() }))
    }

    fn forget(&self, id: ObjectId) -> vault::error::Result<forget::Report> {
        forget::by_id(&self.open(), &[id.to_string()], &forget::Options { may_empty: true, ..Default::default() })
    }

    fn prune(&self) -> vault::error::Result<prune::Report> {
        prune::prune(&self.open(), &prune::Options::default(), &Silent)
    }

    /// Everybody who must stop at an order does, and names it; put back, it stops nobody.
    fn assert_missed(&self, order: &str, context: &str) {
        let bytes = self.store.objects()[order].clone();
        assert!(self.store.remove(order));
        let id = order.trim_start_matches("orders/");
        let names_it = |error: &dyn std::fmt::Display| {
            let text = error.to_string();
            assert!(text.contains(&format!("order {id} is missing, though ")), "{context}: {text}");
        };
        names_it(&self.prune().unwrap_err());
        names_it(&self.forget(self.ids[1]).unwrap_err());
        let findings = check(&self.open(), false).findings;
        assert!(findings.iter().any(|one| one.object == order && one.problems[0].starts_with("missing")), "{context}");
        self.store.put(order, &bytes).unwrap();
        assert!(check(&self.open(), false).findings.is_empty(), "{context}");
        self.prune().unwrap_or_else(|error| panic!("{context}: {error}"));
    }

    fn drop_all(&self, prefix: &str) {
        for name in self.store.objects().into_keys().filter(|name| name.starts_with(prefix)) {
            self.store.remove(&name);
        }
    }
}

fn tagged(owner: &Repository, id: ObjectId, change: &Change) {
    tag::tag(owner, &id.to_string(), &|_| None, change).unwrap();
}

/// A record as a member signs it.
fn put_record(world: &World, bundle: &Bundle, record: &Record) {
    let BundleKeys::Member { domain, book, signing, .. } = &bundle.keys else { panic!("a member") };
    let signer = &signing.signing_key();
    let author = Author { repository: world.owner.id(), domain: *domain, signer, book };
    let sealed = record.seal(&author, &[7; 32]).unwrap();
    world.store.put(&Name::Journal(*domain, 2026, 11, ObjectId::of(&sealed)).to_string(), &sealed).unwrap();
}

#[test]
fn the_record_of_whoever_gave_it_names_an_order() {
    let world = World::new();
    let hold = world.hold(world.ids[0]);
    world.assert_missed(&hold, "a hold");
    world.forget(world.ids[1]).unwrap();
    let undelete = world.order_of(|owner| {
        undelete::undelete(owner, &world.ids[1].to_string()).unwrap();
    });
    world.assert_missed(&undelete, "an undelete");
    let last = records(&world.open()).pop().unwrap();
    assert!(last.orders.len() <= 4, "{last:?}");
}

#[test]
fn each_order_names_those_before_it() {
    let world = World::new();
    let hold = world.hold(world.ids[0]);
    let add = |tag: &str| Change { add: vec![tag.into()], ..Change::default() };
    tagged(&world.open(), world.ids[1], &add("x"));
    tagged(&world.open(), world.ids[1], &add("y"));
    world.drop_all("journal/");
    world.assert_missed(&hold, "neither a record nor a snapshot names it");
}

#[test]
fn a_snapshot_names_the_newest_orders() {
    let world = World::new();
    let (_, bundle) = member(&world.owner, Role::Writer, "writer", None);
    let hold = world.hold(world.ids[0]);
    let newest = snapshot_stream(&world.open(), &noise(3, 20_000)).unwrap();
    assert!(newest.head.orders.is_empty(), "only the commit knows which are the newest");
    world.drop_all("journal/");
    world.assert_missed(&hold, "the owner's snapshot names it");
    // a member, who can't open it, names it too
    let client = open_as(world.store.clone(), &world.hand.runtime(3, 0), &bundle).unwrap();
    let tag =
        world.order_of(|owner| tagged(owner, world.ids[1], &Change { remove: vec!["x".into()], ..Change::default() }));
    let theirs = snapshot_stream(&client, &noise(4, 20_000)).unwrap().snapshot.unwrap();
    let all = list::snapshots(&world.open()).unwrap();
    let named = &all.snapshots.by_id(&theirs.to_string()).unwrap().head.orders;
    assert!(named.iter().any(|id| format!("orders/{id}") == tag), "{named:?} lacks {tag}");
}

/// As an order before vault named any: the numbers alone tell.
#[test]
fn a_gap_in_the_numbers_is_missed() {
    let world = World::new();
    world.hold(world.ids[0]);
    let hidden = world.orders().pop_first().unwrap();
    world.store.remove(&hidden);
    // whoever gives the next one sees none, so its number is the same: no gap
    assert!(orders::put(&world.open(), world.owner.keys().domain(), Action::Release(vec![world.ids[0]])).is_ok());
    world.drop_all("journal/");
    assert!(check(&world.open(), false).findings.is_empty());
    let order = vault_format::order::Order { number: 9, time: 0, action: Action::Require(0), after: Vec::new() };
    let keys = world.owner.keys();
    let (signer, book) = (keys.signer(), &keys.own_book());
    let author = Author { repository: world.owner.id(), domain: keys.domain(), signer, book };
    let sealed = order.seal(&author, &[1; 32]).unwrap();
    world.store.put(&Name::Order(ObjectId::of(&sealed)).to_string(), &sealed).unwrap();
    let said = world.prune().unwrap_err().to_string();
    assert!(said.contains("orders with the numbers 2 to 8 are missing"), "{said}");
    assert_eq!(check(&world.open(), false).findings[0].object, "orders/");
}

/// The order that is missing may speak of the key: it is cut off, and nothing of it is accepted before that is clear.
#[test]
fn a_key_is_not_gone_before_no_order_is_missing() {
    let world = World::new();
    let (slot, _) = member(&world.owner, Role::Writer, "writer", None);
    let hold = world.hold(world.ids[0]);
    world.hold(world.ids[1]);
    let bytes = world.store.objects()[&hold].clone();
    world.store.remove(&hold);
    let refused = keys::remove(&world.open(), slot, &Silent).unwrap_err();
    let id = hold.trim_start_matches("orders/");
    let names_it =
        |error: &Error| matches!(error, Error::Request(Refusal::Hidden(hidden)) if hidden.to_string().contains(id));
    assert!(names_it(&refused), "{refused}");
    let listed = keys::list(&world.open()).unwrap().keys;
    assert!(listed.iter().any(|key| key.id == slot && key.is_revoked), "{listed:?}");
    world.store.put(&hold, &bytes).unwrap();
    assert!(keys::remove(&world.open(), slot, &Silent).unwrap().is_revoked);
    assert!(keys::list(&world.open()).unwrap().keys.iter().all(|key| key.id != slot));
}

/// A ghost in a member's record stops nothing but what concerns its domain, and ends with the owner's word.
#[test]
fn a_members_ghost_reaches_its_domain_alone() {
    let world = World::new();
    let (_, bundle) = member(&world.owner, Role::Client, "client", None);
    let client = open_as(world.store.clone(), &world.hand.runtime(3, 0), &bundle).unwrap();
    let theirs = [3, 4].map(|seed| snapshot_stream(&client, &noise(seed, 20_000)).unwrap().snapshot.unwrap());
    let ghost = ObjectId([66; 32]);
    put_record(&world, &bundle, &Record { operation: "run".into(), orders: vec![ghost], ..Record::default() });
    assert_eq!(check(&world.open(), false).findings[0].object, format!("orders/{ghost}"));
    let said = world.forget(theirs[0]).unwrap_err().to_string();
    assert!(said.contains(&format!("order {ghost} is missing, though journal/")), "{said}");
    let policy = (&Policy { last: Some(1), ..Policy::default() }, &TimeZone::UTC);
    let report = forget::by_policy(&world.open(), None, policy, &forget::Options::default()).unwrap();
    assert_eq!(report.left_out.iter().map(|one| one.domain).collect::<Vec<_>>(), [client.keys().domain()]);
    assert_eq!(report.forgotten(), 1, "of the owner's source");
    let left_out = world.prune().unwrap().left_out;
    assert_eq!(left_out.iter().map(|one| one.domain).collect::<Vec<_>>(), [client.keys().domain()]);
    let part = repair::quarantine(&world.open(), &ghost.to_string()[..12], false);
    assert!(part.is_err(), "what is not there is named in full");
    let done = repair::quarantine(&world.open(), &ghost.to_string(), false).unwrap();
    assert_eq!((done.name, done.orders.len()), (format!("orders/{ghost}"), 2));
    assert!(check(&world.open(), false).findings.is_empty());
    world.forget(theirs[0]).unwrap();
    world.prune().unwrap();
    restore_stream(&world.open(), theirs[1]).unwrap();
    let nobody = repair::quarantine(&world.open(), &ObjectId([67; 32]).to_string(), false);
    assert!(nobody.is_err(), "what nobody names can't be missing");
}

/// A thief could else keep his key for ever, by an order that never was.
#[test]
fn what_a_key_names_itself_does_not_keep_it_from_going() {
    let world = World::new();
    let [(first, liar), (second, _)] =
        ["liar", "other"].map(|label| member(&world.owner, Role::Client, label, Some("shared")));
    let ghost = ObjectId([66; 32]);
    put_record(&world, &liar, &Record { operation: "run".into(), orders: vec![ghost], ..Record::default() });
    let stopped = keys::remove(&world.open(), second, &Silent).unwrap_err().to_string();
    assert!(stopped.contains(&format!("order {ghost} is missing")), "another of its domain waits: {stopped}");
    assert!(keys::remove(&world.open(), first, &Silent).unwrap().is_revoked);
    assert!(keys::remove(&world.open(), second, &Silent).unwrap().is_revoked, "nobody believes the liar any more");
}

/// One process on a machine that remembers.
fn remembering(world: &World, cache: &Path) -> Repository {
    let owner = world.open();
    owner.use_cache(cache).unwrap();
    owner
}

/// A part of the store, and what of it is hidden.
type Hides<'w> = (&'static str, &'w dyn Fn(&str) -> bool);

#[test]
fn a_machine_misses_what_it_saw_though_nothing_names_it() {
    let world = World::new();
    let (slot, _) = member(&world.owner, Role::Writer, "writer", None);
    world.hold(world.ids[0]);
    let cache = tempfile::tempdir().unwrap();
    let open = || remembering(&world, cache.path());
    assert_eq!(check(&open(), false).looked, None);
    assert!(check(&open(), false).looked.is_some());
    let whole = world.store.snapshot(1);
    let hides: [Hides<'_>; 3] = [
        ("snapshots/", &|name| name.ends_with(&world.ids[1].to_string())),
        ("orders/", &|name| name.starts_with("orders/")),
        ("keys/", &|name| name.ends_with(&slot.to_string())),
    ];
    for (part, is_hidden) in hides {
        world.drop_all("journal/");
        for name in whole.objects().into_keys().filter(|name| is_hidden(name)) {
            assert!(world.store.remove(&name));
        }
        assert!(check(&world.open(), false).findings.is_empty(), "{part}: nobody else can tell");
        let report = check(&open(), false);
        if part == "keys/" {
            // a slot goes with its key, so that is no damage
            assert!(report.findings.is_empty() && report.notes.iter().any(|note| note.contains(&slot.to_string())));
            continue;
        }
        assert!(report.findings.iter().all(|one| one.object.starts_with(part)), "{part}: {:?}", report.findings);
        assert!(!report.findings.is_empty() && !report.hidden.is_empty(), "{part}");
        assert!(!list::hidden(&list::snapshots(&open()).unwrap()).unwrap().is_empty(), "{part}");
        let pruned = prune::prune(&open(), &prune::Options::default(), &Silent).unwrap_err().to_string();
        assert!(pruned.contains("this machine saw it there"), "{part}: {pruned}");
        let forgotten = forget::by_id(&open(), &[world.ids[0].to_string()], &forget::Options::default());
        assert!(forgotten.unwrap_err().to_string().contains("this machine saw it there"), "{part}");
        assert!(repair::accept(&open(), true).unwrap().orders.is_empty());
        assert!(!check(&open(), false).findings.is_empty(), "{part}: nothing was accepted yet");
        assert_eq!(repair::accept(&open(), false).unwrap().missing.len(), report.hidden.len());
        assert!(check(&open(), false).findings.is_empty(), "{part}: the store is an older copy, says the owner");
        prune::prune(&open(), &prune::Options::default(), &Silent).unwrap();
        for (name, bytes) in whole.objects() {
            world.store.put(&name, &bytes).unwrap();
        }
        assert!(check(&open(), false).findings.is_empty(), "{part}: all is back");
    }
}

#[test]
fn what_was_forgotten_and_pruned_a_machine_does_not_miss() {
    let world = World::new();
    let cache = tempfile::tempdir().unwrap();
    let open = || remembering(&world, cache.path());
    assert_eq!(check(&open(), false).looked, None);
    world.forget(world.ids[1]).unwrap();
    let now = prune::Options { grace: Some(Duration::ZERO), ..prune::Options::default() };
    assert_eq!(prune::prune(&open(), &now, &Silent).unwrap().swept.snapshots, 1);
    assert!(check(&open(), false).findings.is_empty());
}

#[test]
fn a_head_kept_elsewhere_shows_an_older_state() {
    let world = World::new();
    world.hold(world.ids[0]);
    let journal = journal::read(&world.open()).unwrap();
    let mut words: Vec<&str> = journal.entries.iter().map(|entry| entry.record.operation.as_str()).collect();
    words.sort_unstable();
    assert_eq!(words, ["snapshot", "snapshot", "tag"]);
    let head = journal.head.unwrap();
    assert_eq!(journal::read(&world.open()).unwrap().head, Some(head), "it says it all already");
    let look = |head| {
        let options = checking::Options { head: Some(head), ..checking::Options::default() };
        checking::check(&world.open(), &options, &Silent).unwrap().findings
    };
    assert_eq!(look(head), []);
    assert_eq!(look(ObjectId([9; 32])).len(), 1);
    // whatever it names is missed as long as it is there
    let whole = world.store.objects();
    for part in [format!("/{}", world.ids[1]), "orders/".into(), format!("/{head}")] {
        let hidden: Vec<&String> = whole.keys().filter(|name| name.contains(&part)).collect();
        hidden.iter().for_each(|name| assert!(world.store.remove(name)));
        assert!(!look(head).is_empty(), "{part}");
        hidden.iter().for_each(|name| world.store.put(name, &whole[*name]).unwrap());
    }
    // an older state, in which nothing names what is hidden
    for (name, bytes) in whole.iter().filter(|(name, _)| name.contains(&world.ids[1].to_string())) {
        world.drop_all("journal/");
        world.store.remove(name);
        assert_eq!(check(&world.open(), false).findings, []);
        assert_eq!(look(head)[0].object, format!("journal/…/{head}"));
        world.store.put(name, bytes).unwrap();
    }
    snapshot_stream(&world.open(), &noise(5, 20_000)).unwrap();
    assert_ne!(journal::read(&world.open()).unwrap().head, Some(head), "there is more to name");
}
