//! Which snapshot is the newest, and which one a time means, when clocks were wrong: a year ahead once, back in 1970
//! once or for good. The order in which a writer made its snapshots is known, so `latest`, a name and the parent of the
//! next run never mean an older state.

use std::time::Duration;
use testkit::simulated::Simulated;
use testkit::world::{Hand, init, member, open_as};
use vault::progress::Silent;
use vault::repository::{Error, Repository, View};
use vault::time::WallTime;
use vault::{backup, list};
use vault_format::bundle::{Bundle, Role};
use vault_format::id::ObjectId;

pub const SECOND: i64 = 1_000_000_000;
pub const DAY: Duration = Duration::from_hours(24);
/// A machine without a battery: five minutes after it was switched on.
const YEAR_1970: i64 = 300 * SECOND;

/// A repository and the client whose clock tells what a test says.
pub struct Shelf {
    pub hand: Hand,
    pub store: Simulated,
    pub owner: Repository,
    pub client: Bundle,
}

impl Shelf {
    pub fn new() -> Self {
        let hand = Hand::new();
        let store = hand.store();
        let owner = init(store.clone(), &hand.runtime(1, 0));
        let (_, client) = member(&owner, Role::Client, "client", None);
        Self { hand, store, owner, client }
    }

    pub fn now(&self) -> i64 {
        self.hand.clock().now().nanoseconds()
    }

    pub fn client(&self, seed: u64) -> Repository {
        open_as(self.store.clone(), &self.hand.runtime(seed, 0), &self.client).unwrap()
    }

    /// One snapshot of a source by the client, whose clock says `claimed`.
    pub fn take(&self, seed: u64, claimed: Option<i64>) -> backup::Report {
        self.hand.advance(Duration::from_mins(1));
        take(&self.client(seed), "db", seed, claimed)
    }

    pub fn found(&self, address: &str) -> ObjectId {
        found(&self.owner, address)
    }
}

pub fn take(repository: &Repository, name: &str, content: u64, claimed: Option<i64>) -> backup::Report {
    let bytes = format!("state {content}");
    let time = claimed.map(WallTime::new);
    let options = backup::Options { name: name.into(), time, ..backup::Options::default() };
    let source = backup::Source::Stream(&mut bytes.as_bytes(), b"dump".to_vec());
    backup::backup(repository, source, &options, &Silent).unwrap()
}

/// What an address means; a time behind `@` is in seconds.
pub fn found(repository: &Repository, address: &str) -> ObjectId {
    let at = |text: &str| Some(WallTime::new(text.parse::<i64>().ok()? * SECOND + SECOND - 1));
    let catalog = View::to_read(repository).unwrap();
    list::find(&catalog, address.as_bytes(), &at).unwrap_or_else(|error| panic!("{address}: {error}")).snapshot.id
}

#[test]
fn a_clock_a_year_ahead_hides_nothing() {
    let shelf = Shelf::new();
    let before = shelf.take(10, None).snapshot.unwrap();
    let ahead = shelf.take(11, Some(shelf.now() + 366 * 86400 * SECOND)).snapshot.unwrap();
    let when = shelf.now() / SECOND;
    assert_eq!(shelf.found("latest"), ahead, "it is the newest by its arrival");
    let after = shelf.take(12, None);
    assert_eq!(after.head.parent, Some(ahead));
    let newest = shelf.take(13, None);
    assert_eq!(newest.head.parent, after.snapshot, "the parent is the newest, not what claims to be");
    for address in ["latest".into(), "db".into(), format!("db@{}", shelf.now() / SECOND)] {
        assert_eq!(Some(shelf.found(&address)), newest.snapshot, "{address}");
    }
    assert_eq!(shelf.found(&format!("db@{when}")), ahead, "it is found by its arrival");
    assert_eq!(shelf.found(&format!("db@{}", when - 60)), before);
    let catalog = View::to_read(&shelf.owner).unwrap();
    let late: Vec<ObjectId> = catalog.snapshots.visible().filter(|one| one.counted.late).map(|one| one.id).collect();
    assert_eq!(late, [ahead], "and shown as late");
}

#[test]
fn a_time_that_is_not_understood_and_one_that_is_too_early_are_told_apart() {
    let shelf = Shelf::new();
    let first = shelf.take(10, None);
    shelf.take(11, None);
    let at = |text: &str| Some(WallTime::new(text.parse::<i64>().ok()? * SECOND));
    let catalog = View::to_read(&shelf.owner).unwrap();
    let error = |address: &str| match list::find(&catalog, address.as_bytes(), &at) {
        Err(vault::error::Error::Repository(error)) => error,
        other => panic!("{address}: {other:?}"),
    };
    for address in ["db@5", "db@5:dump", "db@5:a@b/c", "latest@5"] {
        let error = error(address);
        assert!(
            matches!(&error, Error::NotThatOld { first: time, .. } if time.nanoseconds() == first.head.time),
            "{address}: {error:?}"
        );
    }
    for address in ["db@soon", "db@2020-01-01T10:00:00+01:00", "db@soon:dump", "latest@"] {
        assert!(matches!(error(address), Error::UnreadableTime(_)), "{address}: {:?}", error(address));
    }
    for address in ["no@5", "no@soon", "no:a@b", "no:a/b@c", "no", "no@5:dump"] {
        assert!(matches!(error(address), Error::NoSnapshot(_)), "{address}: {:?}", error(address));
    }
    assert!(list::find(&catalog, b"db:a/b@c", &at).is_ok(), "an @ in a path is none of a time");
}

#[test]
fn a_clock_back_in_1970_restores_no_older_state() {
    let shelf = Shelf::new();
    shelf.hand.advance(3 * DAY);
    shelf.take(10, None);
    let back = shelf.take(11, Some(YEAR_1970));
    assert_eq!(Some(shelf.found("latest")), back.snapshot);
    assert_eq!(Some(shelf.found("db")), back.snapshot);
    shelf.hand.advance(DAY);
    let still = shelf.take(12, Some(YEAR_1970 + 7 * SECOND));
    assert_eq!(still.head.parent, back.snapshot, "the parent of the next run, too");
    assert_eq!(Some(shelf.found("db")), still.snapshot);
    shelf.hand.advance(DAY);
    let mended = shelf.take(13, None);
    assert_eq!(mended.head.parent, still.snapshot);
    assert_eq!(Some(shelf.found("db")), mended.snapshot);
    assert_eq!(Some(shelf.found(&format!("db@{}", shelf.now() / SECOND - 3600))), still.snapshot);
}
