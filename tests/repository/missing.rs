//! What prune stops at check must find, with the same reason, for prune's hint sends people there: a table of situations in
//! which a snapshot is not there, or does not count, and who says what.

use std::time::Duration;
use testkit::simulated::Simulated;
use testkit::world::{Hand, check, init, member, noise, open, open_as, snapshot_stream};
use vault::backend::Store;
use vault::progress::Silent;
use vault::repository::Repository;
use vault::repository::objects::orders;
use vault::{list, prune};
use vault_format::bundle::Role;
use vault_format::id::{DomainId, ObjectId, WriterId};
use vault_format::mark::{Mark, SnapshotPlace};
use vault_format::name::Name;
use vault_format::order::Action;

/// Two snapshots of one source: the second names the first, and the journal names both.
struct Pair {
    hand: Hand,
    store: Simulated,
    owner: Repository,
    first: SnapshotPlace,
    second: SnapshotPlace,
}

impl Pair {
    fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let take = |seed| {
            let id = snapshot_stream(&owner, &noise(seed, 10_000)).unwrap().snapshot.unwrap();
            list::snapshots(&owner).unwrap().snapshots.by_id(&id.to_string()).unwrap().place
        };
        let (first, second) = (take(1), take(2));
        Self { hand, store, owner, first, second }
    }

    fn order(&self, place: SnapshotPlace, action: fn(Vec<ObjectId>) -> Action) {
        orders::put(&self.owner, place.domain, action(vec![place.id])).unwrap();
    }

    /// The owner's mark that the first snapshot is due after a day.
    fn condemn(&self) {
        let grace = u64::try_from(Duration::from_hours(24).as_nanos()).unwrap();
        let mark = Mark::Condemn { packs: Vec::new(), snapshots: vec![self.first], grace };
        let sealed = mark.seal(self.owner.id(), self.owner.keys().signer(), &[3; 32]).unwrap();
        self.store.put(&Name::Mark(ObjectId::of(&sealed)).to_string(), &sealed).unwrap();
    }

    fn delete(&self) {
        let SnapshotPlace { domain, label, id } = self.first;
        self.store.remove(&Name::Snapshot(domain, label, id).to_string());
    }

    /// What prune and check say is missing.
    fn said(&self) -> [Option<String>; 2] {
        let owner = open(self.store.clone(), &self.hand.runtime(9, 0)).unwrap();
        let options = prune::Options { dry_run: true, ..prune::Options::default() };
        let prune = match prune::prune(&owner, &options, &Silent) {
            Ok(report) => report.left_out.first().map(|one| one.doubt.to_string()),
            Err(error) => Some(error.to_string().replace("cannot prune safely: ", "")),
        };
        let findings = check(&owner, false).findings;
        let about = findings.iter().find(|finding| finding.object.starts_with("snapshots/"));
        let id = |object: &str| object.rsplit('/').next().unwrap_or_default().to_owned();
        [prune, about.map(|finding| format!("snapshot {} is {}", id(&finding.object), finding.problems[0]))]
    }
}

/// A situation in words, how it comes to be, and whether the first snapshot is missing in it.
type Situation = (&'static str, fn(&Pair), bool);

const SITUATIONS: [Situation; 8] = [
    ("nothing happened", |_| {}, false),
    ("it was deleted, and nobody said so", |pair| pair.delete(), true),
    (
        "it was deleted, and who names it was forgotten: a record still does",
        |pair| {
            pair.order(pair.second, Action::Forget);
            pair.delete();
        },
        true,
    ),
    (
        "it was forgotten, and is gone with its mark",
        |pair| {
            pair.order(pair.first, Action::Forget);
            pair.delete();
        },
        false,
    ),
    (
        "it was forgotten, and is gone before its mark came of age",
        |pair| {
            pair.order(pair.first, Action::Forget);
            pair.condemn();
            pair.delete();
        },
        true,
    ),
    (
        "a mark names it that may have been carried out",
        |pair| {
            pair.order(pair.first, Action::Forget);
            pair.condemn();
            pair.hand.advance(Duration::from_hours(25));
            pair.delete();
        },
        false,
    ),
    (
        "a young mark names it, and nobody has forgotten it",
        |pair| {
            pair.condemn();
            pair.delete();
        },
        true,
    ),
    (
        "the owner has quarantined it",
        |pair| {
            pair.order(pair.first, Action::Quarantine);
            pair.delete();
        },
        false,
    ),
];

#[test]
fn check_finds_missing_what_prune_stops_at() {
    for (situation, happen, is_missing) in SITUATIONS {
        let pair = Pair::new();
        happen(&pair);
        let [prune, check] = pair.said();
        assert_eq!(prune, check, "{situation}");
        let names_it = |said: String| said.starts_with(&format!("snapshot {} is missing", pair.first.id));
        assert_eq!(prune.is_some_and(names_it), is_missing, "{situation}");
    }
}

/// Not only its parent: of the others a store could else hide all that no record and no younger snapshot tells of.
#[test]
fn a_snapshot_names_the_newest_before_it() {
    let pair = Pair::new();
    let third = snapshot_stream(&pair.owner, &noise(3, 10_000)).unwrap().head;
    assert_eq!(third.parent, Some(pair.second.id));
    pair.order(pair.second, Action::Forget);
    pair.delete();
    for record in pair.store.objects().into_keys().filter(|name| name.starts_with("journal/")) {
        assert!(pair.store.remove(&record));
    }
    for said in pair.said() {
        assert!(said.unwrap_or_default().starts_with(&format!("snapshot {} is missing", pair.first.id)));
    }
}

/// What a revoked writer has stored is listed and does not count: no gap, though the journal names it.
#[test]
fn what_a_revoked_writer_stored_is_not_missing() {
    let pair = Pair::new();
    let (_, bundle) = member(&pair.owner, Role::Client, "client", None);
    let client = open_as(pair.store.clone(), &pair.hand.runtime(2, 0), &bundle).unwrap();
    snapshot_stream(&client, &noise(3, 10_000)).unwrap();
    // before its mark prune puts a record that names the newest heads
    pair.order(pair.first, Action::Forget);
    prune::mark(&pair.owner, &prune::Options::default()).unwrap();
    let writer = WriterId::of(&client.keys().signer().verifying_key().to_bytes());
    let revoke = Action::Revoke { writer, accepted: Vec::new() };
    orders::put(&pair.owner, DomainId::default(), revoke).unwrap();
    pair.hand.advance(Duration::from_hours(48));
    assert_eq!(pair.said(), [None, None]);
}
