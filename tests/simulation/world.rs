//! One simulated world: a store with its lag, a second one that snapshots are copied to, and the truth about what was
//! acknowledged. Both begin with a new repository, the first with keys of all roles. Everything comes from the seed.

use crate::baton::Log;
use crate::schedule::{Time, one_of};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use testkit::rules::Rule;
use testkit::simulated::Simulated;
use testkit::world::noise;
use vault::backend::{Backend, BackendOptions, Store};
use vault::keys;
use vault::plan::Delta;
use vault::progress::Silent;
use vault::repository::{Access, NewRepository, Options, Repository};
use vault::runtime::Runtime;
use vault::time::WallTime;
use vault_format::bundle::{Bundle, BundleKeys, Role};
use vault_format::id::{ObjectId, WriterId};
use vault_format::key::Key;
use vault_format::name::Name;
use vault_format::salt::Salt;
use vault_format::slot::{self, KDF_FLOOR, NewSlot};

pub const SECOND: i64 = 1_000_000_000;
pub const MINUTE: i64 = 60 * SECOND;
/// Any time will do: 2026-01-01.
const START: i64 = 1_767_225_600 * SECOND;
pub const WINDOW: i64 = 10 * MINUTE;
const CLOCK_ERROR: i64 = MINUTE;

/// Members of the first repository: the owner, two clients of one domain, and two writers of their own domains.
pub const MEMBERS: usize = 5;

/// A new repository.
struct Template {
    objects: BTreeMap<String, Vec<u8>>,
    bundles: Vec<Bundle>,
    /// Slots of all bundles but the first.
    slots: Vec<ObjectId>,
}

/// The first repository, one with the same blob ids, and one with others.
struct Templates {
    first: Template,
    like: Template,
    unlike: Template,
}

fn template(seed: u64, root: Key, members: &[(&str, Role)]) -> Template {
    let clock = Time::new(START, &[]).store();
    let store = Simulated::new(clock.clone(), Duration::ZERO, 0);
    let runtime = Runtime::seeded(seed, clock, 0);
    let backend = Backend::from_store(Arc::new(store.clone()), &BackendOptions::default(), &runtime);
    let new = NewRepository { kdf: KDF_FLOOR, like: Some(root), ..NewRepository::new(b"password") };
    let repository = Repository::init(backend, runtime.clone(), Options::default(), new).unwrap();
    let owner = repository.keys().owner("make members").unwrap();
    let config = repository.keys().config();
    let (mut bundles, mut slots) = (vec![owner.bundle(config)], Vec::new());
    for (domain, role) in members {
        let signing = Key::new(runtime.random());
        let verifying = signing.signing_key().verifying_key().to_bytes();
        let domain = owner.domain(domain);
        let bundle = owner.member_bundle(config, domain, signing, *role).unwrap();
        let new = NewSlot { bundle: &bundle, label: String::new(), created: START, domain, verifying };
        let sealed = slot::seal(&new, None, Salt::Fresh(runtime.random()), repository.keys().signer()).unwrap();
        store.put(&Name::Slot(ObjectId::of(&sealed)).to_string(), &sealed).unwrap();
        bundles.push(bundle);
        slots.push(ObjectId::of(&sealed));
    }
    Template { objects: store.objects(), bundles, slots }
}

fn templates() -> &'static Templates {
    static TEMPLATES: OnceLock<Templates> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        let members = [("team", Role::Client), ("team", Role::Client), ("host", Role::Writer), ("cron", Role::Writer)];
        assert_eq!(members.len() + 1, MEMBERS);
        Templates {
            first: template(0, Key::new([1; 32]), &members),
            like: template(1, Key::new([1; 32]), &[]),
            unlike: template(2, Key::new([2; 32]), &[]),
        }
    })
}

/// Streams that share long parts, in versions that differ by a few bytes of each.
pub fn content(choice: &[usize], version: u8) -> Vec<u8> {
    static PARTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let parts = PARTS.get_or_init(|| (0..4).map(|seed| noise(seed, 90_000)).collect());
    let mut parts: Vec<Vec<u8>> = choice.iter().map(|part| parts[*part].clone()).collect();
    parts.iter_mut().for_each(|part| part[40_000] ^= version);
    parts.concat()
}

/// What was known of a snapshot before somebody may have forgotten it.
pub struct Doubt {
    /// Orders to forget it that were begun, and that were put.
    orders: (u32, u32),
    was_forgotten: bool,
}

/// What has to hold, whatever happens.
#[derive(Default)]
pub struct Truth {
    /// Snapshots whose runs said that they are taken.
    pub acknowledged: BTreeMap<ObjectId, Vec<u8>>,
    /// Who took them, and when that was known.
    pub authors: BTreeMap<ObjectId, (usize, i64)>,
    /// Members whose keys somebody began to revoke, when, and whether somebody came to the end of it.
    pub revoked: BTreeMap<usize, (i64, bool)>,
    /// Copies in the second repository.
    pub copied: BTreeMap<ObjectId, Vec<u8>>,
    /// Snapshots that an order may have forgotten.
    pub forgotten: BTreeSet<ObjectId>,
    /// Orders to forget a snapshot that were begun and that were put, and when the last one was.
    pub forgettings: BTreeMap<ObjectId, (u32, u32, i64)>,
    /// Snapshots that were held before anybody forgot them.
    pub held: BTreeSet<ObjectId>,
    /// When an order to release a snapshot was last begun or put.
    pub released: BTreeMap<ObjectId, i64>,
    /// What happened, for the totals.
    pub totals: Totals,
}

impl Truth {
    /// An order to release a snapshot begins, or is there: no hold is certain that goes on at the same time.
    pub fn release(&mut self, id: ObjectId, now: i64) {
        self.held.remove(&id);
        self.released.insert(id, now);
    }

    /// From here on an order to forget any of them may be there, acknowledged or not. Tells what was known before.
    pub fn doubt(&mut self) -> BTreeMap<ObjectId, Doubt> {
        let all: BTreeSet<ObjectId> = self.acknowledged.keys().chain(self.copied.keys()).copied().collect();
        let mut doubted = BTreeMap::new();
        for id in all {
            let orders = self.forgettings.entry(id).or_default();
            doubted.insert(id, Doubt { orders: (orders.0, orders.1), was_forgotten: !self.forgotten.insert(id) });
            orders.0 += 1;
        }
        doubted
    }

    /// What was doubted, and not forgotten, is as it was, unless somebody else has forgotten it or is about to.
    pub fn settle(&mut self, doubted: &BTreeMap<ObjectId, Doubt>, forgotten: &BTreeSet<ObjectId>, now: i64) {
        for (id, doubt) in doubted {
            let (begun, put, at) = self.forgettings.entry(*id).or_default();
            if forgotten.contains(id) {
                (*put, *at) = (*put + 1, now);
                // somebody may have taken it back in between
                self.forgotten.insert(*id);
                continue;
            }
            *begun -= 1;
            if !doubt.was_forgotten && (*begun, *put) == doubt.orders {
                self.forgotten.remove(id);
            }
        }
        for id in forgotten.iter().filter(|id| !doubted.contains_key(id)) {
            self.forgotten.insert(*id);
            self.forgettings.insert(*id, (1, 1, now));
        }
    }

    /// What a revoked key wrote since counts no more; if that was cut off, also what the owner could not see yet.
    pub fn may_be_disowned(&self, id: &ObjectId, lag: i64) -> bool {
        let Some((member, at)) = self.authors.get(id) else { return false };
        self.revoked.get(member).is_some_and(|(began, done)| *at >= began - if *done { 0 } else { lag })
    }
}

/// What happened in one world, or in many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub commits: u64,
    pub failures: u64,
    pub packs_deleted: u64,
    pub rescued: u64,
    pub merged: u64,
    pub restores: u64,
    pub late: u64,
    pub undeleted: u64,
    pub copied: u64,
    pub repaired: u64,
    pub revoked: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.commits += other.commits;
        self.failures += other.failures;
        self.packs_deleted += other.packs_deleted;
        self.rescued += other.rescued;
        self.merged += other.merged;
        self.restores += other.restores;
        self.late += other.late;
        self.undeleted += other.undeleted;
        self.copied += other.copied;
        self.repaired += other.repaired;
        self.revoked += other.revoked;
    }
}

/// One world.
pub struct World {
    pub store: Simulated,
    /// Where snapshots are copied to, and whether it has the same blob ids.
    pub second: Simulated,
    pub like: bool,
    pub time: Time,
    pub options: Options,
    /// The member whose key was stolen, and is used for nothing but lies.
    pub thief: Option<usize>,
    /// Whether runs store the difference to what was there; then each takes another version of its stream.
    pub delta: Delta,
    /// The rule that all processes break.
    pub broken: Option<Rule>,
    pub log: Arc<Log>,
    /// Every call is printed.
    pub trace: bool,
    pub truth: Mutex<Truth>,
}

/// One of the two repositories; the first with the key of a member.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    First(usize),
    Second,
}

fn second(like: bool) -> &'static Template {
    if like { &templates().like } else { &templates().unlike }
}

pub fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap()
}

/// What a world is made of.
pub struct Terms {
    /// Of both stores.
    pub lag: i64,
    pub grace: i64,
    /// Of a run.
    pub lifetime: i64,
    /// How wrong the clock of each actor is.
    pub skews: Vec<i64>,
    /// The second repository has the same blob ids.
    pub like: bool,
    /// What the lags of both stores come from.
    pub seeds: [u64; 2],
}

impl Terms {
    /// With the shortest grace that such a lag allows, and a bit.
    pub fn new(lag: i64, more_grace: i64, skews: Vec<i64>) -> Self {
        let grace = 2 * (WINDOW + 2 * lag + CLOCK_ERROR) + more_grace;
        Self { lag, grace, lifetime: 2 * grace, skews, like: false, seeds: [0, 1] }
    }

    pub fn random(random: &mut ChaCha20Rng, actors: usize) -> Self {
        let lag = one_of(random, &[0, 0, MINUTE, 10 * MINUTE]);
        let mut terms = Self::new(lag, one_of(random, &[1, MINUTE, 60 * MINUTE]), Vec::new());
        let grace = terms.grace;
        terms.lifetime = one_of(random, &[2 * grace, 1_000 * grace]);
        terms.skews = (0..actors).map(|_| one_of(random, &[0, 0, 0, grace, -grace, 5 * grace, -5 * grace])).collect();
        terms.like = random.next_u64().is_multiple_of(2);
        terms.seeds = [random.next_u64(), random.next_u64()];
        terms
    }
}

impl World {
    pub fn new(terms: &Terms, broken: Option<Rule>) -> Self {
        let time = Time::new(START, &terms.skews);
        let duration = |time: i64| Duration::from_nanos(u64::try_from(time).unwrap());
        let made = |template: &Template, seed: u64| {
            let store = Simulated::new(time.store(), duration(terms.lag), seed);
            for (name, bytes) in &template.objects {
                store.put(name, bytes).unwrap();
            }
            store
        };
        let (first, second) = (made(&templates().first, terms.seeds[0]), made(second(terms.like), terms.seeds[1]));
        time.advance(terms.lag);
        let options = Options {
            commit_window: duration(WINDOW),
            listing_lag: Some(duration(terms.lag)),
            clock_error: duration(CLOCK_ERROR),
            grace: duration(terms.grace),
            run_lifetime: duration(terms.lifetime),
            memory_bytes: 1 << 20,
            verify_seals: false,
            ..Options::default()
        };
        let (log, truth, like, thief) = (Arc::default(), Mutex::default(), terms.like, None);
        let delta = Delta::Never;
        Self { store: first, second, like, time, options, thief, delta, broken, log, trace: false, truth }
    }

    /// All snapshots that are there, listed or not.
    pub fn snapshots(&self) -> BTreeSet<ObjectId> {
        let names = [&self.store, &self.second].map(|store| store.objects().into_keys());
        let ids = names.into_iter().flatten().filter_map(|name| match Name::parse(&name) {
            Some(Name::Snapshot(.., id)) => Some(id),
            _ => None,
        });
        ids.collect()
    }

    /// What opens one of the two repositories.
    pub fn access(&self, place: Place) -> Access<'static> {
        let bundle = match place {
            Place::First(member) => &templates().first.bundles[member],
            Place::Second => &second(self.like).bundles[0],
        };
        Access::Bundle(Box::new(bundle.clone()))
    }

    /// Opens a repository without any baton.
    pub fn open(&self, place: Place, seed: u64) -> Repository {
        let runtime = Runtime::seeded(seed, self.time.store(), 0);
        let store = match place {
            Place::First(_) => &self.store,
            Place::Second => &self.second,
        };
        let backend = Backend::from_store(Arc::new(store.clone()), &BackendOptions::default(), &runtime);
        Repository::open(backend, runtime, self.options.clone(), self.access(place)).unwrap()
    }

    /// True if the thief signs as this.
    pub fn is_thief(&self, writer: WriterId) -> bool {
        self.thief.is_some_and(|member| match &templates().first.bundles[member].keys {
            BundleKeys::Member { signing, .. } => {
                WriterId::of(&signing.signing_key().verifying_key().to_bytes()) == writer
            }
            BundleKeys::Owner { .. } => false,
        })
    }

    /// Takes the key of a member away; nothing that the thief wrote goes on to count.
    pub fn expel(&self, owner: &Repository, member: usize) -> vault::error::Result<keys::Removed> {
        let slot = self.slot(member);
        match self.thief == Some(member) {
            true => keys::remove_and_drop(owner, slot, WallTime::new(START), &Silent),
            false => keys::remove(owner, slot, &Silent),
        }
    }

    /// The slot of a member, who is not the owner.
    pub fn slot(&self, member: usize) -> ObjectId {
        templates().first.slots[member - 1]
    }

    pub fn grace(&self) -> i64 {
        nanoseconds(self.options.grace)
    }

    pub fn lag(&self) -> i64 {
        nanoseconds(self.store.listing_lag())
    }
}
