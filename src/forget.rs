//! Drops snapshots: those that are named, or those that no rule of a policy keeps, source by source. Only an order is
//! put; data goes with the next prune, and until then `undelete` takes it back. Held snapshots stay, a policy always
//! leaves the newest of each source and writer, and what can't be read is left out and never dropped.

mod forecast;
mod mixture;

use crate::error::{Error, Refusal, Result};
use crate::operation::{Ending, Figures, Operation, Run};
use crate::repository;
pub use crate::repository::objects::arrivals::Late;
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::objects::{orders, pins};
use crate::repository::tree::whole;
use crate::repository::view::View;
use crate::repository::view::address::Asked;
use crate::repository::{Hidden, Repository};
use crate::retention::{self, Candidate, Policy};
use crate::time::WallTime;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use vault_format::id::{DomainId, ObjectId};
use vault_format::mark::SnapshotPlace;
use vault_format::order::Action;

pub use forecast::{Expected, Forecast, Foretold, forecast};

const HELD: &str = "held";

/// How to forget.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Look, but put nothing.
    pub dry_run: bool,
    /// Named snapshots may be the last of their source.
    pub may_empty: bool,
    /// The owner's answer for snapshots whose times are in doubt.
    pub late: Option<Late>,
}

/// What becomes of one snapshot.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Which.
    pub place: SnapshotPlace,
    /// What its domain is called.
    pub domain: String,
    /// Its source.
    pub source: String,
    /// The snapshot of which it is a plain copy, by its first id.
    pub original: Option<ObjectId>,
    /// The time that counts.
    pub time: WallTime,
    /// Its writer claims another time, which is not believed.
    pub late: bool,
    /// Kept, or forgotten.
    pub keep: bool,
    /// In words; never empty.
    pub reasons: Vec<String>,
}

/// A source of which rules make one history, though several folders or hosts took turns in it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Mixed {
    /// The source.
    pub name: String,
    /// Different sets of paths; 0 = all snapshots are of the same.
    pub places: usize,
    /// Hosts; 0 = all snapshots are of the same.
    pub hosts: usize,
}

/// A source that stays as it is until somebody has helped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeftOut {
    /// Its domain.
    pub domain: DomainId,
    /// Its name.
    pub source: String,
    /// Why.
    pub hidden: Hidden,
}

/// What happened.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// By source, then oldest first.
    pub verdicts: Vec<Verdict>,
    /// Sources, as `DOMAIN/NAME`, that have no snapshot after this.
    pub emptied: Vec<String>,
    /// Snapshots that are forgotten though they are missing, and the domain of whoever names them.
    pub missing: Vec<(DomainId, ObjectId)>,
    /// Orders that were put: for each domain one, and one that keeps `copy` from bringing back what came by it.
    pub orders: Vec<ObjectId>,
    /// Snapshots whose times are in doubt. They are kept until the owner has said which time counts.
    pub doubtful: Vec<ObjectId>,
    /// Sources that rules should not take for one history.
    pub mixed: Vec<Mixed>,
    /// Sources that no rule was applied to, since the store does not show an order that may keep a snapshot of them.
    pub left_out: Vec<LeftOut>,
    /// Other notes.
    pub notes: Vec<String>,
}

impl Report {
    /// How many are forgotten.
    pub fn forgotten(&self) -> usize {
        self.verdicts.iter().filter(|verdict| !verdict.keep).count()
    }
}

/// Forgets what no rule keeps, in every source or in some, given as `NAME` or `DOMAIN/NAME`. Needs the owner.
pub fn by_policy<'a>(
    repository: &Repository,
    only: impl IntoIterator<Item = &'a str>,
    (policy, zone): (&Policy, &TimeZone),
    options: &Options,
) -> Result<Report> {
    repository.keys().owner("forget snapshots")?;
    if policy.is_empty() {
        return Err(Error::refused("no rule says what to keep"));
    }
    let only: Vec<&str> = only.into_iter().collect();
    forget(repository, &only.join(" "), options, |catalog| {
        let asked = only.iter().map(|only| one_source(catalog, only)).collect::<Result<Vec<_>>>()?;
        let sources = sources(catalog, |one| asked.is_empty() || asked.iter().any(|asked| asked.fits(one)));
        known_tags(repository, sources.values().flatten().copied(), policy)?;
        judge_all(catalog, &sources, |_| Some((policy, zone)), &BTreeMap::new())
    })
}

/// The rules of a plan.
#[derive(Clone, Debug)]
pub struct PlanRules {
    /// What is kept, by the name of the source; of others all is.
    pub policies: BTreeMap<String, Policy>,
    /// Snapshots that stay whatever the rules say, and why.
    pub spared: BTreeMap<ObjectId, String>,
    /// For days and other periods.
    pub zone: TimeZone,
}

/// Forgets what the rules of a plan do not keep, each source by its own. Needs the owner.
pub fn by_plan(repository: &Repository, rules: &PlanRules, options: &Options) -> Result<Report> {
    repository.keys().owner("forget snapshots")?;
    forget(repository, "", options, |catalog| {
        let sources = sources(catalog, |one| rules.policies.contains_key(&one.head.source));
        let policy = |name: &str| rules.policies.get(name).map(|policy| (policy, &rules.zone));
        judge_all(catalog, &sources, policy, &rules.spared)
    })
}

type Sources<'v> = BTreeMap<(DomainId, &'v str), Vec<&'v SnapshotEntry>>;

/// Visible snapshots that are meant, by source.
fn sources(view: &View, is_meant: impl Fn(&SnapshotEntry) -> bool) -> Sources<'_> {
    let mut sources = Sources::new();
    for snapshot in view.snapshots.visible().filter(|one| is_meant(one)) {
        sources.entry((snapshot.place.domain, &snapshot.head.source)).or_default().push(snapshot);
    }
    sources
}

/// The verdicts on all of them; a source that nobody can judge is left as it is.
fn judge_all<'p>(
    view: &View,
    sources: &Sources<'_>,
    policy: impl Fn(&str) -> Option<(&'p Policy, &'p TimeZone)>,
    spared: &BTreeMap<ObjectId, String>,
) -> Result<Report> {
    let (mut report, hidden) = (Report::default(), view.hidden());
    for ((domain, name), source) in sources {
        let Some((policy, zone)) = policy(name) else { continue };
        if let Some(hidden) = hidden.iter().find(|one| one.concerns(*domain)) {
            report.left_out.push(LeftOut { domain: *domain, source: (*name).to_owned(), hidden: hidden.clone() });
            report.verdicts.extend(source.iter().map(|one| verdict(one, (true, vec![hidden.to_string()]))));
            continue;
        }
        let mut verdicts = judge(view, source, policy, zone)?;
        keeps_something(name, &verdicts)?;
        for one in verdicts.iter_mut().filter(|one| !one.keep) {
            if let Some(why) = spared.get(&one.place.id) {
                (one.keep, one.reasons) = (true, vec![why.clone()]);
            }
        }
        report.mixed.extend(mixture::find(name, source, &verdicts));
        report.verdicts.extend(verdicts);
    }
    Ok(report)
}

/// Only says which time of late snapshots counts; see [`Options::late`]. Needs the owner.
pub fn settle(repository: &Repository, options: &Options) -> Result<Report> {
    repository.keys().owner("settle the times of snapshots")?;
    forget(repository, "", options, |_| Ok(Report::default()))
}

fn settled_note(count: usize, dry_run: bool) -> String {
    let verb = if dry_run { "would be" } else { "is" };
    format!("which time counts {verb} settled for {count} late snapshots")
}

/// Forgets the snapshots whose ids begin with these prefixes. One that is missing, but named by others, so that prune
/// stops, is forgotten by its whole id. Needs the owner.
pub fn by_id(repository: &Repository, ids: &[String], options: &Options) -> Result<Report> {
    repository.keys().owner("forget snapshots")?;
    forget(repository, "", options, |catalog| {
        let (mut chosen, hidden) = (BTreeMap::new(), catalog.hidden());
        let (mut notes, mut missing) = (Vec::new(), Vec::new());
        for id in ids {
            let snapshot = match catalog.snapshots.by_id(id) {
                Err(error @ repository::Error::NoSnapshot(_)) => {
                    missing.push(named_by_others(catalog, id).ok_or(error)?);
                    notes.push(format!("snapshot {id} is missing: prune waits for it no longer"));
                    continue;
                }
                found => found?,
            };
            let short = snapshot.id.short();
            if snapshot.state.is_held() {
                return Err(Error::refused(Refusal::Held(snapshot.id)));
            }
            if let Some(hidden) = hidden.iter().find(|one| one.concerns(snapshot.place.domain)) {
                return Err(repository::Error::Hidden(Box::new(hidden.clone())).into());
            }
            if snapshot.state.is_forgotten() {
                notes.push(format!("snapshot {short} is forgotten already"));
            } else {
                chosen.insert(snapshot.id, snapshot);
            }
        }
        let source_of = |snapshot: &SnapshotEntry| (snapshot.place.domain, snapshot.head.source.clone());
        let stays = |snapshot: &&SnapshotEntry| !chosen.contains_key(&snapshot.id);
        let left: BTreeSet<_> = catalog.snapshots.visible().filter(stays).map(source_of).collect();
        let touched: BTreeSet<_> = chosen.values().map(|snapshot| source_of(snapshot)).collect();
        let emptied: Vec<_> = touched
            .difference(&left)
            .map(|(domain, name)| format!("{}/{name}", catalog.snapshots.domains.show(*domain)))
            .collect();
        if !emptied.is_empty() && !options.may_empty && !options.dry_run {
            let what = emptied.join(", ");
            return Err(Error::refused(format!("that would leave {what} without any snapshot")));
        }
        let mut verdicts: Vec<_> = chosen.values().map(|one| verdict(one, (false, vec!["named".into()]))).collect();
        verdicts.sort_by(|left, right| order_of(left).cmp(&order_of(right)));
        Ok(Report { verdicts, emptied, missing, notes, ..Report::default() })
    })
}

/// A snapshot that is not listed, given its whole id, and the domain of a record or a snapshot that names it.
fn named_by_others(catalog: &View, id: &str) -> Option<(DomainId, ObjectId)> {
    let id = ObjectId::parse(id).ok().filter(|id| !catalog.snapshots.listed.contains(id))?;
    let names_it = |one: &&SnapshotEntry| one.head.seen.contains(&id) || one.head.parent == Some(id);
    let domain = match catalog.snapshots.all.iter().find(names_it) {
        Some(snapshot) => Some(snapshot.place.domain),
        None => catalog.heads.domain_of(&id),
    };
    domain.map(|domain| (domain, id))
}

/// What both ways share: a look at all snapshots, one order for each domain, a record in the journal.
fn forget(
    repository: &Repository,
    source: &str,
    options: &Options,
    decide: impl FnOnce(&View) -> Result<Report>,
) -> Result<Report> {
    let run = Run::start(repository, Operation::FORGET);
    let mut result = View::to_forget(repository).map_err(Error::from).and_then(|mut catalog| {
        if let Some(hidden) = catalog.hidden().into_iter().find(|one| one.member.is_none()) {
            return Err(repository::Error::Hidden(Box::new(hidden)).into());
        }
        let settled = options.late.map(|late| catalog.settle(late));
        let mut report = decide(&catalog)?;
        for verdict in &mut report.verdicts {
            verdict.domain = catalog.snapshots.domains.show(verdict.place.domain);
        }
        report.notes.extend(settled.map(|count| settled_note(count, options.dry_run)));
        report.doubtful = catalog.snapshots.visible().filter(|one| one.doubtful).map(|one| one.id).collect();
        if !options.dry_run {
            pins::pin(repository, &catalog.snapshots)?;
        }
        let damaged = catalog.snapshots.damaged.iter().map(|damage| format!("{} is left out: {damage}", damage.name));
        report.notes.extend(damaged);
        if !options.dry_run && (report.forgotten() > 0 || !report.missing.is_empty()) {
            // before anything is forgotten somebody has to know what is left
            let forgotten = report.verdicts.iter().filter(|verdict| !verdict.keep).map(|verdict| verdict.place.id);
            run.announce(catalog.snapshots.newest(&forgotten.collect()))?;
            put_orders(repository, &mut report)?;
        }
        Ok(report)
    });
    if options.dry_run {
        return result;
    }
    let ending = match &result {
        Ok(report) => {
            let (forgotten, all) = (report.forgotten(), report.verdicts.len());
            let (forgotten_snapshots, kept_snapshots) = (forgotten as u64, (all - forgotten) as u64);
            Ending {
                figures: Figures::Forget { forgotten_snapshots, kept_snapshots },
                ..Ending::done_or_partial(
                    format!("{forgotten} forgotten, {kept_snapshots} kept"),
                    !report.left_out.is_empty(),
                )
            }
        }
        Err(_) => Ending::done(""),
    };
    let warning = run.finish(&result, Ending { source: source.to_owned(), ..ending });
    if let Ok(report) = &mut result {
        report.notes.extend(warning);
    }
    result
}

fn put_orders(repository: &Repository, report: &mut Report) -> Result<()> {
    let mut targets: BTreeMap<DomainId, Vec<ObjectId>> = BTreeMap::new();
    let mut firsts: BTreeMap<DomainId, Vec<ObjectId>> = BTreeMap::new();
    for verdict in report.verdicts.iter().filter(|verdict| !verdict.keep) {
        targets.entry(verdict.place.domain).or_default().push(verdict.place.id);
        firsts.entry(verdict.place.domain).or_default().extend(verdict.original);
    }
    for (domain, id) in &report.missing {
        targets.entry(*domain).or_default().push(*id);
    }
    for (domain, ids) in targets {
        repository.runtime().check_stopped()?;
        // first this one: a snapshot that is there still counts as known
        if let Some(firsts) = firsts.remove(&domain).filter(|firsts| !firsts.is_empty()) {
            report.orders.push(orders::put(repository, domain, Action::Decline(firsts))?);
        }
        report.orders.push(orders::put(repository, domain, Action::Forget(ids))?);
    }
    Ok(())
}

/// Refuses a tag that nothing bears: it was mistyped, and would keep nothing.
fn known_tags<'s>(
    repository: &Repository,
    snapshots: impl Iterator<Item = &'s SnapshotEntry>,
    policy: &Policy,
) -> Result<()> {
    let mut known = BTreeSet::new();
    for snapshot in snapshots.filter(|_| !policy.tags.is_empty()) {
        match tags(repository, snapshot, policy) {
            Ok(tags) => known.extend(tags),
            // it may be the one that bears it, and is kept
            Err(_) => return Ok(()),
        }
    }
    let Some(tag) = policy.tags.iter().find(|tag| !known.contains(*tag)) else { return Ok(()) };
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    let known = if known.is_empty() { "there are no tags".to_owned() } else { format!("there are the tags {known}") };
    Err(Error::refused(format!("no snapshot has the tag {tag:?}; {known}")))
}

/// Refuses rules that keep nothing of a source: that only its newest stays is not what anybody means by them.
fn keeps_something(name: &str, verdicts: &[Verdict]) -> Result<()> {
    let is_dropped = |one: &Verdict| !one.keep && one.reasons.iter().any(|reason| reason == retention::NO_RULE);
    let is_rule = |reason: &String| reason != retention::NEWEST && reason != HELD;
    let by_rule = |one: &Verdict| one.keep && one.reasons.iter().any(is_rule);
    if verdicts.iter().any(is_dropped) && !verdicts.iter().any(by_rule) {
        return Err(Error::refused(Refusal::KeepsNothing(name.to_owned())));
    }
    Ok(())
}

/// What becomes of copies that repair made: they follow what they are copies of, and take nobody's place.
fn judge_copies(view: &View, source: &[&SnapshotEntry], kept: &mut Kept) -> Result<()> {
    // a copy counts behind its original, so that comes first
    for copy in source.iter().filter(|one| !kept.contains_key(&one.id)).collect::<Vec<_>>() {
        let Some(original) = source.iter().find(|one| copy.is_left_of(one)) else { continue };
        let short = original.id.short();
        let verdict = if copy.state.is_held() {
            (true, HELD.to_owned())
        } else if whole::is_whole(view, original)? {
            (false, format!("{short}, of which it is a copy, is whole again"))
        } else {
            match kept.get(&original.id) {
                Some((false, _)) => (false, format!("it goes with {short}, of which it is a copy")),
                _ => (true, format!("what is left of {short}")),
            }
        };
        kept.insert(copy.id, (verdict.0, vec![verdict.1]));
    }
    Ok(())
}

/// What the rules decide on of one source, and what is kept whatever they say.
fn candidates(view: &View, source: &[&SnapshotEntry], policy: &Policy) -> (Vec<Candidate>, Kept) {
    let mut candidates = Vec::new();
    let mut kept = BTreeMap::new();
    for snapshot in source {
        if source.iter().any(|one| snapshot.is_left_of(one)) {
            continue;
        }
        let mut keep = |reason: &str| kept.insert(snapshot.id, (true, vec![reason.to_owned()]));
        // by whichever time: it takes nobody's place until that is settled
        if snapshot.doubtful {
            keep("its time is in doubt");
            continue;
        }
        if snapshot.is_late_and_new() {
            keep("late, and seen for the first time: from now on its arrival counts");
            continue;
        }
        // what only a hold keeps is gone with it, and so takes nobody's place
        if snapshot.state.is_forgotten() {
            keep(HELD);
            continue;
        }
        let tags = match tags(view.repository(), snapshot, policy) {
            Ok(tags) => tags,
            Err(error) => {
                keep(&format!("its tags cannot be read: {error}"));
                continue;
            }
        };
        candidates.push(Candidate {
            id: snapshot.id,
            writer: snapshot.writer(),
            time: snapshot.counted.time,
            tags,
            held: snapshot.state.is_held(),
            expires: snapshot.expires(),
        });
    }
    (candidates, kept)
}

/// Kept or not, and why.
type Kept = BTreeMap<ObjectId, (bool, Vec<String>)>;

/// The verdicts on one source, oldest first.
fn judge(view: &View, source: &[&SnapshotEntry], policy: &Policy, zone: &TimeZone) -> Result<Vec<Verdict>> {
    let (candidates, mut kept) = candidates(view, source, policy);
    let now = view.repository().runtime().clock.now();
    for (candidate, verdict) in candidates.iter().zip(retention::apply(&candidates, policy, now, zone)) {
        kept.insert(candidate.id, (verdict.keep, verdict.reasons));
    }
    verdicts(view, source, kept)
}

/// The verdicts with what follows from them for copies, oldest first.
fn verdicts(view: &View, source: &[&SnapshotEntry], mut kept: Kept) -> Result<Vec<Verdict>> {
    judge_copies(view, source, &mut kept)?;
    let mut verdicts: Vec<Verdict> =
        source.iter().filter_map(|snapshot| Some(verdict(snapshot, kept.remove(&snapshot.id)?))).collect();
    verdicts.sort_by(|left, right| order_of(left).cmp(&order_of(right)));
    Ok(verdicts)
}

/// The tags, read only if a rule asks for them: each costs a read.
fn tags(repository: &Repository, snapshot: &SnapshotEntry, policy: &Policy) -> repository::Result<Vec<String>> {
    if !policy.has_tags() {
        return Ok(Vec::new());
    }
    Ok(snapshot.state.tags(&snapshot.body(repository)?.tags))
}

fn verdict(snapshot: &SnapshotEntry, (keep, reasons): (bool, Vec<String>)) -> Verdict {
    let counted = snapshot.counted;
    let (place, source) = (snapshot.place, snapshot.head.source.clone());
    // what repair made of a snapshot says nothing about that one
    let original = Some(snapshot.first_id()).filter(|first| *first != snapshot.id);
    Verdict { place, domain: String::new(), source, original, time: counted.time, late: counted.late, keep, reasons }
}

fn order_of(verdict: &Verdict) -> (DomainId, &str, WallTime, ObjectId) {
    (verdict.place.domain, &verdict.source, verdict.time, verdict.place.id)
}

/// Refuses a name that means no source, or several.
fn one_source<'t>(catalog: &View, text: &'t str) -> Result<Asked<'t>> {
    let snapshots = &catalog.snapshots;
    let asked = snapshots.source(text)?;
    let domains: BTreeSet<DomainId> =
        snapshots.visible().filter(|one| asked.fits(one)).map(|one| one.place.domain).collect();
    match domains.len() {
        0 => Err(repository::Error::NoSnapshot(text.to_owned()).into()),
        1 => Ok(asked),
        _ => Err(snapshots.ambiguous(text, text, &domains).into()),
    }
}
