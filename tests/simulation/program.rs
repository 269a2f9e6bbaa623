//! What the actors of a world are to do: programs that come from the seed, made so that what one run relies on is often
//! just what another condemns.

use crate::actor::{Actor, Step};
use crate::schedule::{Odds, Schedule, Stage, below, chance, one_of};
use crate::world::{MEMBERS, MINUTE, SECOND, Terms, WINDOW, World};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::{Arc, Mutex};
use testkit::rules::Rule;
use vault::plan::Delta;

fn pause(random: &mut ChaCha20Rng, grace: i64) -> Step {
    Step::Pause(one_of(random, &[SECOND, MINUTE, grace / 3, grace]))
}

fn writer_program(random: &mut ChaCha20Rng, grace: i64) -> Vec<Step> {
    let mut program = Vec::new();
    for _ in 0..2 + below(random, 4) {
        let choice = one_of(random, &[vec![0, 1], vec![0, 1, 2], vec![3], vec![3, 1]]);
        program.extend([pause(random, grace), Step::Snapshot(one_of(random, &["app", "web"]), choice)]);
    }
    program
}

fn owner_program(random: &mut ChaCha20Rng, grace: i64) -> Vec<Step> {
    let mut program = Vec::new();
    for _ in 0..1 + below(random, 3) {
        let before = [
            Step::Forget,
            Step::ForgetOld,
            Step::ForgetOld,
            Step::Undelete,
            Step::Hold,
            Step::Release,
            Step::Restore,
            Step::Check,
            Step::Prune,
            Step::Prune,
            Step::Tag,
            Step::Repair,
            Step::Copy,
        ];
        for _ in 0..below(random, 4) {
            program.extend([pause(random, grace), one_of(random, &before)]);
        }
        if chance(random, 500) {
            program.push(Step::Revoke(&[1, 2, 3, 4]));
        }
        if chance(random, 1_000) {
            let copies = [Step::Copy, Step::ForgetOldCopies, Step::PruneCopies, pause(random, grace)];
            program.extend((0..6).map(|_| one_of(random, &copies)));
        }
        let wait = one_of(random, &[SECOND, grace / 2, grace + MINUTE, grace + MINUTE]);
        program.extend([Step::Mark, Step::Pause(wait)]);
        if chance(random, 3_000) {
            program.extend([Step::Undelete, pause(random, grace)]);
        }
        program.push(Step::Sweep);
        if chance(random, 3_000) {
            program.extend([pause(random, grace), Step::Sweep]);
        }
    }
    program
}

/// A writer whose content comes and goes against an owner who prunes all the time: what one run relies on is often
/// just what another condemns. In a long one the owner also waits until the marks are gone.
fn duel(random: &mut ChaCha20Rng, grace: i64, is_long: bool) -> Vec<(usize, Vec<Step>)> {
    let breath = |random: &mut ChaCha20Rng| Step::Pause(one_of(random, &[0, SECOND, MINUTE, grace / 4]));
    let (mut writer, mut owner) = (Vec::new(), Vec::new());
    for round in 0..4 + below(random, 3) {
        let choice = if round % 2 == 0 { vec![0, 1] } else { vec![3] };
        writer.extend([breath(random), Step::Snapshot("app", choice)]);
    }
    for _ in 0..3 {
        let wait = one_of(random, &[0, grace / 2, grace, grace + MINUTE]);
        owner.extend([breath(random), Step::ForgetOld, Step::Mark]);
        if chance(random, 4_000) {
            owner.push(Step::Undelete);
        }
        owner.extend([Step::Pause(wait), Step::Sweep]);
        if is_long {
            owner.extend([Step::Pause(4 * grace + MINUTE), Step::Prune]);
        }
    }
    let member = usize::try_from(below(random, MEMBERS as u64)).unwrap();
    let mut programs = vec![(member, writer), (0, owner.clone())];
    if chance(random, 3_000) {
        programs.push((0, owner));
    }
    programs
}

/// Two members of one domain store the same, one after the other, while keys are removed: what the one has stored too late
/// the other must not rely on.
fn theft(random: &mut ChaCha20Rng, grace: i64) -> Vec<(usize, Vec<Step>)> {
    let breath = |random: &mut ChaCha20Rng| Step::Pause(one_of(random, &[0, SECOND, MINUTE]));
    let mut programs = Vec::new();
    for member in [1, 2] {
        let steps = (0..4).flat_map(|part| [breath(random), Step::Snapshot("app", vec![part])]);
        programs.push((member, steps.collect()));
    }
    let removals = (0..2).flat_map(|_| [breath(random), Step::Revoke(&[1, 2, 3, 4])]);
    let mut owner: Vec<Step> = removals.collect();
    owner.extend([Step::Prune, Step::Pause(grace + MINUTE), Step::Prune]);
    programs.push((0, owner));
    programs
}

/// What a thief does with a key.
fn lies(random: &mut ChaCha20Rng, grace: i64) -> Vec<Step> {
    (0..2 + below(random, 6)).flat_map(|_| [pause(random, grace), Step::Lie]).collect()
}

fn odds(random: &mut ChaCha20Rng, grace: i64, is_long: bool) -> Odds {
    let mut naps = vec![WINDOW + MINUTE, grace / 2, grace + MINUTE, grace + grace / 4, 3 * grace];
    if is_long {
        naps = vec![grace + MINUTE, 7 * grace, 8 * grace, 9 * grace];
    }
    Odds {
        stay: one_of(random, &[0, 5_000, 9_000]),
        suspend: one_of(random, &[50, 200, 500]),
        crash: one_of(random, &[0, 0, 0, 50]),
        fail: one_of(random, &[0, 0, 0, 50]),
        mislist: one_of(random, &[0, 0, 500]),
        step: one_of(random, &[SECOND, 10 * SECOND, MINUTE]),
        naps,
        sleeper: is_long.then_some(0),
    }
}

/// Who does what: members with their programs.
pub type Cast = Vec<(usize, Vec<Step>)>;

/// Lives through one seed.
pub fn live(seed: u64, broken: Option<Rule>, trace: bool) -> World {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let is_duel = chance(&mut random, 5_000);
    let ends = one_of(&mut random, &[0, 5_000]);
    let (writers, owners) = (1 + below(&mut random, 3), 1 + below(&mut random, 2));
    // a member of each role in turn, in a quarter of the worlds
    let thief = (seed % 4 == 1 && broken.is_none()).then(|| 1 + (seed / 4 % 4) as usize);
    // bits that choose nothing else
    let delta = if (seed / 16).is_multiple_of(2) { Delta::Always } else { Delta::Never };
    let world = World { trace, thief, delta, ..World::new(&Terms::random(&mut random, 6), broken) };
    // marks are kept for twice the life of a run
    let is_long = world.options.run_lifetime == 2 * world.options.grace && chance(&mut random, 5_000);
    let odds = odds(&mut random, world.grace(), is_long);
    let mut programs = Vec::new();
    for _ in 0..writers {
        let member = usize::try_from(below(&mut random, MEMBERS as u64)).unwrap();
        programs.push((member, writer_program(&mut random, world.grace())));
    }
    for _ in 0..owners {
        programs.push((0, owner_program(&mut random, world.grace())));
    }
    if is_duel {
        programs = duel(&mut random, world.grace(), is_long);
    }
    // what only the removal of a key shows is looked for where keys are removed
    if seed % 16 == 7 {
        programs = theft(&mut random, world.grace());
    }
    if let Some(thief) = thief {
        programs.retain(|(member, _)| *member != thief);
        programs.push((thief, lies(&mut random, world.grace())));
    }
    if trace {
        println!("{odds:?}");
    }
    let schedule = |stage| Schedule::new(stage, odds, ChaCha20Rng::seed_from_u64(!seed)).run();
    enact(&world, &programs, (&mut random, ends), schedule);
    world
}

/// Has each member of the cast go through its program, by turns that `conduct` gives.
pub fn enact(
    world: &World,
    cast: &[(usize, Vec<Step>)],
    (random, ends): (&mut ChaCha20Rng, u32),
    conduct: impl FnOnce(Stage),
) {
    if world.trace {
        println!("{:?}", world.options);
        cast.iter().enumerate().for_each(|(number, program)| println!("actor {number}: {program:?}"));
    }
    let (stage, turns) = Stage::new(cast.len(), world.time.clone());
    std::thread::scope(|scope| {
        for (number, ((member, program), turn)) in cast.iter().zip(turns).enumerate() {
            let (turn, random) = (Arc::new(Mutex::new(turn)), ChaCha20Rng::seed_from_u64(random.next_u64()));
            let actor = Actor {
                world,
                member: *member,
                is_writer: program.iter().all(|step| matches!(step, Step::Pause(_) | Step::Snapshot(..))),
                clock: world.time.actor(number, turn.clone()),
                turn,
                random,
                ends,
                process: None,
            };
            scope.spawn(move || actor.run(program));
        }
        conduct(stage);
    });
    let late = world.log.late.lock().unwrap().len() as u64;
    world.truth.lock().unwrap().totals.late = late;
}
