//! A repository that can't be reached or opened: nothing can be backed up, and what was told lies where nobody can read
//! it. So this machine remembers by itself whom it told, in a small file beside its locks, until the repository answers
//! again. Where no such file can be kept only pings tell of it: better than a message every few minutes.

use super::Machine;
use crate::alert::{self, Alert, Event, Ping, Pinger, Receivers, Signal, Told};
use crate::plan::Plan;
use crate::runtime::Runtime;
use crate::source;
use crate::time::WallTime;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use vault_format::id::RunId;
use zeroize::Zeroizing;

/// What the alert is about, as if it were an objective of the repository.
const OBJECTIVE: &str = "runs";
/// More was never written there.
const FILE_MAX: u64 = 1 << 20;

/// Why nothing could be run, as far as it is told: the whole reason may hold what a program said that gives the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Nothing is where the repository should be.
    Absent,
    /// It is there, and the password or key is not its own.
    Locked,
    /// It does not answer, or what opens it can't be had.
    Unknown,
}

impl Outage {
    fn words(self) -> &'static str {
        match self {
            Self::Absent => "there is no repository where it should be",
            Self::Locked => "the password or key does not open the repository",
            Self::Unknown => "the repository does not answer, or what opens it can't be read",
        }
    }
}

/// Tells that nothing could be run, or that all can be again: to whoever heard otherwise. Gives what could not be told.
pub fn tell_of_outage(plan: &Plan, machine: &Machine<'_>, runtime: &Runtime, outage: Option<Outage>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(outage) = outage {
        notes.extend(ping(plan, machine, runtime, outage));
    }
    let Some(file) = memory(plan, machine) else { return notes };
    let before = read(&file);
    if outage.is_none() && before.is_empty() {
        return notes;
    }
    let variable = |name: &str| machine.variable(name).map(Zeroizing::new);
    let environment = source::allowed(machine.environment.clone(), |_| false);
    let (receivers, _) = Receivers::of(&plan.alerts, &variable, &environment);
    let since = before.first().map_or(runtime.clock.now(), |told| told.at);
    let round = alert::tell(runtime, &[of(plan, machine, outage, since)], &before, &receivers);
    notes.extend(round.failures);
    let is_over = outage.is_none() && round.told.iter().all(|told| told.missed.is_empty());
    let kept = match (is_over, round.told.is_empty()) {
        (true, _) => fs::remove_file(&file),
        (false, true) => Ok(()),
        (false, false) => write(&file, &worth_keeping(&[before, round.told].concat())),
    };
    notes.extend(kept.err().map(|error| format!("cannot remember in {} what was told: {error}", file.display())));
    notes
}

fn of(plan: &Plan, machine: &Machine<'_>, outage: Option<Outage>, since: WallTime) -> Alert {
    let (event, message) = match outage {
        Some(outage) => (Event::Failed, format!("nothing of {} can be backed up: {}", plan.name, outage.words())),
        None => (Event::Recovered, format!("the repository of {} answers again", plan.name)),
    };
    Alert {
        objective: OBJECTIVE.to_owned(),
        message,
        since: Some(since),
        next: if outage.is_some() { "vault plan check".to_owned() } else { String::new() },
        ..Alert::new(event, &plan.name, &machine.host)
    }
}

fn ping(plan: &Plan, machine: &Machine<'_>, runtime: &Runtime, outage: Outage) -> Option<String> {
    let name = plan.alerts.ping_env.as_ref()?;
    let ping = Ping { name: name.clone(), url: Zeroizing::new(machine.variable(name)?) };
    Pinger::new(runtime, RunId(runtime.random()), alert::PATIENCE).ping(&ping, Signal::Fail, outage.words()).err()
}

/// One for each plan and place: the file, whether it is there or not.
fn memory(plan: &Plan, machine: &Machine<'_>) -> Option<PathBuf> {
    let place = plan.repository.text.as_deref().unwrap_or_default();
    let id = blake3::hash(format!("{}\n{place}", plan.name).as_bytes()).to_hex();
    Some(machine.locks.as_ref()?.join(format!("vault-{}.told", id.get(..16)?)))
}

/// What was told, oldest first. What another user has put there, or what makes no sense, tells nothing.
fn read(file: &Path) -> Vec<Told> {
    let own = rustix::process::geteuid().as_raw();
    let is_own = |found: &fs::Metadata| found.is_file() && found.uid() == own && found.len() < FILE_MAX;
    if !fs::symlink_metadata(file).is_ok_and(|found| is_own(&found)) {
        return Vec::new();
    }
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        let (at, name, fact) = (words.next()?, words.next()?, words.next()?);
        Told::read(WallTime::new(at.parse().ok()?), [(name, fact)]).pop()
    });
    lines.collect()
}

/// The first, which says since when, and of each channel the newest.
fn worth_keeping(all: &[Told]) -> Vec<&Told> {
    let mut known = BTreeSet::new();
    let newest = all.iter().enumerate().rev().filter(|(number, told)| {
        let channels = told.reached.iter().chain(&told.missed);
        channels.filter(|channel| known.insert(*channel)).count() > 0 || *number == 0
    });
    let mut kept: Vec<&Told> = newest.map(|(_, told)| told).collect();
    kept.reverse();
    kept
}

/// In place of what was there: whatever link or file of others has this name is not written through.
fn write(file: &Path, told: &[&Told]) -> std::io::Result<()> {
    let mut text = String::new();
    for told in told {
        for (name, fact) in Told::facts(std::slice::from_ref(*told)) {
            text.push_str(&format!("{} {name} {fact}\n", told.at.nanoseconds()));
        }
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text.as_bytes())?;
    new.persist(file).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::{read, worth_keeping, write};
    use crate::alert::{Alert, Event, Told};
    use crate::time::WallTime;

    fn told(at: i64, reached: &[&str], missed: &[&str]) -> Told {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let alert = Alert::new(Event::Failed, "shop", "web-1");
        Told { at: WallTime::new(at), alert, reached: names(reached), missed: names(missed) }
    }

    #[test]
    fn what_was_told_to_each_is_remembered_however_often_another_could_not_be() {
        let mut all = vec![told(1, &["a"], &["b"]), told(2, &["a"], &[])];
        all.extend((3..300).map(|at| told(at, &[], &["b"])));
        let times: Vec<i64> = worth_keeping(&all).iter().map(|told| told.at.nanoseconds()).collect();
        assert_eq!(times, [1, 2, 299]);
    }

    #[test]
    fn it_is_kept_in_a_file_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, victim) = (folder.path().join("told"), folder.path().join("victim"));
        std::fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, &file).unwrap();
        assert!(read(&file).is_empty());
        let all = [told(1, &["a b"], &[]), told(2, &[], &["c"])];
        write(&file, &all.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(read(&file), all);
        assert_eq!(std::fs::read(victim).unwrap(), b"mine");
        std::fs::write(&file, "no sense\n7 alert:0000 {}\n").unwrap();
        assert!(read(&file).is_empty());
    }
}
