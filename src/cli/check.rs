//! `vault check`: looks for damage, and names what needs the damaged parts. Findings go to standard error, so that a
//! quiet check in a crontab is still heard.

use super::printed::printed;
use super::render::Cut;
use super::{Context, Failure, Outcome, Session, code, hint, render};
use std::time::Duration;
use vault::check::{self, Finding, Read, Report};
use vault::repository::Doubt;
use vault::time::parse_duration;
use vault_format::id::ObjectId;

/// Longest line of a finding.
const LINE_MAX: usize = 190;
/// What is left of a problem whatever needs the object.
const PROBLEM_LEAST: usize = 40;
/// Missing snapshots of which the way out is told without -v.
const MISSING_SHOWN: usize = 20;

/// Check that everything that snapshots need is there and reads back
///
/// Without flags structure and presence are looked at; content is read only where a flag says so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault check --read-data-subset 10% --max-age 30d --quiet
  vault check --scrub --repository /mnt/offsite/vault")]
pub struct Arguments {
    /// Read, open and hash every pack too
    #[arg(long)]
    read_data: bool,
    /// Read a part of the packs: n/t (t runs cover all), or 10% or 5GB of those that were verified longest ago
    #[arg(long, value_name = "PART", value_parser = str::parse::<Read>, conflicts_with = "read_data")]
    read_data_subset: Option<Read>,
    /// Do not read packs that the journal says a check or restore verified within this time, like 7d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_age: Option<Duration>,
    /// Also look whether this head, which `vault journal` printed, is there with all that it names
    #[arg(long, value_name = "ID", value_parser = parse_head)]
    head: Option<ObjectId>,
    /// Only compare the name of every object with its bytes: needs no password and no key
    #[arg(long, conflicts_with_all = ["read_data", "read_data_subset", "max_age", "head"])]
    scrub: bool,
}

printed! {
    /// What `vault check` prints.
    struct Checked<'a>(depth: &'a str, objects: Option<u64>, report: &'a Report) {
        /// No damage was found.
        ok: bool = report.findings.is_empty(),
        /// `structure`, `subset`, `data` or `scrub`.
        depth: &'a str = depth,
        /// Objects looked at; null where this depth does not count them, as with all down to `skipped_packs`.
        objects: Option<u64> = objects,
        /// Snapshots looked at.
        snapshots: Option<u64> = objects.is_none().then_some(report.snapshots),
        /// Those of them that are forgotten, and that prune has not deleted yet.
        forgotten: Option<u64> = objects.is_none().then_some(report.forgotten),
        /// Packs that the store lists.
        packs: Option<u64> = objects.is_none().then_some(report.packs),
        /// Blobs that the index tells of.
        blobs: Option<u64> = objects.is_none().then_some(report.blobs),
        /// Packs read and found good.
        verified_packs: Option<u64> = objects.is_none().then_some(report.verified_packs),
        /// Packs left out because they were verified lately.
        skipped_packs: Option<u64> = objects.is_none().then_some(report.skipped_packs),
        /// Stored bytes read.
        read_bytes: u64 = report.read_bytes,
        /// When this machine last looked at the repository; null for never: then what a store hides may not show.
        looked: Option<String> = report.looked.map(render::time_rfc3339),
        /// Damage, each object once.
        findings: Vec<Found<'a>> = report.findings.iter().map(Found::of).collect(),
        /// Things worth knowing that are no damage.
        notes: &'a [String] = &report.notes,
    }

    /// One damaged object.
    struct Found<'a>(finding: &'a Finding) {
        /// Its name.
        object: &'a str = &finding.object,
        /// How the damage showed, at most 20.
        problems: &'a [String] = &finding.problems,
        /// Snapshots and files that need it, as `snapshot:/path`, at most 20.
        affected: &'a [String] = &finding.affected,
        /// How many need it in all.
        affected_count: u64 = finding.affected_count,
    }
}

fn parse_head(text: &str) -> Result<ObjectId, String> {
    ObjectId::parse(text).map_err(|_| "write the 64 digits that `vault journal` printed".into())
}

/// Checks.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    if arguments.scrub {
        return scrub(session);
    }
    let read = match arguments.read_data_subset {
        Some(part) => part,
        // with an age the question is which packs to read, so some are
        None if arguments.read_data || arguments.max_age.is_some() => Read::All,
        None => Read::Nothing,
    };
    let repository = match session.open() {
        Ok(repository) => repository,
        Err(failure) => return unopened(session, failure),
    };
    let options = check::Options { read, head: arguments.head, max_age: arguments.max_age };
    let progress = session.progress("checking").watch(repository.backend());
    let report = progress.during(|progress| check::check(&repository, &options, progress));
    let mut report = report.context("cannot check the repository")?;
    let later = report.later.iter().map(|path| format!("{}{}", Doubt::Later(path.clone()), hint::of_later(path)));
    report.notes.splice(0..0, later);
    let (depth, well) = match read {
        Read::Nothing => ("structure", "no damage found (content was not read)"),
        Read::All => ("data", "no damage"),
        Read::Part { .. } | Read::Percent(_) | Read::Bytes(_) => {
            ("subset", "no damage found (content was read in part)")
        }
    };
    tell(session, depth, None, &report);
    if report.uncounted > 0 && !session.global.verbose {
        let objects = render::count(report.uncounted, "object does", "objects do");
        session.global.remark(&format!("{objects} not count, by whoever made them: -v tells which, and why"));
    }
    session.global.remark(&reach(&report, arguments));
    session.say_requests(&repository);
    let skipped = render::if_any(report.skipped_packs, |skipped| {
        format!(", {} verified lately", render::count(skipped, "pack", "packs"))
    });
    let forgotten = render::if_any(report.forgotten, |forgotten| format!(" ({forgotten} forgotten)"));
    let looked = format!(
        "{}{forgotten}, {}, {}, {} read{skipped}",
        render::count(report.snapshots, "snapshot", "snapshots"),
        render::count(report.packs, "pack", "packs"),
        render::count(report.blobs, "blob", "blobs"),
        render::size(report.read_bytes)
    );
    Ok(end(session, &report, well, &looked))
}

/// How far what was seen can be told from what a store hides.
fn reach(report: &Report, arguments: &Arguments) -> String {
    match report.looked {
        _ if arguments.head.is_some() => "note: what came after the head a store could hide".into(),
        Some(at) => {
            format!("note: what came after {}, when this machine last looked, a store could hide", render::time(at))
        }
        None => {
            "note: this machine has not looked here before, so a store could hide the newest; `vault check --head ID` \
                 compares with a head that `vault journal` printed"
                .into()
        }
    }
}

/// Names against bytes, without a key.
fn scrub(session: &Session) -> Outcome {
    let backend = session.backend(false)?;
    super::exit::probe(&backend)?;
    let progress = session.progress("scrubbing").watch(&backend);
    let scrub = progress.during(|progress| check::scrub(&backend, &session.runtime, progress));
    let scrub = scrub.context("cannot scrub the repository")?;
    let mut report = Report::default();
    (report.findings, report.notes, report.read_bytes) = (scrub.findings, scrub.notes, scrub.read_bytes);
    tell(session, "scrub", Some(scrub.objects), &report);
    let objects = render::count(scrub.objects, "object", "objects");
    let looked = format!("{objects}, {} read", render::size(report.read_bytes));
    Ok(end(session, &report, "every object is what its name says", &looked))
}

/// A repository that damage keeps from opening can still be scrubbed.
fn unopened(session: &Session, failure: Failure) -> Outcome {
    if !failure.is_damage {
        return Err(failure);
    }
    failure.report();
    render::complain("without a key only names and bytes are compared");
    // what keeps it from opening may have the right name
    scrub(session).map(|found| if found == code::DONE { code::FAILED } else { found })
}

/// One line for each finding, the whole of it where more is asked for; then the result as JSON, and notes.
fn tell(session: &Session, depth: &str, objects: Option<u64>, report: &Report) {
    let line = if session.global.verbose { whole } else { short };
    report.findings.iter().for_each(|finding| render::complain(&line(finding)));
    session.global.print(&Checked::of(depth, objects, report));
    session.say_notes(&report.notes);
}

fn whole(finding: &Finding) -> String {
    let mut parts: Vec<String> = finding.problems.iter().map(|problem| super::plain::line(problem)).collect();
    if !finding.affected.is_empty() {
        let more = finding.affected_count.saturating_sub(finding.affected.len() as u64);
        let more = render::if_any(more, |more| format!(" and {more} more"));
        parts.push(format!("needed by {}{more}", finding.affected.join(", ")));
    }
    format!("{}: {}", finding.object, parts.join("; "))
}

/// The same in at most so many characters: how it was noticed first, and one that needs it.
fn short(finding: &Finding) -> String {
    let mut line = format!("{}: ", finding.object);
    let needed = match (finding.affected.as_slice(), finding.affected_count) {
        ([], _) => String::new(),
        ([only], 1) => format!("; needed by {only}"),
        ([first, ..], count) => format!("; needed by {first} and {} more", count - 1),
    };
    let first = super::plain::line(finding.problems.first().map_or("", String::as_str));
    let room = LINE_MAX.saturating_sub(line.chars().count());
    // what it is matters more than who needs it, and that somebody does more than the rest of either
    let needed = render::shorten(&needed, room.saturating_sub(PROBLEM_LEAST.min(first.chars().count())), Cut::End);
    line.push_str(&render::shorten(&first, room.saturating_sub(needed.chars().count()), Cut::End));
    line.push_str(&needed);
    line
}

fn end(session: &Session, report: &Report, well: &str, looked: &str) -> u8 {
    let findings = &report.findings;
    if findings.is_empty() {
        session.say(&format!("{well}: {looked}"));
        return code::DONE;
    }
    let objects = render::count(findings.len() as u64, "object", "objects");
    render::complain(&format!("check found damage in {objects}; looked at {looked}"));
    let shown = if session.global.verbose { usize::MAX } else { MISSING_SHOWN };
    for id in findings.iter().filter_map(|finding| finding.missing).take(shown) {
        render::complain(&super::hint::of_missing(id));
    }
    let mismade: Vec<ObjectId> = findings.iter().filter_map(|finding| finding.mismade).collect();
    mismade.iter().take(shown).for_each(|id| render::complain(&hint::of_mismade(*id)));
    if !session.global.quiet {
        let is_cut = findings.iter().any(|finding| short(finding) != whole(finding)) && !session.global.verbose;
        let rest = if is_cut { "; -v tells all of it" } else { "" };
        match known_losses(findings, &report.repaired) {
            Some(known) => {
                render::complain(&format!("repair has kept what is left, the rest is lost here{rest}"));
                let pairs = known.iter().map(|(id, name)| (id.as_str(), name.as_str()));
                super::repair::ways(pairs).iter().for_each(|line| render::complain(line.trim_start()));
            }
            None if mismade.len() == findings.len() => {}
            None => render::complain(&format!("`vault repair --dry-run` tells what can be brought back{rest}")),
        }
        if let Some(hidden) = report.hidden.first() {
            render::complain(&format!("{hidden}{}", hint::of_hidden(hidden)));
        }
    }
    code::DAMAGE
}

/// The snapshots that need what is damaged, if repair has made a copy of each: then another repair brings back nothing.
fn known_losses<'a>(findings: &[Finding], repaired: &'a [(String, String)]) -> Option<Vec<&'a (String, String)>> {
    let mut known: Vec<&(String, String)> = Vec::new();
    for finding in findings {
        if finding.affected.is_empty() {
            return None;
        }
        for path in &finding.affected {
            let (id, _) = path.split_once(':')?;
            known.push(repaired.iter().find(|(of, _)| of == id)?);
        }
    }
    known.sort();
    known.dedup();
    (!known.is_empty()).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::{known_losses, short, whole};
    use vault::check::Finding;

    #[test]
    fn a_finding_is_one_short_line() {
        let object = format!("packs/d/ab/{}", "ab".repeat(32));
        let long = "/folder".repeat(60);
        let problem = || "its bytes do not match its name".to_owned();
        let finding = |problems: Vec<String>, affected: Vec<String>, affected_count| {
            let mut finding = Finding::default();
            finding.object.clone_from(&object);
            (finding.problems, finding.affected, finding.affected_count) = (problems, affected, affected_count);
            finding
        };
        let table = [
            finding(vec![problem()], Vec::new(), 0),
            finding(vec![problem()], vec!["3f9a02c1:/a".into()], 1),
            finding(vec![problem(), long.clone()], vec!["3f9a02c1:/a".into(), long.clone()], 500),
            finding(vec![long.clone()], vec![long.clone()], 2),
        ];
        for finding in &table {
            let line = short(finding);
            assert!(line.chars().count() <= 190 && line.starts_with(&object), "{line}");
            assert!(line.contains(&finding.problems[0][..30]), "{line}");
            assert_eq!(line.contains("needed by"), finding.affected_count > 0, "{line}");
        }
        assert_eq!(short(&table[1]), whole(&table[1]));
        assert!(short(&table[2]).ends_with("needed by 3f9a02c1:/a and 499 more"), "{}", short(&table[2]));
    }

    #[test]
    fn only_losses_with_a_copy_are_known() {
        let finding = |affected: &[&str]| {
            let mut finding = Finding::default();
            finding.affected = affected.iter().map(|path| (*path).to_owned()).collect();
            finding
        };
        let repaired = [("3f9a02c1".to_owned(), "a".to_owned())];
        let known = |findings: &[Finding]| known_losses(findings, &repaired).map(|known| known.len());
        assert_eq!(known(&[finding(&["3f9a02c1:/x", "3f9a02c1:/y"])]), Some(1));
        assert_eq!(known(&[finding(&["3f9a02c1:/x"]), finding(&["01010101:/x"])]), None);
        assert_eq!(known(&[finding(&["3f9a02c1:/x"]), finding(&[])]), None);
        assert_eq!(known(&[]), None);
    }
}
