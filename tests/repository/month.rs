//! A month of a plan that one timer carries out every five minutes: the real engine, a store in memory, and a clock that
//! the test moves. At each tick an oracle that shares no code with the engine says what must have been taken, kept, told
//! and judged.

mod audit;
mod calendar;
mod oracle;
mod script;
mod world;

use audit::Deed;
use oracle::{Oracle, Ran};
use script::{DAY, Dice, HOUR, Script, TICK};
use vault::run::{Outcome, Report};
use vault_format::journal::RunOutcome;
use world::{Cut, Heard, World, cut};

/// Who the timer runs as; it gives no reason.
const TIMER: (&str, &str) = ("backup@shop-1", "");
/// In how many ticks at which something is due the host dies.
const DEATHS: i64 = 20;

struct Month {
    seed: u64,
    script: Script,
    dice: Dice,
    world: World,
    oracle: Oracle,
    /// When the next delivery comes.
    delivery: i64,
    /// When somebody restores something.
    restore: i64,
    /// What was done, as those remember it who did it.
    deeds: Vec<Deed>,
    /// Somebody was told that the store is out of reach.
    is_out: bool,
    deaths: u32,
    is_edited: bool,
    is_moved: bool,
}

impl Month {
    fn new(seed: u64, days: i64) -> Self {
        let mut dice = Dice::new(seed);
        let script = Script::new(seed, &mut dice, days);
        let (world, oracle) = (World::new(seed, &script), Oracle::new(&script));
        let (delivery, restore) = (script.begin + HOUR, script.begin + DAY);
        let (deaths, deeds, is_out, is_edited, is_moved) = Default::default();
        Self { seed, script, dice, world, oracle, delivery, restore, deeds, is_out, deaths, is_edited, is_moved }
    }

    fn note(&mut self, now: i64, (operation, source): (&str, &str), outcome: RunOutcome, (who, why): (&str, &str)) {
        let [operation, source, who, why] = [operation, source, who, why].map(str::to_owned);
        self.deeds.push((now, operation, source, outcome.name().to_owned(), who, why));
    }

    fn play(&mut self) {
        println!("seed {}: {:?}", self.seed, self.script);
        let mut now = self.script.begin;
        let mut number = 0;
        while now < self.script.end {
            self.world.set(now);
            self.happen(now);
            if !self.script.is_off(now) {
                self.tick(now);
                if number % 12 == 0 {
                    self.compare(now);
                }
            }
            number += 1;
            // the timer is never early, and a busy machine is late
            now = self.script.begin + number * TICK + self.dice.between(0, 45);
        }
        let context = self.context(now);
        assert!(self.is_edited && self.is_moved && self.deaths > 2, "{context}: {} deaths", self.deaths);
        audit::read_by_a_stranger(&self.world, &self.deeds, &context);
        audit::forged(&self.world, &mut self.dice, &context);
    }

    fn context(&self, now: i64) -> String {
        let time = jiff::Timestamp::from_second(now).unwrap();
        format!("seed {}, {time}, {} s after the begin", self.seed, now - self.script.begin)
    }

    /// What others do at that time.
    fn happen(&mut self, now: i64) {
        if now >= self.delivery && !self.script.unreachable.has(now) {
            self.delivery += DAY;
            if !self.script.forgotten.has(now) {
                let id = self.world.import(now);
                let bytes = format!("delivery of {now}\n").len() as u64;
                let ran = Ran { snapshot: Some(id), bytes, ..Ran::new(now, RunOutcome::Done) };
                self.oracle.note("import", ran, &self.script);
                self.note(now, ("snapshot", "import"), RunOutcome::Done, ("import@desk", "it was delivered"));
            }
        }
        if now >= self.restore && !self.script.unreachable.has(now) {
            self.restore += 4 * DAY;
            let state = self.oracle.state_of("config");
            let wanted = format!("state {state}\n").into_bytes();
            assert_eq!(self.world.restore("config"), wanted, "{}", self.context(now));
            self.note(now, ("restore", "config"), RunOutcome::Done, ("admin@desk", "a customer asked"));
        }
        if now >= self.script.moved && !self.is_moved {
            self.is_moved = true;
            self.world.forget_machine();
        }
        if now >= self.script.edited && !self.is_edited {
            self.is_edited = true;
            self.world.write_plan(5);
            self.oracle.keep_notes(5);
        }
    }

    fn tick(&mut self, now: i64) {
        let due = self.oracle.due(now);
        self.world.prepare(&self.script, now, &|name| due.contains(&name));
        let context = self.context(now);
        if self.script.unreachable.has(now) {
            assert!(self.world.tick(Cut::Unreachable).is_err(), "{context}");
            let told = if self.is_out { Vec::new() } else { vec![of_the_store("failed")] };
            self.is_out = true;
            assert_eq!(self.world.listen(), told, "{context}");
            return;
        }
        let is_busy = !due.is_empty() || !self.oracle.tasks_due(now).is_empty();
        if is_busy && self.dice.one_in(DEATHS) {
            return self.die(now, &context);
        }
        let report = self.world.tick(Cut::Never).unwrap_or_else(|error| panic!("{context}: {error}"));
        self.expect(now, &report, &context);
        let mut heard = self.world.listen();
        if std::mem::take(&mut self.is_out) {
            let at = heard.iter().position(|one| *one == of_the_store("recovered"));
            heard.remove(at.unwrap_or_else(|| panic!("{context}: nobody heard that the store is back: {heard:?}")));
        }
        self.oracle.hear(now, &heard, true, &context);
    }

    /// The host dies at some write; what it did till then is there.
    fn die(&mut self, now: i64, context: &str) {
        self.deaths += 1;
        let cut = cut(&mut self.dice);
        let context = format!("{context}, {cut:?}");
        // what the dying process would have said nobody hears
        let _ = self.world.tick(cut);
        let (records, there) = (self.world.records_of(now, TIMER.0), self.world.snapshots());
        self.oracle.adopt(now, &records, &there, &self.script);
        for one in records.iter().filter(|one| audit::DEEDS.contains(&one.operation.as_str())) {
            if one.source != "vault-plan" {
                self.note(now, (&one.operation, &one.source), one.outcome, TIMER);
            }
        }
        let heard = self.world.listen();
        if !heard.is_empty() {
            let is_noted = records.iter().any(|record| record.operation == "alert");
            self.oracle.hear(now, &heard, is_noted, &context);
        }
    }

    /// What was due was taken, with the outcome that it must have, and nothing else.
    fn expect(&mut self, now: i64, report: &Report, context: &str) {
        let wanted: Vec<(String, Outcome)> = self
            .oracle
            .due(now)
            .into_iter()
            .map(|name| {
                let outcome = match self.oracle.outcome(name, &self.script, now) {
                    RunOutcome::Failed => Outcome::Failed,
                    RunOutcome::Unchanged => Outcome::Unchanged,
                    _ => Outcome::Done,
                };
                (name.to_owned(), outcome)
            })
            .collect();
        let taken: Vec<(String, Outcome)> = report.sources.iter().map(|one| (one.name.clone(), one.outcome)).collect();
        assert_eq!(taken, wanted, "{context}: {report:?}");
        let tasks = self.oracle.tasks_due(now);
        let done: Vec<&str> =
            report.maintenance.iter().map(|one| one.task.as_str()).filter(|task| *task != "plan").collect();
        assert_eq!(done, tasks, "{context}: {report:?}");
        assert!(report.maintenance.iter().all(|task| task.outcome == Outcome::Done), "{context}: {report:?}");
        assert!(report.notes.is_empty(), "{context}: {report:?}");
        for one in &report.sources {
            let outcome = match one.outcome {
                Outcome::Failed => RunOutcome::Failed,
                Outcome::Unchanged => RunOutcome::Unchanged,
                _ => RunOutcome::Done,
            };
            let ran = Ran { snapshot: one.snapshot, bytes: one.bytes, ..Ran::new(now, outcome) };
            self.oracle.note(&one.name, ran, &self.script);
            self.note(now, ("snapshot", &one.name), outcome, TIMER);
        }
        for task in tasks {
            if task == "forget" {
                self.oracle.forget(now);
            }
            self.oracle.note_task(task, now);
            self.note(now, (task, ""), RunOutcome::Done, TIMER);
        }
        if done.contains(&"forget") {
            self.compare(now);
        }
    }

    /// What is there, and what health says of it.
    fn compare(&mut self, now: i64) {
        let context = self.context(now);
        let mut there = self.world.snapshots();
        let plans = there.remove("vault-plan").map_or(0, |plans| plans.len());
        assert!(plans <= 1 + usize::from(self.is_edited), "{context}: {plans} plans");
        for (name, there) in there {
            let kept: std::collections::BTreeMap<_, _> =
                self.oracle.shots[&name].iter().map(|(id, shot)| (*id, shot.is_held)).collect();
            assert_eq!(there, kept, "{context}: {name}");
        }
        assert_eq!(self.world.judged(), self.oracle.judged(now), "{context}");
    }
}

/// What is told of the store itself.
fn of_the_store(event: &str) -> Heard {
    Heard { event: event.into(), source: String::new(), objective: "runs".into() }
}

#[test]
fn a_timer_does_what_an_oracle_says() {
    // VAULT_TEST_MONTHS=100 plays so many whole months, each of another seed; else there are six days
    let months = std::env::var("VAULT_TEST_MONTHS").ok().map(|months| months.parse::<u64>().unwrap());
    match months {
        Some(months) => (0..months).for_each(|seed| Month::new(seed, 31).play()),
        None => Month::new(0, 6).play(),
    }
}
