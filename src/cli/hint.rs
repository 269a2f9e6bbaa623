//! What to try next, for errors that the library gives as data: the one place that knows which command helps against
//! what. Each answer is the end of a sentence, so it begins with the sign that joins it to the words of its error.

use super::proposal::quote;
use super::render;
use vault::backend::{self, ErrorKind};
use vault::copy::NotCopied;
use vault::error::Refusal;
use vault::repository::{Doubt, Hidden};
use vault_format::id::ObjectId;
use vault_format::name::Name;

/// Behind the words of a refusal.
pub fn of_refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Forgotten(snapshot) | Refusal::ForgottenMeanwhile(snapshot) => {
            format!(": `vault undelete {}` first", snapshot.short())
        }
        Refusal::Held(snapshot) => format!(": `vault tag {} --release` first", snapshot.short()),
        Refusal::KeepsNothing(_) => {
            ": add a rule like --keep-last 7, or limit the rules to other sources with --name".into()
        }
        // prune stops at a snapshot that is shown and not whole
        Refusal::Gone { is_forgotten: false, .. } => "; `vault forget` it, so that prune can go on".into(),
        Refusal::NoKey(_) => {
            ": `vault key list` shows them; what the key of a lost slot wrote `vault init --recover` settles".into()
        }
        Refusal::LastPassword(_) => ": add another first, or change it with `vault key passwd`".into(),
        Refusal::NoPassword => ": `vault key add --role owner` adds a password".into(),
        Refusal::DomainTaken(name) => format!(": say --domain {name} to join it, or another --label"),
        Refusal::UnreadOrder { order, .. } => {
            format!(": remove it again once that order can be read, or after `vault repair --quarantine {order}`")
        }
        Refusal::MissingSnapshot(_) => {
            ": remove it again when `vault check` finds nothing, or `vault forget` was given its whole id".into()
        }
        Refusal::Hidden(hidden) => format!("{}; then remove it again", of_hidden(hidden)),
        Refusal::IsPack(_) => ": `vault repair` takes care of packs".into(),
        Refusal::SeveralFiles => ": name one behind the address, or say --tar".into(),
        Refusal::Zeros { .. } => ": say --target DIR, or --tar, which leave holes out".into(),
        Refusal::OtherOrigin { name, proposal, .. } => {
            format!("; say --name {proposal}, or --name {name} if it is to go on there")
        }
        _ => String::new(),
    }
}

/// Behind the words of what a deleter or a repair must not guess about.
pub fn of_doubt(doubt: &Doubt) -> String {
    match doubt {
        Doubt::NotWhole { snapshot, .. } => {
            let short = snapshot.short();
            format!(": `vault repair` saves what is left of it, or `vault forget {short}` drops it")
        }
        // repair makes no copy of a snapshot of which nothing is left, so such a one still needs what is lost
        Doubt::Lost(_) => {
            "; `vault check` names the snapshots that need it: `vault forget` those that have no repaired copy".into()
        }
        Doubt::Missing { id, .. } => format!(": {}", of_missing(*id)),
        Doubt::Damaged { object, .. } => {
            format!(": `vault repair` mends what it can; {}", quarantine(object))
        }
        Doubt::Hidden(hidden) => of_hidden(hidden),
        Doubt::Later(path) => of_later(path),
        _ => String::new(),
    }
}

/// For a snapshot that is missing. Only its whole id says that this is meant.
pub fn of_missing(id: ObjectId) -> String {
    format!("`vault forget {id}` if it never was, or is gone for good")
}

/// For a snapshot that its writer made against the rules.
pub fn of_mismade(id: ObjectId) -> String {
    format!("`vault forget {}` drops what its writer made so: no repair mends it", id.short())
}

/// Behind the words of orders that the store does not show.
pub fn of_hidden(hidden: &Hidden) -> String {
    let lags = "; look again later if the store lags, and compare with a second place; if it is gone for good";
    match &hidden.object {
        Some(Name::Order(id)) => format!("{lags}, `vault repair --quarantine {id}` has it passed over"),
        _ => format!("{lags}, since this is an older copy, `vault repair --accept-older`"),
    }
}

/// What to know of objects that this machine saw in the store, and that are not there any more.
pub fn of_unseen(unseen: &[Name]) -> Option<String> {
    let is_slot = |name: &&Name| matches!(name, Name::Slot(_));
    let is_older = unseen.iter().any(|name| !is_slot(&name));
    let first = unseen.iter().find(|name| is_slot(name) != is_older)?;
    let more = render::if_any(unseen.len() as u64 - 1, |more| format!(" and {more} more"));
    Some(match is_older {
        true => format!(
            "note: the store does not show {first}{more}, which this machine saw there: it may be an older state; \
             `vault check` tells more"
        ),
        false => format!(
            "note: {first}{more}, which this machine saw, is gone; `vault journal` tells whether a key was removed or a \
             password changed"
        ),
    })
}

/// Behind the words of an object of a kind that only a later version knows.
pub fn of_later(path: &str) -> String {
    let id = path.get(path.len().saturating_sub(64)..).unwrap_or(path);
    format!("; a newer vault may know it, and `vault repair --quarantine {id}` has it passed over")
}

/// The next step after a store refused.
pub fn of_backend(error: &backend::Error) -> &'static str {
    match error.kind {
        ErrorKind::NoCredentials => "docs/locations.md tells of other stores",
        ErrorKind::NoSpace => "free some space and run it again; nothing that was stored before is lost",
        ErrorKind::Denied => "it may be read-only, or belong to somebody else: check permissions and credentials",
        ErrorKind::Unreachable => "check the network and run it again; nothing that was stored before is lost",
        ErrorKind::NoPlace => {
            "mount its disk, or make its bucket, and run it again; nothing that was stored before is lost"
        }
        ErrorKind::NotFound | ErrorKind::Damaged => "`vault check` tells what else is affected",
        _ => "check --repository",
    }
}

/// Behind the words of a snapshot that was not copied.
pub fn of_not_copied(snapshot: &NotCopied) -> &'static str {
    match snapshot {
        NotCopied::Doubtful { .. } => {
            ": settle it with `vault forget --late claimed` if the repository was moved, else --late arrived"
        }
        _ => "",
    }
}

/// Behind the words of a mark that nobody can read.
pub fn of_mark(mark: &str) -> String {
    format!("; the owner's `vault repair --quarantine {mark}` ends that")
}

/// As the owner, how everybody passes over an object.
pub fn quarantine(object: &str) -> String {
    format!("as the owner, `vault repair --quarantine {}` has everybody pass over it", quote(object))
}

#[cfg(test)]
mod tests {
    use super::of_later;

    #[test]
    fn an_object_to_come_is_named_by_its_id() {
        let id = "a".repeat(64);
        for path in [format!("parity/{id}"), format!("deltas/aa/label-{id}")] {
            assert!(of_later(&path).contains(&format!("`vault repair --quarantine {id}`")), "{path}");
        }
    }
}
