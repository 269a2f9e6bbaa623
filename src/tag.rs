//! Changes what the owner says of one snapshot: tags, a hold, the time when it expires. Each change is an order; the
//! snapshot itself never changes. A forgotten snapshot is refused: a hold would promise data that prune may have
//! condemned, and only `undelete` looks at that.

use crate::error::{Error, Refusal, Result};
use crate::operation::{Ending, Operation, Run};
use crate::repository::Repository;
use crate::repository::objects::orders;
use crate::repository::objects::orders::Orders;
use crate::repository::view::View;
use crate::time::WallTime;
use vault_format::id::ObjectId;
use vault_format::order::Action;

/// What changes.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Tags to add.
    pub add: Vec<String>,
    /// Tags to remove.
    pub remove: Vec<String>,
    /// Hold, or release.
    pub hold: Option<bool>,
    /// When it expires; `Some(None)` = never.
    pub expire: Option<Option<WallTime>>,
}

impl Change {
    /// Refuses a change that says nothing, or makes no sense.
    pub fn check(&self) -> Result<()> {
        let Self { add, remove, hold, expire } = self;
        let refuse = |why: String| Err(Error::refused(why));
        if add.is_empty() && remove.is_empty() && hold.is_none() && expire.is_none() {
            return refuse("nothing says what to change".into());
        }
        if add.iter().chain(remove).any(String::is_empty) {
            return refuse("a tag can't be empty".into());
        }
        match add.iter().find(|tag| remove.contains(tag)) {
            Some(tag) => refuse(format!("the tag {tag} can't be added and removed at once")),
            None => Ok(()),
        }
    }
}

/// The snapshot after the change.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Which.
    pub snapshot: ObjectId,
    /// Its source.
    pub source: String,
    /// All its tags.
    pub tags: Vec<String>,
    /// It is held.
    pub held: bool,
    /// When it expires.
    pub expires: Option<WallTime>,
    /// Orders that were put.
    pub orders: Vec<ObjectId>,
    /// Other notes.
    pub notes: Vec<String>,
}

/// Changes the snapshot that an address means; `at` parses the time behind its `@`. Needs the owner.
pub fn tag(
    repository: &Repository,
    address: &str,
    at: &dyn Fn(&str) -> Option<WallTime>,
    change: &Change,
) -> Result<Report> {
    repository.keys().owner("tag a snapshot")?;
    change.check()?;
    let run = Run::start(repository, Operation::TAG);
    let mut result = apply(repository, address, at, change);
    let ending = match &result {
        Ok(report) => Ending {
            source: report.source.clone(),
            snapshot: Some(report.snapshot),
            ..Ending::done(said(report, change))
        },
        Err(_) => Ending::done(""),
    };
    let warning = run.finish(&result, ending);
    if let Ok(report) = &mut result {
        report.notes.extend(warning);
    }
    result
}

fn apply(
    repository: &Repository,
    address: &str,
    at: &dyn Fn(&str) -> Option<WallTime>,
    change: &Change,
) -> Result<Report> {
    let catalog = View::to_decide(repository)?;
    let snapshot = catalog.snapshots.find(address, at)?;
    let id = snapshot.id;
    if snapshot.state.is_forgotten() {
        return Err(Error::refused(Refusal::Forgotten(id)));
    }
    let mut report = Report {
        snapshot: id,
        source: snapshot.head.source.clone(),
        tags: snapshot.state.tags(&snapshot.body(repository)?.tags),
        held: change.hold.unwrap_or(snapshot.state.is_held()),
        expires: change.expire.unwrap_or(snapshot.expires()),
        orders: Vec::new(),
        notes: Vec::new(),
    };
    report.tags.retain(|tag| !change.remove.contains(tag));
    report.tags.extend(change.add.iter().cloned());
    report.tags.sort();
    report.tags.dedup();
    for action in actions(id, change) {
        report.orders.push(orders::put(repository, snapshot.place.domain, action)?);
    }
    // what somebody else forgot meanwhile may be condemned by now, held or not
    if Orders::load(repository)?.state(id).is_forgotten() {
        return Err(Error::refused(Refusal::ForgottenMeanwhile(id)));
    }
    Ok(report)
}

/// One order for each kind of change; the hold comes first, since it is what keeps the snapshot.
fn actions(id: ObjectId, change: &Change) -> impl Iterator<Item = Action> {
    let hold = change.hold.map(|hold| if hold { Action::Hold(vec![id]) } else { Action::Release(vec![id]) });
    let expire = change.expire.map(|time| Action::Expire(vec![id], time.map(WallTime::nanoseconds)));
    let (add, remove) = (change.add.clone(), change.remove.clone());
    let changed = !add.is_empty() || !remove.is_empty();
    let tag = changed.then(|| Action::Tag { snapshots: vec![id], add, remove });
    [hold, expire, tag].into_iter().flatten()
}

fn said(report: &Report, change: &Change) -> String {
    let word = |on: Option<bool>| on.map(|on| if on { "held" } else { "released" });
    let added = change.add.iter().map(|tag| format!("+{tag}"));
    let removed = change.remove.iter().map(|tag| format!("-{tag}"));
    let expire = change.expire.map(|_| "expiry".to_owned());
    let words = word(change.hold).map(str::to_owned).into_iter().chain(expire).chain(added).chain(removed);
    format!("{}: {}", report.snapshot.short(), words.collect::<Vec<_>>().join(" "))
}
