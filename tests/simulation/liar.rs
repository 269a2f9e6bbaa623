//! A member that lies: its key was stolen, and who has it knows the format. It claims what others have stored, speaks in
//! their names, names what never was, sets its clock as it likes and floods sources. Nothing that it does may cost an
//! honest member a byte; once the owner has dropped what its key wrote, nothing that it did may stop anybody.

use crate::schedule::{below, one_of};
use crate::world::{MINUTE, SECOND};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use testkit::forged::Liar;
use vault::backend::Result;
use vault::repository::Repository;
use vault::repository::objects::index_objects::IndexObjects;
use vault::repository::objects::trust::Trust;
use vault_format::id::{BlobId, ObjectId, RunId, WriterId};
use vault_format::index::PackEntry;
use vault_format::journal::{Record, RunOutcome};
use vault_format::snapshot::Head;
use vault_format::tree::TreeRoot;

/// The sources that honest members write to.
const SOURCES: [&str; 2] = ["app", "web"];

fn id(random: &mut ChaCha20Rng) -> ObjectId {
    let mut bytes = [0; 32];
    random.fill_bytes(&mut bytes);
    ObjectId(bytes)
}

/// Packs of others in the domain, and who wrote them.
fn packs_of_others(repository: &Repository) -> vault::repository::Result<Vec<PackEntry>> {
    let domain = repository.keys().domain();
    let objects = IndexObjects::load(repository, &Trust::load(repository)?, Some(domain))?.good;
    let own = repository.keys().writer();
    let packs = objects.into_iter().flat_map(|object| object.index.packs);
    Ok(packs.filter(|pack| pack.writer != own).collect())
}

/// Tells one lie, which the seed chooses.
pub fn lie(repository: &Repository, random: &mut ChaCha20Rng) -> vault::error::Result<()> {
    let liar = Liar(repository);
    let kind = below(random, 5);
    if kind < 2 {
        let others = packs_of_others(repository)?;
        let owner = repository.keys().owner_writer();
        for pack in others.iter().take(3) {
            let said = one_of(random, &[repository.keys().writer(), pack.writer, owner]);
            let claimed = liar.claim(pack, said).map_err(vault::repository::Error::from)?;
            // without an index it waits for somebody to take it for what it says
            if kind == 0 {
                liar.tell(SOURCES[0], claimed).map_err(vault::repository::Error::from)?;
            }
        }
        return Ok(());
    }
    let number = if kind == 2 { 4 } else { 1 };
    for _ in 0..number {
        let told = if kind == 4 { ghosts(&liar, random) } else { history(&liar, random) };
        told.map_err(vault::repository::Error::from)?;
    }
    Ok(())
}

/// A snapshot that nobody can restore, in somebody's source, at any time, after ones that never were.
fn history(liar: &Liar<'_>, random: &mut ChaCha20Rng) -> Result<()> {
    let now = liar.0.runtime().clock.now().nanoseconds();
    let day = 24 * 60 * MINUTE;
    let time = now + one_of(random, &[0, SECOND, -day, day, 1_000 * day, -1_000 * day]);
    let seen = (0..below(random, 3)).map(|_| id(random)).collect();
    let parent = (below(random, 2) == 0).then(|| id(random));
    let original = (below(random, 4) == 0).then(|| id(random));
    let head = Head {
        source: one_of(random, &SOURCES).into(),
        time,
        run: RunId([7; 16]),
        root: TreeRoot { id: BlobId(id(random).0), bytes: 1, count: 1 },
        parent,
        seen,
        original,
        left_of: original,
        taken_by: original.map(|_| WriterId([9; 16])),
        orders: vec![id(random)],
        turn: u64::MAX,
        ..Head::default()
    };
    liar.snapshot(&head)
}

/// A record of a run that never was, which saw what never was.
fn ghosts(liar: &Liar<'_>, random: &mut ChaCha20Rng) -> Result<()> {
    let record = Record {
        operation: one_of(random, &["snapshot", "prune", "check"]).into(),
        started: liar.0.runtime().clock.now().nanoseconds(),
        outcome: RunOutcome::Begun,
        heads: vec![id(random)],
        verified: vec![id(random)],
        orders: vec![id(random)],
        ..Record::default()
    };
    liar.record(&record)
}
