//! Who does what in a world: each actor runs a program of operations, each of them as a process that opens the
//! repository, may go on to the next operation, and may die at any call. What it is told goes into the truth.

use crate::baton::{Baton, Life};
use crate::liar;
use crate::schedule::{Turn, chance, one_of};
use crate::world::{Place, World, content};
use jiff::tz::TimeZone;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::rules::{Rule, drop_marks};
use vault::backend::{Backend, BackendOptions, Store};
use vault::error::Result;
use vault::plan::Delta;
use vault::progress::Silent;
use vault::repository::objects::orders;
use vault::repository::{Address, Repository};
use vault::retention::Policy;
use vault::runtime::{Clock, Runtime};
use vault::{backup, check, copy, forget, list, prune, repair, restore, tag, undelete};
use vault_format::id::{DomainId, ObjectId};
use vault_format::order::Action;

/// One operation of a program.
#[derive(Clone, Debug)]
pub enum Step {
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
    /// All of prune: sweep, repack, mark, merged indexes, old marks.
    Prune,
    Tag,
    /// One of these members loses its key.
    Revoke(&'static [usize]),
    Repair,
    Copy,
    /// The same in the second repository.
    ForgetOldCopies,
    PruneCopies,
    /// Whose key was stolen.
    Lie,
}

/// A process's place in the world: who it is, and its turn.
pub struct Actor<'w> {
    pub world: &'w World,
    pub member: usize,
    /// It does nothing but take snapshots.
    pub is_writer: bool,
    pub clock: Clock,
    pub turn: Arc<Mutex<Turn>>,
    pub random: ChaCha20Rng,
    /// How often, in 10,000 operations, its process ends.
    pub ends: u32,
    /// The process that goes on from one operation to the next, while it lives.
    pub process: Option<(Arc<Baton>, Repository)>,
}

impl Actor<'_> {
    pub fn run(mut self, program: &[Step]) {
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

    fn step(&mut self, step: &Step) -> Result<()> {
        let ended = chance(&mut self.random, self.ends);
        let (baton, repository) = match self.process.take().filter(|(baton, _)| !ended && !baton.is_dead()) {
            Some(process) => process,
            None => self.start(Place::First(self.member), &Life::default())?,
        };
        let done = self.operation((&repository, &baton), step);
        self.process = Some((baton, repository));
        done
    }

    fn start(&mut self, place: Place, life: &Life) -> Result<(Arc<Baton>, Repository)> {
        let runtime = Runtime::seeded(self.random.next_u64(), self.clock.clone(), 0);
        let baton = Arc::new(Baton::new(self.world, place, self.turn.clone(), life.clone()));
        let (mut store, mut options): (Arc<dyn Store>, _) = (baton.clone(), self.world.options.clone());
        if let Some(rule) = self.world.broken {
            store = rule.store(store, self.is_writer);
            options = rule.options(options, self.is_writer);
        }
        let backend = Backend::from_store(store, &BackendOptions::default(), &runtime);
        let repository = Repository::open(backend, runtime, options, self.world.access(place))?;
        Ok((baton, repository))
    }

    fn operation(&mut self, (repository, baton): (&Repository, &Baton), step: &Step) -> Result<()> {
        let truth = || self.world.truth.lock().unwrap();
        match step {
            Step::Pause(_) => {}
            Step::Snapshot(name, choice) => {
                let delta = self.world.delta;
                let version = if delta == Delta::Never { 0 } else { truth().totals.commits % 6 };
                let bytes = content(choice, u8::try_from(version).unwrap());
                let source = backup::Source::Stream(&mut bytes.as_slice(), b"dump".to_vec());
                let options = backup::Options { name: (*name).into(), delta, ..backup::Options::default() };
                let report = backup::backup(repository, source, &options, &Silent)?;
                let (id, now) = (report.snapshot.unwrap(), self.world.time.now());
                let mut truth = truth();
                truth.totals.commits += 1;
                truth.authors.insert(id, (self.member, now));
                truth.acknowledged.insert(id, bytes);
            }
            Step::Mark => drop(prune::mark(repository, &self.prune_options())?),
            Step::Sweep => {
                let swept = prune::sweep(repository, &self.prune_options());
                self.close(repository)?;
                let report = swept?;
                truth().totals.packs_deleted += report.packs;
                truth().totals.rescued += report.rescued_blobs;
            }
            Step::Prune => self.prune(repository)?,
            Step::Tag => self.tag(repository)?,
            Step::Revoke(members) => self.revoke(repository, members)?,
            Step::Repair => self.repair(repository)?,
            Step::Copy => {
                let (_, second) = self.start(Place::Second, baton.life())?;
                self.copy(repository, &second)?;
            }
            Step::ForgetOldCopies => {
                let (_, second) = self.start(Place::Second, baton.life())?;
                self.forget_old(&second)?;
            }
            Step::PruneCopies => {
                let (_, second) = self.start(Place::Second, baton.life())?;
                self.prune(&second)?;
            }
            Step::ForgetOld => self.forget_old(repository)?,
            Step::Forget => self.forget_one(repository)?,
            Step::Undelete => self.undelete(repository, baton)?,
            Step::Hold => self.hold(repository, true)?,
            Step::Release => self.hold(repository, false)?,
            Step::Restore => self.restore(repository)?,
            Step::Lie => liar::lie(repository, &mut self.random)?,
            Step::Check => drop(check::check(repository, &check::Options::default(), &Silent)?),
        }
        Ok(())
    }

    fn prune(&mut self, repository: &Repository) -> Result<()> {
        let max_unused = prune::Unused::Thousandths(one_of(&mut self.random, &[0, 100]));
        let merge_at = one_of(&mut self.random, &[2, 8]);
        let options = prune::Options { max_unused, merge_at, ..self.prune_options() };
        let pruned = prune::prune(repository, &options, &Silent);
        self.close(repository)?;
        let report = pruned?;
        let mut truth = self.world.truth.lock().unwrap();
        truth.totals.packs_deleted += report.swept.packs;
        truth.totals.rescued += report.swept.rescued_blobs;
        truth.totals.merged += report.marked.figures.merged_packs;
        Ok(())
    }

    fn prune_options(&self) -> prune::Options {
        let without_snapshots = self.world.broken == Some(Rule::DoubtListings);
        prune::Options { without_snapshots, ..prune::Options::default() }
    }

    /// Whatever else came of it: what was carried out may be so in part.
    fn close(&self, repository: &Repository) -> Result<()> {
        if self.world.broken == Some(Rule::KeepMarks) {
            drop_marks(repository)?;
        }
        Ok(())
    }

    fn tag(&mut self, repository: &Repository) -> Result<()> {
        let Some((id, _)) = self.any_visible(repository)? else { return Ok(()) };
        let id = id.to_string();
        let change = tag::Change { add: vec!["kept".into()], remove: Vec::new(), hold: None, expire: Some(None) };
        tag::tag(repository, &id, &|_| None, &change)?;
        Ok(())
    }

    fn revoke(&mut self, repository: &Repository, members: &[usize]) -> Result<()> {
        let member = one_of(&mut self.random, members);
        let now = self.world.time.now();
        self.world.truth.lock().unwrap().revoked.entry(member).or_insert((now, false));
        self.world.expel(repository, member)?;
        let mut truth = self.world.truth.lock().unwrap();
        truth.revoked.entry(member).or_default().1 = true;
        truth.totals.revoked += 1;
        Ok(())
    }

    /// Nothing is damaged here, so that repair has nothing to give up but what a thief made up.
    fn repair(&self, repository: &Repository) -> Result<()> {
        let report = repair::repair(repository, None, &repair::Options::default(), &Silent)?;
        let mut truth = self.world.truth.lock().unwrap();
        let is_sound = match self.world.thief {
            Some(_) => !report.lost.iter().any(|lost| truth.acknowledged.contains_key(&lost.snapshot)),
            None => report.lost_blobs == 0 && report.lost.is_empty(),
        };
        assert!(is_sound || !self.world.log.late.lock().unwrap().is_empty(), "repair gives up {:?}", report.lost);
        truth.totals.repaired += 1;
        Ok(())
    }

    fn copy(&self, from: &Repository, to: &Repository) -> Result<()> {
        let report = copy::copy(from, to, &copy::Options::default(), &Silent)?;
        let mut truth = self.world.truth.lock().unwrap();
        truth.totals.copied += report.copied.len() as u64;
        for copied in report.copied {
            if let (Some(bytes), Some(copy)) = (truth.acknowledged.get(&copied.source).cloned(), copied.copy) {
                truth.copied.insert(copy, bytes);
            }
        }
        Ok(())
    }

    /// Holds a random snapshot, or releases it.
    fn hold(&mut self, repository: &Repository, is_hold: bool) -> Result<()> {
        let Some((id, domain)) = self.any_visible(repository)? else { return Ok(()) };
        let truth = || self.world.truth.lock().unwrap();
        if !is_hold {
            truth().release(id, self.world.time.now());
            let done = orders::put(repository, domain, Action::Release(vec![id]));
            truth().release(id, self.world.time.now());
            return Ok(done.map(drop)?);
        }
        let was_forgotten = truth().forgotten.contains(&id);
        let started = self.world.time.now();
        orders::put(repository, domain, Action::Hold(vec![id]))?;
        let mut truth = truth();
        // of two at the same time either may be the last word
        let is_alone = truth.released.get(&id).is_none_or(|at| started - at > self.world.lag());
        if is_alone && !was_forgotten && !truth.forgotten.contains(&id) {
            truth.held.insert(id);
        }
        Ok(())
    }

    /// Forgets all but the newest of each source.
    fn forget_old(&self, repository: &Repository) -> Result<()> {
        let policy = Policy { last: Some(1), ..Policy::default() };
        let options = forget::Options::default();
        self.forget(|| forget::by_policy(repository, None, (&policy, &TimeZone::UTC), &options))
    }

    /// Forgets a random snapshot that commands show.
    fn forget_one(&mut self, repository: &Repository) -> Result<()> {
        let Some((id, _)) = self.any_visible(repository)? else { return Ok(()) };
        let options = forget::Options { may_empty: true, ..forget::Options::default() };
        self.forget(|| forget::by_id(repository, &[id.to_string()], &options))
    }

    /// Whatever is known may be forgotten until this tells what was.
    fn forget(&self, run: impl FnOnce() -> Result<forget::Report>) -> Result<()> {
        let doubted = self.world.truth.lock().unwrap().doubt();
        let result = run();
        let mut truth = self.world.truth.lock().unwrap();
        match result {
            Ok(report) => {
                let done = report.verdicts.iter().filter(|one| !one.keep).map(|one| one.place.id);
                // what a listing hides can be forgotten too
                let done = done.chain(report.missing.iter().map(|(_, id)| *id)).collect();
                truth.settle(&doubted, &done, self.world.time.now());
                Ok(())
            }
            Err(error) => {
                truth.doubt();
                // what nobody has acknowledged yet may be forgotten too
                truth.forgotten.extend(self.world.snapshots());
                Err(error)
            }
        }
    }

    fn any_visible(&mut self, repository: &Repository) -> Result<Option<(ObjectId, DomainId)>> {
        let catalog = list::snapshots(repository)?;
        let visible: Vec<_> = catalog.snapshots.visible().map(|one| (one.id, one.place.domain)).collect();
        Ok((!visible.is_empty()).then(|| one_of(&mut self.random, &visible)))
    }

    /// Takes a random snapshot back. Only if nobody else forgets it meanwhile, and the order to forget it was listed for
    /// sure, the outcome is certain.
    fn undelete(&mut self, repository: &Repository, baton: &Baton) -> Result<()> {
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
        let result = undelete::undelete(repository, &id.to_string());
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

    fn restore(&mut self, repository: &Repository) -> Result<()> {
        let known: Vec<ObjectId> = self.world.truth.lock().unwrap().acknowledged.keys().copied().collect();
        if known.is_empty() {
            return Ok(());
        }
        let id = one_of(&mut self.random, &known);
        let catalog = list::snapshots(repository)?;
        let snapshot = catalog.snapshots.by_id(&id.to_string())?;
        let mut out = Vec::new();
        restore::restore_to(repository, &Address::new(&catalog, snapshot, b""), false, &mut out, &Silent)?;
        let mut truth = self.world.truth.lock().unwrap();
        assert!(truth.acknowledged[&id] == out, "snapshot {id} gave wrong bytes");
        truth.totals.restores += 1;
        Ok(())
    }
}
