//! One simulated world: a store with its lag, processes of all roles that each run a program of operations, and the
//! truth about what was acknowledged. Programs come from the seed; each operation is a process of its own that opens
//! the repository, and may die at any call.

use crate::baton::{Baton, Log};
use crate::schedule::{Odds, Schedule, Time, Turn, below, chance, one_of};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use vault::backend::simulated::Simulated;
use vault::backend::{Backend, BackendOptions, Store};
use vault::progress::Silent;
use vault::repository::journal::Actor as Who;
use vault::repository::{Access, NewRepository, Options, Repository, Rule, orders};
use vault::runtime::{Clock, Runtime};
use vault::{backup, check, list, prune, restore, undelete};
use vault_format::id::ObjectId;
use vault_format::name::Name;
use vault_format::order::Action;
use vault_format::secret::{Bundle, Key, Role};
use vault_format::slot::{self, KDF_FLOOR, NewSlot};

pub const SECOND: i64 = 1_000_000_000;
pub const MINUTE: i64 = 60 * SECOND;
/// Any time will do: 2026-01-01.
const START: i64 = 1_767_225_600 * SECOND;
const WINDOW: i64 = 10 * MINUTE;
const CLOCK_ERROR: i64 = MINUTE;

/// A new repository with an owner, two clients of one domain, and two writers of their own domains.
struct Template {
    objects: BTreeMap<String, Vec<u8>>,
    bundles: Vec<Bundle>,
}

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let clock = Time::new(START, &[]).store();
        let store = Simulated::new(clock.clone(), Duration::ZERO, 0);
        let runtime = Runtime::seeded(0, clock, 0);
        let backend = Backend::from_store(Arc::new(store.clone()), &BackendOptions::default(), &runtime);
        let new = NewRepository { kdf: KDF_FLOOR, ..NewRepository::new(b"password") };
        let repository = Repository::init(backend, runtime.clone(), Options::default(), new).unwrap();
        let owner = repository.keys().owner("make members").unwrap();
        let config = repository.keys().config();
        let mut bundles = vec![owner.bundle(config)];
        let members = [("team", Role::Client), ("team", Role::Client), ("host", Role::Writer), ("cron", Role::Writer)];
        for (domain, role) in members {
            let signing = Key::new(runtime.random());
            let verifying = signing.signing_key().verifying_key().to_bytes();
            let domain = owner.domain(domain);
            let bundle = owner.member_bundle(config, domain, signing, role).unwrap();
            let new = NewSlot { bundle: &bundle, label: String::new(), created: START, domain, verifying };
            let sealed = slot::seal(&new, None, &runtime.random(), repository.keys().signer()).unwrap();
            store.put(&Name::Slot(ObjectId::of(&sealed)).to_string(), &sealed).unwrap();
            bundles.push(bundle);
        }
        Template { objects: store.objects(), bundles }
    })
}

/// Streams that share long parts.
fn content(choice: &[usize]) -> Vec<u8> {
    static PARTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let parts = PARTS.get_or_init(|| {
        let noise = |seed| {
            let mut bytes = vec![0; 90_000];
            ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
            bytes
        };
        (0..4).map(noise).collect()
    });
    choice.iter().map(|part| parts[*part].as_slice()).collect::<Vec<_>>().concat()
}

/// What has to hold, whatever happens.
#[derive(Default)]
pub struct Truth {
    /// Snapshots whose runs said that they are taken.
    pub acknowledged: BTreeMap<ObjectId, Vec<u8>>,
    /// Snapshots that an order may have forgotten.
    pub forgotten: BTreeSet<ObjectId>,
    /// Orders to forget a snapshot that were begun and that were put, and when the last one was.
    forgettings: BTreeMap<ObjectId, (u32, u32, i64)>,
    /// Snapshots that were held before anybody forgot them.
    pub held: BTreeSet<ObjectId>,
    /// What happened, for the totals.
    pub totals: Totals,
}

impl Truth {
    /// From here on an order to forget them may be there, acknowledged or not.
    fn forget(&mut self, ids: &[ObjectId]) {
        self.forgotten.extend(ids);
        ids.iter().for_each(|id| self.forgettings.entry(*id).or_default().0 += 1);
    }

    fn has_forgotten(&mut self, ids: &[ObjectId], now: i64) {
        for id in ids {
            let (_, put, at) = self.forgettings.entry(*id).or_default();
            (*put, *at) = (*put + 1, now);
        }
    }
}

/// What happened in one world, or in many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub commits: u64,
    pub failures: u64,
    pub packs_deleted: u64,
    pub rescued: u64,
    pub restores: u64,
    pub late: u64,
    pub undeleted: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.commits += other.commits;
        self.failures += other.failures;
        self.packs_deleted += other.packs_deleted;
        self.rescued += other.rescued;
        self.restores += other.restores;
        self.late += other.late;
        self.undeleted += other.undeleted;
    }
}

/// One operation of a program.
#[derive(Clone, Debug)]
enum Step {
    Pause(i64),
    Snapshot(&'static str, Vec<usize>),
    Mark,
    Sweep,
    Forget,
    ForgetOld,
    Undelete,
    Hold,
    Release,
    Restore,
    Check,
}

/// One world.
pub struct World {
    pub store: Simulated,
    pub time: Time,
    pub options: Options,
    pub log: Arc<Log>,
    pub truth: Mutex<Truth>,
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap()
}

impl World {
    fn new(random: &mut ChaCha20Rng, actors: usize, broken: Option<Rule>) -> Self {
        let lag = one_of(random, &[0, 0, MINUTE, 10 * MINUTE]);
        let bound = 2 * (WINDOW + 2 * lag + CLOCK_ERROR);
        let grace = bound + one_of(random, &[1, MINUTE, 60 * MINUTE]);
        let skews: Vec<i64> =
            (0..actors).map(|_| one_of(random, &[0, 0, 0, grace, -grace, 5 * grace, -5 * grace])).collect();
        let time = Time::new(START, &skews);
        let duration = |time: i64| Duration::from_nanos(u64::try_from(time).unwrap());
        let store = Simulated::new(time.store(), duration(lag), random.next_u64());
        for (name, bytes) in &template().objects {
            store.put(name, bytes).unwrap();
        }
        time.advance(lag);
        let options = Options {
            commit_window: duration(WINDOW),
            listing_lag: Some(duration(lag)),
            clock_error: duration(CLOCK_ERROR),
            grace: duration(grace),
            memory_bytes: 1 << 20,
            verify_seals: false,
            broken,
            ..Options::default()
        };
        Self { store, time, options, log: Arc::default(), truth: Mutex::default() }
    }

    /// Opens the repository with the key of a member, without any baton.
    pub fn open(&self, member: usize, seed: u64) -> Repository {
        let runtime = Runtime::seeded(seed, self.time.store(), 0);
        let backend = Backend::from_store(Arc::new(self.store.clone()), &BackendOptions::default(), &runtime);
        let access = Access::Bundle(Box::new(template().bundles[member].clone()));
        let options = Options { broken: None, ..self.options.clone() };
        Repository::open(backend, runtime, options, access).unwrap()
    }

    pub fn grace(&self) -> i64 {
        nanoseconds(self.options.grace)
    }

    pub fn lag(&self) -> i64 {
        nanoseconds(self.store.listing_lag())
    }
}

/// A process's place in the world: who it is, and its turn.
struct Actor<'w> {
    world: &'w World,
    member: usize,
    clock: Clock,
    turn: Arc<Mutex<Turn>>,
    random: ChaCha20Rng,
    /// The process that goes on from one operation to the next, while it lives.
    process: Option<(Arc<Baton>, Repository)>,
}

impl Actor<'_> {
    fn run(mut self, program: &[Step]) {
        for step in program {
            if let Step::Pause(time) = step {
                self.turn.lock().unwrap().sleep(Duration::from_nanos(u64::try_from(*time).unwrap()));
                continue;
            }
            if self.step(step).is_err() {
                self.world.truth.lock().unwrap().totals.failures += 1;
            }
        }
    }

    fn step(&mut self, step: &Step) -> vault::error::Result<()> {
        let ended = chance(&mut self.random, 5_000);
        let (baton, repository) = match self.process.take().filter(|(baton, _)| !ended && !baton.is_dead()) {
            Some(process) => process,
            None => self.start()?,
        };
        let done = self.operation((&repository, &baton), step);
        self.process = Some((baton, repository));
        done
    }

    fn start(&mut self) -> vault::error::Result<(Arc<Baton>, Repository)> {
        let runtime = Runtime::seeded(self.random.next_u64(), self.clock.clone(), 0);
        let window = nanoseconds(self.world.options.commit_window);
        let (store, time, log) = (self.world.store.clone(), self.world.time.clone(), self.world.log.clone());
        let baton = Arc::new(Baton::new(store, self.turn.clone(), time, window, log));
        let backend = Backend::from_store(baton.clone(), &BackendOptions::default(), &runtime);
        let access = Access::Bundle(Box::new(template().bundles[self.member].clone()));
        let repository = Repository::open(backend, runtime, self.world.options.clone(), access)?;
        Ok((baton, repository))
    }

    fn operation(&mut self, (repository, baton): (&Repository, &Baton), step: &Step) -> vault::error::Result<()> {
        let truth = || self.world.truth.lock().unwrap();
        match step {
            Step::Pause(_) => {}
            Step::Snapshot(name, choice) => {
                let bytes = content(choice);
                let source = backup::Source::Stream(&mut bytes.as_slice(), b"dump".to_vec());
                let options = backup::Options { name: (*name).into(), ..backup::Options::default() };
                let report = backup::backup(repository, source, &options, &Silent)?;
                truth().totals.commits += 1;
                truth().acknowledged.insert(report.snapshot.unwrap(), bytes);
            }
            Step::Mark => drop(prune::mark(repository, &prune::Options::default())?),
            Step::Sweep => {
                let report = prune::sweep(repository)?;
                truth().totals.packs_deleted += report.packs;
                truth().totals.rescued += report.rescued_blobs;
            }
            Step::ForgetOld => self.forget_old(repository)?,
            Step::Forget => self.order(repository, |id| Action::Forget(vec![id]))?,
            Step::Undelete => self.undelete(repository, baton)?,
            Step::Hold => self.order(repository, |id| Action::Hold(vec![id]))?,
            Step::Release => self.order(repository, |id| Action::Release(vec![id]))?,
            Step::Restore => self.restore(repository)?,
            Step::Check => drop(check::check(repository, &check::Options::default(), &Silent)?),
        }
        Ok(())
    }

    /// Gives an order about a random snapshot that commands show.
    fn order(&mut self, repository: &Repository, action: impl Fn(ObjectId) -> Action) -> vault::error::Result<()> {
        let catalog = list::snapshots(repository)?;
        let visible: Vec<_> = catalog.snapshots.visible().collect();
        if visible.is_empty() {
            return Ok(());
        }
        let (id, domain) =
            one_of(&mut self.random, &visible.iter().map(|one| (one.id, one.place.domain)).collect::<Vec<_>>());
        let action = action(id);
        let truth = || self.world.truth.lock().unwrap();
        match &action {
            Action::Forget(ids) => truth().forget(ids),
            Action::Release(_) => drop(truth().held.remove(&id)),
            _ => {}
        }
        let is_hold = matches!(action, Action::Hold(_));
        let was_forgotten = truth().forgotten.contains(&id);
        orders::put(repository, domain, action.clone())?;
        if let Action::Forget(ids) = &action {
            truth().has_forgotten(ids, self.world.time.now());
        }
        if is_hold && !was_forgotten && !truth().forgotten.contains(&id) {
            truth().held.insert(id);
        }
        Ok(())
    }

    /// Forgets all but the newest of each source, as a policy would.
    fn forget_old(&self, repository: &Repository) -> vault::error::Result<()> {
        let catalog = list::snapshots(repository)?;
        let mut newest = BTreeSet::new();
        let mut old: BTreeMap<_, Vec<ObjectId>> = BTreeMap::new();
        for snapshot in catalog.snapshots.visible().rev() {
            if !newest.insert((snapshot.place.domain, snapshot.place.label)) {
                old.entry(snapshot.place.domain).or_default().push(snapshot.id);
            }
        }
        for (domain, ids) in old {
            self.world.truth.lock().unwrap().forget(&ids);
            orders::put(repository, domain, Action::Forget(ids.clone()))?;
            self.world.truth.lock().unwrap().has_forgotten(&ids, self.world.time.now());
        }
        Ok(())
    }

    /// Takes a random snapshot back. Only if nobody else forgets it meanwhile, and the order to forget it was listed for
    /// sure, the outcome is certain.
    fn undelete(&mut self, repository: &Repository, baton: &Baton) -> vault::error::Result<()> {
        let catalog = list::snapshots(repository)?;
        let forgotten: Vec<_> = catalog.snapshots.all.iter().filter(|one| !one.is_visible()).collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        let snapshot = one_of(&mut self.random, &forgotten);
        let id = snapshot.id;
        let truth = || self.world.truth.lock().unwrap();
        let before = truth().forgettings.get(&id).copied();
        let started = self.world.time.now();
        let result = undelete::undelete(repository, &id.to_string(), &Who::default());
        if result.is_err() && baton.has_late_order() {
            self.world.log.late.lock().unwrap().insert(snapshot.name().to_string());
        }
        let report = result?;
        let is_certain = before.is_some_and(|(begun, put, at)| begun == put && started - at > self.world.lag());
        let mut truth = truth();
        truth.totals.undeleted += 1;
        if report.snapshot == id && is_certain && truth.forgettings.get(&id).copied() == before {
            truth.forgotten.remove(&id);
        }
        if let Some(bytes) = truth.acknowledged.get(&id).filter(|_| report.is_copy).cloned() {
            truth.acknowledged.insert(report.snapshot, bytes);
        }
        Ok(())
    }

    fn restore(&mut self, repository: &Repository) -> vault::error::Result<()> {
        let known: Vec<ObjectId> = self.world.truth.lock().unwrap().acknowledged.keys().copied().collect();
        if known.is_empty() {
            return Ok(());
        }
        let id = one_of(&mut self.random, &known);
        let catalog = list::snapshots(repository)?;
        let snapshot = catalog.snapshots.by_id(&id.to_string())?;
        let mut out = Vec::new();
        restore::restore_to(repository, (&catalog, snapshot), b"", false, &mut out, &Silent)?;
        let mut truth = self.world.truth.lock().unwrap();
        assert!(truth.acknowledged[&id] == out, "snapshot {id} gave wrong bytes");
        truth.totals.restores += 1;
        Ok(())
    }
}

fn pause(random: &mut ChaCha20Rng, grace: i64) -> Step {
    Step::Pause(one_of(random, &[SECOND, MINUTE, grace / 3, grace]))
}

fn writer_program(random: &mut ChaCha20Rng, grace: i64) -> Vec<Step> {
    let mut program = Vec::new();
    for _ in 0..2 + below(random, 4) {
        let choice = one_of(random, &[vec![0, 1], vec![0, 1, 2], vec![3], vec![3, 1]]);
        program.extend([pause(random, grace), Step::Snapshot(one_of(random, &["app", "web"]), choice)]);
    }
    program
}

fn owner_program(random: &mut ChaCha20Rng, grace: i64) -> Vec<Step> {
    let mut program = Vec::new();
    for _ in 0..1 + below(random, 3) {
        let before = [
            Step::Forget,
            Step::ForgetOld,
            Step::ForgetOld,
            Step::Undelete,
            Step::Hold,
            Step::Release,
            Step::Restore,
            Step::Check,
        ];
        for _ in 0..below(random, 4) {
            program.extend([pause(random, grace), one_of(random, &before)]);
        }
        let wait = one_of(random, &[SECOND, grace / 2, grace + MINUTE, grace + MINUTE]);
        program.extend([Step::Mark, Step::Pause(wait)]);
        if chance(random, 3_000) {
            program.extend([Step::Undelete, pause(random, grace)]);
        }
        program.push(Step::Sweep);
        if chance(random, 3_000) {
            program.extend([pause(random, grace), Step::Sweep]);
        }
    }
    program
}

/// A writer whose content comes and goes against an owner who prunes all the time: what one run relies on is often
/// just what another condemns.
fn duel(random: &mut ChaCha20Rng, grace: i64) -> Vec<(usize, Vec<Step>)> {
    let breath = |random: &mut ChaCha20Rng| Step::Pause(one_of(random, &[0, SECOND, MINUTE, grace / 4]));
    let (mut writer, mut owner) = (Vec::new(), Vec::new());
    for round in 0..4 + below(random, 3) {
        let choice = if round % 2 == 0 { vec![0, 1] } else { vec![3] };
        writer.extend([breath(random), Step::Snapshot("app", choice)]);
    }
    for _ in 0..3 {
        let wait = one_of(random, &[0, grace / 2, grace, grace + MINUTE]);
        owner.extend([breath(random), Step::ForgetOld, Step::Mark]);
        if chance(random, 4_000) {
            owner.push(Step::Undelete);
        }
        owner.extend([Step::Pause(wait), Step::Sweep]);
    }
    let member = usize::try_from(below(random, 5)).unwrap();
    let mut programs = vec![(member, writer), (0, owner.clone())];
    if chance(random, 3_000) {
        programs.push((0, owner));
    }
    programs
}

fn odds(random: &mut ChaCha20Rng, grace: i64) -> Odds {
    Odds {
        stay: one_of(random, &[0, 5_000, 9_000]),
        suspend: one_of(random, &[50, 200, 500]),
        crash: one_of(random, &[0, 0, 0, 50]),
        fail: one_of(random, &[0, 0, 0, 50]),
        mislist: one_of(random, &[0, 0, 500]),
        step: one_of(random, &[SECOND, 10 * SECOND, MINUTE]),
        naps: vec![WINDOW + MINUTE, grace / 2, grace + MINUTE, grace + grace / 4, 3 * grace],
    }
}

/// Lives through one seed.
pub fn live(seed: u64, broken: Option<Rule>) -> World {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let is_duel = chance(&mut random, 5_000);
    let (writers, owners) = (1 + below(&mut random, 3), 1 + below(&mut random, 2));
    let world = World::new(&mut random, 6, broken);
    let odds = odds(&mut random, world.grace());
    let mut programs = Vec::new();
    for _ in 0..writers {
        let member = usize::try_from(below(&mut random, 5)).unwrap();
        programs.push((member, writer_program(&mut random, world.grace())));
    }
    for _ in 0..owners {
        programs.push((0, owner_program(&mut random, world.grace())));
    }
    if is_duel {
        programs = duel(&mut random, world.grace());
    }
    let (schedule, turns) = Schedule::new(programs.len(), world.time.clone(), odds, ChaCha20Rng::seed_from_u64(!seed));
    std::thread::scope(|scope| {
        for (number, ((member, program), turn)) in programs.iter().zip(turns).enumerate() {
            let (clock, random) = (world.time.actor(number), ChaCha20Rng::seed_from_u64(random.next_u64()));
            let actor = Actor {
                world: &world,
                member: *member,
                clock,
                turn: Arc::new(Mutex::new(turn)),
                random,
                process: None,
            };
            scope.spawn(move || actor.run(program));
        }
        schedule.run();
    });
    let late = world.log.late.lock().unwrap().len() as u64;
    world.truth.lock().unwrap().totals.late = late;
    world
}
