//! A machine with a clock that the test moves, a store in memory, five sources of five kinds, and a receiver of alerts
//! that writes down what it is told. Each tick is a process of its own.

use super::script::{Dice, Script};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use testkit::faulty::{Failure, Fault, Faulty, Mode};
use testkit::simulated::Simulated;
use testkit::world::{backend, init, records};
use vault::backend::{ErrorKind, Operation};
use vault::health::{self, Known, Seen, Status};
use vault::history::History;
use vault::plan::{self, Plan};
use vault::progress::Silent;
use vault::repository::{Access, Actor, Options, Repository};
use vault::retention::TimeZone;
use vault::run::{self, Machine, Report};
use vault::runtime::{Clock, Runtime};
use vault::{backup, keys, list, restore};
use vault_format::bundle::{Bundle, Role};
use vault_format::id::ObjectId;
use vault_format::journal::{Record, RunOutcome};

const SECOND: i64 = 1_000_000_000;
/// Shorter waits are for programs, which run in real time.
const POLL_MAX: Duration = Duration::from_millis(100);

/// One message of one alert, as it arrived.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Heard {
    pub event: String,
    pub source: String,
    pub objective: String,
}

/// How a tick is cut off.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Never,
    /// The host dies at this write.
    At(u64, Mode),
    /// Nothing reaches the store.
    Unreachable,
}

pub struct World {
    time: Arc<AtomicI64>,
    pub store: Simulated,
    folder: tempfile::TempDir,
    zone: TimeZone,
    plan: Plan,
    bundle: Bundle,
    seed: u64,
    caches: u64,
    heard: usize,
    states: BTreeMap<&'static str, String>,
}

impl World {
    pub fn new(seed: u64, script: &Script) -> Self {
        let time = Arc::new(AtomicI64::new(script.begin * SECOND));
        let store = Simulated::new(Clock::Manual(time.clone()), Duration::ZERO, seed);
        let folder = tempfile::tempdir().unwrap();
        let repository = init(store.clone(), &Runtime::seeded(seed, Clock::Manual(time.clone()), 0));
        let owner = keys::NewKey { role: Role::Owner, label: None, domain: None };
        let bundle = keys::draft(&repository, &owner).unwrap().bundle;
        for name in ["uploads", "scratch", "locks"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        rusqlite::Connection::open(folder.path().join("notes.db"))
            .and_then(|notes| notes.execute_batch("create table notes (text text); pragma journal_mode = wal;"))
            .unwrap();
        let zone = TimeZone::get(script.zone).unwrap();
        let (caches, heard, states) = (0, 0, BTreeMap::new());
        let plan = plan::parse(Path::new("vault.toml"), "").unwrap();
        let mut world = Self { time, store, folder, zone, plan, bundle, seed, caches, heard, states };
        world.write_plan(10);
        world
    }

    /// The plan, which keeps so many notes.
    pub fn write_plan(&mut self, notes: u32) {
        let alerts = self.path("alerts");
        let text = format!(
            r#"name = "shop"
[source.db]
kind = "command"
command = ["cat", "db.sql"]
every = "1h"
rpo = "2h"
keep = {{ hourly = "2d", daily = "10d" }}
skip_if_unchanged = false
set = "shop"
[source.uploads]
kind = "directory"
paths = ["uploads"]
at = "02:30"
every = "1d"
keep = {{ daily = "7d", weekly = "3w" }}
set = "shop"
[source.notes]
kind = "sqlite"
path = "notes.db"
every = "12h"
keep = {{ last = {notes} }}
[source.config]
kind = "command"
command = ["cat", "config.txt"]
every = "6h"
keep = {{ within = "8d" }}
[source.import]
kind = "stdin"
rpo = "26h"
keep = {{ weekly = 2, last = 3 }}
[maintenance]
check = {{ every = "7d", read_data = "100%" }}
forget = {{ every = "1d" }}
prune = {{ every = "7d" }}
[alerts]
command = ["tee", "-a", "{}"]
"#,
            alerts.display()
        );
        let path = self.path("vault.toml");
        fs::write(&path, &text).unwrap();
        self.plan = plan::parse(&path, &text).unwrap_or_else(|error| panic!("{error}"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn set(&self, now: i64) {
        self.time.store(now * SECOND, Ordering::SeqCst);
    }

    pub fn forget_machine(&mut self) {
        self.caches += 1;
    }

    fn clock(&self) -> Clock {
        let time = self.time.clone();
        let wait = move |length: Duration| {
            if length <= POLL_MAX {
                std::thread::sleep(Duration::from_micros(300));
            } else {
                time.fetch_add(length.as_nanos().try_into().unwrap(), Ordering::SeqCst);
            }
        };
        Clock::Steered(self.time.clone(), Arc::new(wait))
    }

    /// Another process each time.
    fn open(&mut self, store: Faulty, (actor, reason): (&str, &str)) -> vault::repository::Result<Repository> {
        self.seed += 1_000;
        let runtime = Runtime::seeded(self.seed, self.clock(), 0);
        let actor = Actor { name: actor.into(), reason: reason.into() };
        let options = Options { actor, ..Options::default() };
        let access = Access::Bundle(Box::new(self.bundle.clone()));
        Repository::open(backend(store, &runtime), runtime, options, access)
    }

    fn machine(&self) -> Machine<'static> {
        Machine {
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            host: "shop-1".into(),
            user: "backup".into(),
            locks: Some(self.path("locks")),
            scratch: self.path("scratch"),
            zone: self.zone.clone(),
            open_copy: &|_| Err("there is no second place".into()),
        }
    }

    /// Makes the files what they are at that time.
    pub fn prepare(&mut self, script: &Script, now: i64, is_due: &dyn Fn(&str) -> bool) {
        let write = |name: &str, text: &str| fs::write(self.folder.path().join(name), text).unwrap();
        if is_due("db") {
            match script.dump(now) {
                Some(dump) => write("db.sql", &dump),
                None => drop(fs::remove_file(self.path("db.sql"))),
            }
        }
        if is_due("notes") {
            let notes = rusqlite::Connection::open(self.path("notes.db")).unwrap();
            notes.execute("insert into notes values (?1)", [now]).unwrap();
        }
        for (name, file, state) in
            [("uploads", "uploads/newest", script.uploads(now)), ("config", "config.txt", script.config(now))]
        {
            let state = format!("state {state}\n");
            if is_due(name) && self.states.get(name) != Some(&state) {
                write(file, &state);
                self.states.insert(name, state);
            }
        }
    }

    /// One start of the timer. An error comes back as text: nobody is there to see more of it.
    pub fn tick(&mut self, cut: Cut) -> Result<Report, String> {
        let faulty = Faulty::new(Arc::new(self.store.clone()));
        match cut {
            Cut::Never => {}
            Cut::At(operation_number, mode) => faulty.plan(Fault { operation_number, mode, then_dead: true }),
            Cut::Unreachable => {
                for operation in [Operation::Put, Operation::Get, Operation::Stat, Operation::List, Operation::Delete] {
                    faulty.fail(Failure { operation, nth: 1, from_then_on: true, kind: ErrorKind::Unreachable });
                }
            }
        }
        let report = self.run(faulty);
        // who is dead tells nobody
        if !matches!(cut, Cut::At(..)) {
            let runtime = Runtime::seeded(self.seed, self.clock(), 0);
            let notes = run::tell_of_outage(
                &self.plan,
                &self.machine(),
                &runtime,
                report.as_ref().err().map(|_| run::Outage::Unknown),
            );
            assert!(notes.is_empty(), "{notes:?}");
        }
        report
    }

    fn run(&mut self, store: Faulty) -> Result<Report, String> {
        let repository = self.open(store, ("backup@shop-1", "")).map_err(|error| error.to_string())?;
        repository.use_cache(&self.path(&format!("cache-{}", self.caches))).unwrap();
        let options = run::Options::default();
        run::run(&repository, &self.plan, &self.machine(), &options, &Silent).map_err(|error| error.to_string())
    }

    /// What arrived since the last time that somebody asked.
    pub fn listen(&mut self) -> Vec<Heard> {
        let text = fs::read_to_string(self.path("alerts")).unwrap_or_default();
        let new = text[self.heard..].to_owned();
        self.heard = text.len();
        let messages = new.lines().map(|line| serde_json::from_str(line).unwrap());
        let each = messages.flat_map(|message: Value| match message["alerts"].as_array() {
            Some(many) => many.clone(),
            None => vec![message],
        });
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let heard = |one: Value| Heard {
            event: text(&one["event"]),
            source: text(&one["source"]),
            objective: text(&one["objective"]),
        };
        each.map(heard).collect()
    }

    fn plain(&mut self) -> Repository {
        self.open(Faulty::new(Arc::new(self.store.clone())), ("auditor@desk", "audit")).unwrap()
    }

    /// Somebody else hands over what is imported.
    pub fn import(&mut self, now: i64) -> ObjectId {
        let store = Faulty::new(Arc::new(self.store.clone()));
        let repository = self.open(store, ("import@desk", "it was delivered")).unwrap();
        let text = format!("delivery of {now}\n");
        let mut input = text.as_bytes();
        let source = backup::Source::Stream(&mut input, b"import".to_vec());
        let options = backup::Options { name: "import".into(), ..backup::Options::default() };
        backup::backup(&repository, source, &options, &Silent).unwrap().snapshot.unwrap()
    }

    /// Snapshots that are there, by source: which are held.
    pub fn snapshots(&mut self) -> BTreeMap<String, BTreeMap<ObjectId, bool>> {
        let view = list::snapshots(&self.plain()).unwrap();
        let mut all: BTreeMap<String, BTreeMap<ObjectId, bool>> = BTreeMap::new();
        for one in view.snapshots.visible() {
            all.entry(one.head.source.clone()).or_default().insert(one.id, one.state.is_held());
        }
        all
    }

    /// Records of somebody's runs that began at this moment and have ended.
    pub fn records_of(&mut self, now: i64, actor: &str) -> Vec<Record> {
        let all = records(&self.plain()).into_iter();
        let is_of = |one: &Record| one.started / SECOND == now && one.actor == actor;
        all.filter(|one| is_of(one) && one.outcome != RunOutcome::Begun).collect()
    }

    /// What health says: each objective of each source, and whether it is met.
    pub fn judged(&mut self) -> BTreeSet<(String, &'static str, bool)> {
        let repository = self.plain();
        let history = History::read(&repository).unwrap();
        let seen = Seen::of(&repository, &history, Some(&self.plan)).unwrap();
        let now = repository.runtime().clock.now();
        let judged = health::judge(&Known { plan: Some(&self.plan), history: &history, seen, now });
        let plain = |one: health::Objective| (one.source, one.aim.name(), one.status == Status::Met);
        judged.into_iter().map(plain).collect()
    }

    /// Somebody restores the newest of a source, and says why.
    pub fn restore(&mut self, name: &str) -> Vec<u8> {
        let store = Faulty::new(Arc::new(self.store.clone()));
        let repository = self.open(store, ("admin@desk", "a customer asked")).unwrap();
        let view = list::snapshots(&repository).unwrap();
        let entry = view.snapshots.visible().rfind(|one| one.head.source == name).unwrap();
        let target = self.path(&format!("restored-{}", self.seed));
        let address = vault::repository::Address::new(&view, entry, b"");
        let report = restore::restore(&repository, &address, &target, &restore::Options::default(), &Silent).unwrap();
        assert!(report.failed.is_empty(), "{report:?}");
        let file = fs::read_dir(target).unwrap().next().unwrap().unwrap().path();
        fs::read(file).unwrap()
    }

    /// For a program of its own.
    pub fn key_file(&self) -> Vec<u8> {
        vault_format::key_file::encode(&self.bundle).unwrap().to_vec()
    }
}

/// A write at which a host dies.
pub fn cut(dice: &mut Dice) -> Cut {
    let mode = if dice.one_in(2) { Mode::NotApplied } else { Mode::AppliedUnacknowledged };
    Cut::At(dice.between(1, 14).unsigned_abs(), mode)
}
