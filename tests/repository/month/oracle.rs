//! What must be, by plain rules and with a memory of its own: which sources are due, what their runs come to, what is
//! kept, whether objectives are met, and who must have heard of it. It asks no part of the engine for any of this.

use super::calendar::{Keep, Shot, begin_of_slot};
use super::script::{DAY, HOUR, MINUTE, Script};
use super::world::Heard;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::ObjectId;
use vault_format::journal::{Record, RunOutcome};

/// How long an objective may be missed by the passing of time alone before somebody looks.
const UNSEEN_MAX: i64 = 15 * MINUTE;

/// A source or a task of the plan.
pub struct Wanted {
    pub name: &'static str,
    pub every: i64,
    pub at: Option<(i8, i8)>,
    /// The newest may be so old.
    pub limit: i64,
    pub keep: Keep,
}

/// One run that has ended.
#[derive(Clone, Debug)]
pub struct Ran {
    pub began: i64,
    pub outcome: RunOutcome,
    pub snapshot: Option<ObjectId>,
    pub bytes: u64,
    pub is_suspect: bool,
    pub is_settled: bool,
}

impl Ran {
    pub fn new(began: i64, outcome: RunOutcome) -> Self {
        Self { began, outcome, snapshot: None, bytes: 0, is_suspect: false, is_settled: false }
    }

    fn is_good(&self) -> bool {
        self.outcome != RunOutcome::Failed
    }
}

/// A trouble that somebody was told of.
#[derive(Clone, Copy, Debug)]
struct Told {
    event: &'static str,
    at: i64,
    since: i64,
}

pub struct Oracle {
    zone: TimeZone,
    sources: Vec<Wanted>,
    tasks: Vec<Wanted>,
    runs: BTreeMap<String, Vec<Ran>>,
    pub shots: BTreeMap<String, BTreeMap<ObjectId, Shot>>,
    told: BTreeMap<(String, &'static str), Told>,
    /// Troubles that have come by the passing of time, and that nobody was told of yet.
    unseen: BTreeMap<(String, &'static str), i64>,
}

fn wanted(name: &'static str, every: i64, limit: i64, keep: Keep) -> Wanted {
    Wanted { name, every, at: None, limit, keep }
}

impl Oracle {
    pub fn new(script: &Script) -> Self {
        let uploads = Keep { days: Some(7), weeks: Some(3), ..Keep::default() };
        let sources = vec![
            wanted("db", HOUR, 2 * HOUR, Keep { hours_of_days: Some(2), days: Some(10), ..Keep::default() }),
            Wanted { at: Some((2, 30)), ..wanted("uploads", DAY, 2 * DAY, uploads) },
            wanted("notes", 12 * HOUR, DAY, Keep { last: 10, ..Keep::default() }),
            wanted("config", 6 * HOUR, 12 * HOUR, Keep { within_days: Some(8), ..Keep::default() }),
            wanted("import", 0, 26 * HOUR, Keep { last: 3, weekly: 2, ..Keep::default() }),
        ];
        let tasks = [("check", 7 * DAY), ("forget", DAY), ("prune", 7 * DAY)];
        let tasks = tasks.map(|(name, every)| wanted(name, every, 0, Keep::default())).into();
        let zone = TimeZone::get(script.zone).unwrap();
        let (runs, shots) = Default::default();
        Self { zone, sources, tasks, runs, shots, told: BTreeMap::new(), unseen: BTreeMap::new() }
    }

    pub fn keep_notes(&mut self, last: usize) {
        self.sources.iter_mut().filter(|one| one.name == "notes").for_each(|one| one.keep.last = last);
    }

    fn of(&self, name: &str) -> &[Ran] {
        self.runs.get(name).map_or(&[], Vec::as_slice)
    }

    fn is_due(&self, one: &Wanted, now: i64) -> bool {
        let runs = self.of(one.name);
        let good = runs.iter().rev().find(|ran| ran.is_good()).map(|ran| ran.began);
        if good.is_some_and(|began| began >= begin_of_slot(&self.zone, one.every, one.at, now)) {
            return false;
        }
        let failed: Vec<i64> = runs.iter().rev().take_while(|ran| !ran.is_good()).map(|ran| ran.began).collect();
        let Some(last) = failed.first() else { return true };
        let mut patience = 10 * MINUTE;
        for _ in 1..failed.len() {
            patience = (patience * 2).min(one.every.min(DAY));
        }
        now >= last + patience
    }

    /// Sources that are due, in the order in which they are taken: sets where their first source stands.
    pub fn due(&self, now: i64) -> Vec<&'static str> {
        let due = self.sources.iter().filter(|one| one.every > 0 && self.is_due(one, now));
        due.map(|one| one.name).collect()
    }

    pub fn tasks_due(&self, now: i64) -> Vec<&'static str> {
        self.tasks.iter().filter(|one| self.is_due(one, now)).map(|one| one.name).collect()
    }

    /// How the run of a source ends.
    pub fn outcome(&self, name: &str, script: &Script, now: i64) -> RunOutcome {
        let newest = self.shots.get(name).and_then(|shots| shots.values().max_by_key(|shot| shot.time));
        let is_same = newest.is_some_and(|shot| shot.state == state(name, script, now));
        match name {
            "db" if script.down.has(now) => RunOutcome::Failed,
            "config" | "uploads" if is_same => RunOutcome::Unchanged,
            _ => RunOutcome::Done,
        }
    }

    /// A run that went as it must: what follows for its size, and what is held because of that.
    pub fn note(&mut self, name: &str, mut ran: Ran, script: &Script) {
        let runs: Vec<&Ran> = self.of(name).iter().filter(|ran| ran.outcome == RunOutcome::Done).collect();
        if ran.outcome == RunOutcome::Done {
            let since = runs.iter().rposition(|ran| ran.is_settled).unwrap_or(0);
            let mut usual: Vec<u64> =
                runs[since..].iter().rev().filter(|ran| !ran.is_suspect).take(7).map(|ran| ran.bytes).collect();
            usual.sort_unstable();
            let is_small = |bytes: u64, of: u64| bytes * 10 < of * 8;
            let median = usual.get(usual.len().saturating_sub(1) / 2).copied().unwrap_or(0);
            let before: Vec<&Ran> = runs.iter().rev().take(2).copied().collect();
            if is_small(ran.bytes, median) {
                let agree =
                    |one: &&Ran| one.is_suspect && !is_small(one.bytes, ran.bytes) && !is_small(ran.bytes, one.bytes);
                ran.is_settled = before.len() == 2 && before.iter().all(agree);
                ran.is_suspect = !ran.is_settled;
            }
            let is_calm = !ran.is_suspect && before.iter().all(|one| !one.is_suspect);
            if ran.is_suspect {
                let good = self.of(name).iter().rev().find(|ran| ran.is_good() && !ran.is_suspect);
                let good = good.and_then(|ran| ran.snapshot);
                let held = good.and_then(|id| self.shots.get_mut(name)?.get_mut(&id));
                held.into_iter().for_each(|shot| shot.is_held = true);
            } else if ran.is_settled || is_calm {
                self.shots.entry(name.into()).or_default().values_mut().for_each(|shot| shot.is_held = false);
            }
            let shot = Shot { time: ran.began, is_held: false, state: state(name, script, ran.began) };
            self.shots.entry(name.into()).or_default().insert(ran.snapshot.unwrap(), shot);
        }
        self.runs.entry(name.into()).or_default().push(ran);
    }

    /// What the newest of a source holds.
    pub fn state_of(&self, name: &str) -> i64 {
        self.shots[name].values().max_by_key(|shot| shot.time).unwrap().state
    }

    pub fn note_task(&mut self, name: &str, now: i64) {
        self.runs.entry(name.into()).or_default().push(Ran::new(now, RunOutcome::Done));
    }

    /// Drops what no rule keeps.
    pub fn forget(&mut self, now: i64) {
        for one in &self.sources {
            let Some(shots) = self.shots.get_mut(one.name) else { continue };
            let kept = one.keep.kept(&self.zone, shots, now);
            shots.retain(|id, _| kept.contains(id));
        }
    }

    /// What a run that was cut off has done, as the records and the snapshots show that are there.
    pub fn adopt(
        &mut self,
        now: i64,
        records: &[Record],
        there: &BTreeMap<String, BTreeMap<ObjectId, bool>>,
        script: &Script,
    ) {
        let dropped =
            |of: &Self| -> BTreeSet<ObjectId> { of.shots.values().flat_map(|shots| shots.keys()).copied().collect() };
        let before = dropped(self);
        for (name, ids) in there.iter().filter(|(name, _)| *name != "vault-plan") {
            let shots = self.shots.entry(name.clone()).or_default();
            shots.retain(|id, _| ids.contains_key(id));
            for (id, is_held) in ids {
                let state = state(name, script, now);
                let new = Shot { time: now, is_held: false, state };
                shots.entry(*id).or_insert(new).is_held = *is_held;
            }
        }
        let is_gone = |id: &ObjectId| !there.values().any(|ids| ids.contains_key(id));
        let gone: Vec<ObjectId> = before.into_iter().filter(is_gone).collect();
        assert!(gone.is_empty() || self.tasks_due(now).contains(&"forget"), "{gone:?} went, and nothing was to go");
        for record in records.iter().filter(|one| one.source != "vault-plan") {
            let is_task = self.tasks.iter().any(|task| task.name == record.operation);
            let name = if is_task { &record.operation } else { &record.source };
            if !is_task && record.operation != "snapshot" {
                continue;
            }
            let due = [self.due(now), self.tasks_due(now)].concat();
            assert!(due.contains(&name.as_str()), "{name} was not due: {record:?}");
            let has = |name: &str| record.facts.iter().any(|(known, _)| known == name);
            let bytes = record.figures.iter().find(|(name, _)| name == "read_bytes").map_or(0, |(_, bytes)| *bytes);
            let ran = Ran {
                snapshot: record.snapshot,
                bytes,
                is_suspect: has("suspect"),
                is_settled: has("accepted"),
                ..Ran::new(now, record.outcome)
            };
            self.runs.entry(name.clone()).or_default().push(ran);
        }
    }

    /// Of each objective whether it is missed, as what that is told, and since when.
    fn objectives(&self, now: i64) -> BTreeMap<(String, &'static str), Option<(&'static str, i64)>> {
        let mut all = BTreeMap::new();
        for one in &self.sources {
            let (runs, shots) = (self.of(one.name), self.shots.get(one.name));
            let key = |aim: &'static str| (one.name.to_owned(), aim);
            let is_there =
                |ran: &&Ran| ran.snapshot.is_some_and(|id| shots.is_some_and(|shots| shots.contains_key(&id)));
            let good = runs.iter().rev().filter(|ran| ran.is_good()).find(is_there).map(|ran| ran.began);
            let too_old = match good {
                None => Some(("missed", 0)),
                Some(good) => (now - good > one.limit).then_some(("missed", good + one.limit)),
            };
            all.insert(key("rpo"), too_old);
            let Some(_) = runs.last() else { continue };
            let failed = runs.iter().rev().take_while(|ran| !ran.is_good()).last();
            all.insert(key("runs"), failed.map(|ran| ("failed", ran.began)));
            let taken = || runs.iter().rev().filter(|ran| ran.outcome == RunOutcome::Done);
            if taken().next().is_some() {
                let suspect = taken().take_while(|ran| ran.is_suspect).last();
                all.insert(key("size"), suspect.map(|ran| ("suspect", ran.began)));
            }
            if runs.iter().any(Ran::is_good) {
                all.insert(key("duration"), None);
            }
        }
        for aim in ["check", "clock", "chain"] {
            all.insert((String::new(), aim), None);
        }
        all
    }

    /// The same as health says it.
    pub fn judged(&self, now: i64) -> BTreeSet<(String, &'static str, bool)> {
        self.objectives(now).into_iter().map(|((source, aim), trouble)| (source, aim, trouble.is_none())).collect()
    }

    /// Compares what was heard with what must be: troubles once, again after a day, and their ends once. `is_noted` says
    /// whether the run could note what it told.
    pub fn hear(&mut self, now: i64, heard: &[Heard], is_noted: bool, context: &str) {
        let mut left: Vec<&Heard> = heard.iter().collect();
        for ((source, aim), trouble) in self.objectives(now) {
            let key = (source.clone(), aim);
            let told = self.told.get(&key).copied();
            let news = match (trouble, told) {
                (None, None) => None,
                (None, Some(_)) => Some("recovered"),
                (Some((event, _)), None) => Some(event),
                (Some((event, since)), Some(told)) => {
                    let is_another = event != told.event || since > told.at && since > told.since;
                    (is_another || now >= told.at + DAY - 10 * MINUTE).then_some(event)
                }
            };
            let Some(event) = news else {
                self.unseen.remove(&key);
                continue;
            };
            let is_it = |one: &&Heard| one.event == event && one.source == source && one.objective == aim;
            let Some(at) = left.iter().position(is_it) else {
                let first = *self.unseen.entry(key).or_insert(now);
                let by_time_alone = aim == "rpo" && source == "import" && told.is_none();
                assert!(by_time_alone && now - first <= UNSEEN_MAX, "{context}: nobody heard {event} {source} {aim}");
                continue;
            };
            left.remove(at);
            self.unseen.remove(&key);
            if is_noted {
                self.told.remove(&key);
                self.told.extend(trouble.map(|(event, since)| (key, Told { event, at: now, since })));
            }
        }
        assert!(left.is_empty(), "{context}: nobody should have heard {left:?}; told before: {:?}", self.told);
    }
}

fn state(name: &str, script: &Script, now: i64) -> i64 {
    match name {
        "uploads" => script.uploads(now),
        "config" => script.config(now),
        _ => now,
    }
}
