//! What must hold in a world once it is quiet: every acknowledged snapshot that nobody forgot is there and gives its
//! bytes, every snapshot that is listed can be restored, check finds nothing, prune goes on, and no key ever sealed two
//! things with the same nonce.

use crate::world::{Place, SECOND, World};
use std::collections::BTreeMap;
use vault::progress::Silent;
use vault::repository::{Address, Repository};
use vault::{backup, check, keys, list, prune, restore};

/// Why a world is not as it must be.
pub type Loss = String;

/// Prunes a quiet world while somebody writes, and looks whether all is there.
pub fn audit(world: &World) -> Result<(), Loss> {
    nonces(world)?;
    settle(world);
    if let Some(thief) = world.thief {
        // before anybody has noticed
        complete(world, &world.open(Place::First(0), 5), true)?;
        world.truth.lock().unwrap().revoked.entry(thief).or_insert((world.time.now(), false));
        settle(world);
    }
    finish_removals(world)?;
    settle(world);
    // broken late snapshots stop prune until the owner forgets them
    if world.log.late.lock().unwrap().is_empty() {
        let owner = world.open(Place::First(0), 1);
        let fails = |what: &'static str| move |error: vault::error::Error| format!("{what} fails: {error}");
        // where no run has ended well before its key was revoked, a domain has data and no snapshot
        let options = prune::Options { without_snapshots: true, ..prune::Options::default() };
        prune::prune(&owner, &options, &Silent).map_err(fails("prune"))?;
        world.time.advance(world.grace() + SECOND);
        settle(world);
        prune::prune(&owner, &options, &Silent).map_err(fails("prune after the grace"))?;
        let source = backup::Source::Stream(&mut b"at last".as_slice(), b"dump".to_vec());
        let options = backup::Options { name: "app".into(), ..backup::Options::default() };
        backup::backup(&owner, source, &options, &Silent).map_err(fails("a last snapshot"))?;
        settle(world);
    }
    complete(world, &world.open(Place::First(0), 2), false)?;
    copies(world, &world.open(Place::Second, 3))
}

/// Removes those keys again whose removal was cut off or refused: only then all that their holders wrote in time counts.
fn finish_removals(world: &World) -> Result<(), Loss> {
    let mut truth = world.truth.lock().unwrap();
    let mut pending: Vec<_> = truth.revoked.iter_mut().filter(|(_, (_, done))| !done).collect();
    // ghosts of a thief stop the removal of other keys of the domain
    pending.sort_by_key(|(member, _)| world.thief != Some(**member));
    for (member, (_, done)) in pending {
        let owner = world.open(Place::First(0), 4);
        let slot = world.slot(*member);
        let listed = keys::list(&owner).map_err(|error| format!("listing keys fails: {error}"))?;
        *done = match listed.keys.iter().any(|key| key.id == slot).then(|| world.expel(&owner, *member)) {
            // a snapshot that came too late may name others that are gone
            Some(Err(_)) if !world.log.late.lock().unwrap().is_empty() => false,
            Some(Err(error)) => return Err(format!("removing a key again fails: {error}")),
            _ => true,
        };
    }
    Ok(())
}

fn settle(world: &World) {
    world.time.advance(2 * world.lag() + SECOND);
}

/// `lied_to`: what a thief wrote still counts.
fn complete(world: &World, owner: &Repository, lied_to: bool) -> Result<(), Loss> {
    let truth = world.truth.lock().unwrap();
    let late = world.log.late.lock().unwrap();
    let catalog = list::snapshots(owner).map_err(|error| format!("listing fails: {error}"))?;
    if let Some(damage) = catalog.snapshots.damaged.first() {
        return Err(format!("{}: {damage}", damage.name));
    }
    for id in truth.acknowledged.keys() {
        let kept = !truth.forgotten.contains(id) || truth.held.contains(id);
        let wanted = kept && !truth.may_be_disowned(id, world.lag());
        if wanted && !catalog.snapshots.visible().any(|snapshot| snapshot.id == *id) {
            return Err(format!("snapshot {id} was acknowledged and is gone"));
        }
    }
    for snapshot in catalog.snapshots.visible().filter(|one| !world.is_thief(one.header.writer)) {
        let mut out = Vec::new();
        let expected = truth.acknowledged.get(&snapshot.id);
        match restore::restore_to(owner, &Address::new(&catalog, snapshot, b""), false, &mut out, &Silent) {
            Ok(()) if expected.is_none_or(|expected| *expected == out) => {}
            Ok(()) => return Err(format!("snapshot {} gives wrong bytes", snapshot.id)),
            // the run that committed it, or took it back, was suspended while it did so, and has failed
            Err(_)
                if (expected.is_none() || truth.forgotten.contains(&snapshot.id))
                    && late.contains(&snapshot.name().to_string()) => {}
            Err(error) => {
                let known = if expected.is_some() { "an acknowledged" } else { "a listed" };
                return Err(format!("{known} snapshot, {}, can't be restored: {error}", snapshot.id));
            }
        }
    }
    let report = check::check(owner, &check::Options::default(), &Silent).map_err(|error| error.to_string())?;
    match report.findings.first() {
        Some(finding) if late.is_empty() && !lied_to => Err(format!("check finds {finding:?}")),
        _ => Ok(()),
    }
}

/// What was copied, and not forgotten since, is there with the bytes of its source.
fn copies(world: &World, second: &Repository) -> Result<(), Loss> {
    let truth = world.truth.lock().unwrap();
    let late = world.log.late.lock().unwrap();
    let catalog = list::snapshots(second).map_err(|error| format!("listing the copies fails: {error}"))?;
    for (id, expected) in &truth.copied {
        let Some(snapshot) = catalog.snapshots.visible().find(|snapshot| snapshot.id == *id) else {
            if truth.forgotten.contains(id) {
                continue;
            }
            return Err(format!("copy {id} was acknowledged and is gone"));
        };
        let mut out = Vec::new();
        match restore::restore_to(second, &Address::new(&catalog, snapshot, b""), false, &mut out, &Silent) {
            Ok(()) if *expected == out => {}
            Ok(()) => return Err(format!("copy {id} gives wrong bytes")),
            Err(error) => return Err(format!("copy {id} can't be restored: {error}")),
        }
    }
    let report = check::check(second, &check::Options::default(), &Silent).map_err(|error| error.to_string())?;
    match report.findings.first() {
        Some(finding) if late.is_empty() => Err(format!("check of the copies finds {finding:?}")),
        _ => Ok(()),
    }
}

/// Every key is derived with a salt; the same salt under two names would be the same key and nonces.
fn nonces(world: &World) -> Result<(), Loss> {
    let mut seen: BTreeMap<&[u8], &str> = BTreeMap::new();
    let salts = world.log.salts.lock().unwrap();
    for (salt, name) in salts.iter() {
        if let Some(other) = seen.insert(salt, name)
            && other != name
        {
            return Err(format!("{name} and {other} have the same salt"));
        }
    }
    Ok(())
}
