//! For each rule of the protocol the shortest script that does harm if that rule alone is broken, and none if all are kept.
//! Most begin with garbage, content that only a forgotten snapshot needs, and a run that relies on it before anybody has
//! condemned it.

use crate::actor::Step;
use crate::schedule::Grant;
use crate::script::Script;
use crate::world::MINUTE;
use testkit::rules::Rule;

const OWNER: usize = 0;
/// Two clients of one domain.
const CLIENT: usize = 1;
const MATE: usize = 2;

/// What a run does between its first look at marks (W1) and the one before its commit (W3).
const STORES: &str = "Put packs/";
/// How it commits (W4).
const COMMITS: &str = "Put snapshots/";

fn garbage() -> Step {
    Step::Snapshot("app", vec![0, 1])
}

fn other() -> Step {
    Step::Snapshot("app", vec![3])
}

/// Garbage that nobody has condemned.
fn with_garbage() -> Script {
    let mut script = Script::new(0);
    script.act(CLIENT, &[garbage()]);
    script.act(CLIENT, &[other()]);
    script.act(OWNER, &[Step::ForgetOld]);
    script
}

/// And a run that relies on it: it has looked at marks, and stored nothing yet.
fn with_run() -> (Script, usize) {
    let mut script = with_garbage();
    let run = script.enter(CLIENT, &[Step::Snapshot("web", vec![0, 1])]);
    script.until(run, STORES);
    (script, run)
}

/// The garbage is condemned after that.
fn with_mark() -> (Script, usize) {
    let (mut script, run) = with_run();
    script.act(OWNER, &[Step::Mark]);
    (script, run)
}

fn sweep(script: &mut Script) {
    script.pass(script.grace());
    script.act(OWNER, &[Step::Sweep]);
}

/// A sweep that has seen what lives, and has deleted nothing yet. It goes on at the end.
fn begin_sweep(script: &mut Script) {
    script.pass(script.grace());
    let sweep = script.enter(OWNER, &[Step::Sweep]);
    script.until(sweep, "Delete ");
}

/// The script that shows a rule.
pub fn of(rule: Rule) -> Script {
    match rule {
        Rule::IndexBeforeSnapshot
        | Rule::LookBeforeCommit
        | Rule::CommitWindow
        | Rule::LookAfterCommit
        | Rule::YoungMarksOnly
        | Rule::StoreClock
        | Rule::TimeGoesOn => at_commit(rule),
        Rule::KeepMarks | Rule::RunLifetime => in_long_run(rule),
        _ => in_sweep(rule),
    }
}

/// What a run must do when it commits.
fn at_commit(rule: Rule) -> Script {
    if rule == Rule::CommitWindow {
        return between_look_and_commit();
    }
    let (mut script, run) = with_mark();
    match rule {
        // the garbage is gone before it looks again, and the mark says so
        Rule::LookBeforeCommit | Rule::YoungMarksOnly => sweep(&mut script),
        // its put takes so long that the garbage is gone meanwhile
        Rule::LookAfterCommit => {
            script.until(run, COMMITS);
            sweep(&mut script);
        }
        // by its own clock the mark is not even put
        Rule::StoreClock => {
            script.skew(run, -5 * script.grace());
            begin_sweep(&mut script);
        }
        // its put takes so long that a sweep has begun: by the time that it asked for before, the mark is young
        Rule::TimeGoesOn => {
            script.until(run, COMMITS);
            begin_sweep(&mut script);
        }
        // it dies right after its commit
        _ => script.meet(run, COMMITS, Grant::DieAfter),
    }
    script.end(run);
    script
}

/// While a run reads the marks that it has listed before its commit, the garbage is condemned and gone.
fn between_look_and_commit() -> Script {
    let mut script = Script::new(0);
    script.act(CLIENT, &[Step::Snapshot("cron", vec![2])]);
    script.act(CLIENT, &[Step::Snapshot("cron", vec![3])]);
    script.act(CLIENT, &[garbage()]);
    let run = script.enter(CLIENT, &[Step::Snapshot("web", vec![0, 1])]);
    script.until(run, STORES);
    // a mark that is there to be read, and names nothing of this
    script.act(OWNER, &[Step::ForgetOld, Step::Mark]);
    script.until(run, "Get marks/");
    script.act(CLIENT, &[other()]);
    script.act(OWNER, &[Step::ForgetOld, Step::Mark]);
    sweep(&mut script);
    script
}

/// What counts for runs that are longer than what happens around them.
fn in_long_run(rule: Rule) -> Script {
    let (mut script, run) = with_mark();
    sweep(&mut script);
    if rule == Rule::RunLifetime {
        // nobody can still tell that what it relies on was condemned
        script.pass(2 * script.lifetime() + MINUTE);
        script.act(OWNER, &[Step::Prune]);
    }
    script.end(run);
    script
}

/// What a deleter must know and do.
fn in_sweep(rule: Rule) -> Script {
    match rule {
        Rule::DoubtListings => hidden(),
        Rule::HeldIsLive => held(),
        Rule::IndexBeforeDelete => cut_off(),
        Rule::SurvivorOutsideMarks => two_marks(),
        // the snapshot that the mark names is taken back in time
        Rule::OrdersAgain => {
            let mut script = with_garbage();
            script.act(OWNER, &[Step::Mark]);
            script.act(OWNER, &[Step::Undelete]);
            sweep(&mut script);
            script
        }
        // the sweep asks how old the mark is, and the answer comes after a commit
        Rule::SurveyAfterAge => {
            let (mut script, run) = with_mark();
            let sweep = script.enter(OWNER, &[Step::Sweep]);
            script.until(sweep, "Put journal/");
            script.end(run);
            script.pass(script.grace());
            script
        }
        // RescueFirst: a snapshot needs what the mark names, and was committed in time
        _ => {
            let (mut script, run) = with_mark();
            script.end(run);
            sweep(&mut script);
            script
        }
    }
}

/// The store shows no snapshot, neither to the one who condemns nor to the one who deletes.
fn hidden() -> Script {
    let mut script = Script::new(0);
    script.act(CLIENT, &[garbage()]);
    // what no snapshot needs stays for the life of a run
    script.pass(script.lifetime());
    for step in [Step::Mark, Step::Sweep] {
        let prune = script.enter(OWNER, &[step]);
        script.meet(prune, "List snapshots/", Grant::ShowNothing);
        script.end(prune);
        script.pass(script.grace());
    }
    script
}

/// A snapshot is held, and forgotten by somebody who can't see that yet.
fn held() -> Script {
    let mut script = Script::new(10 * MINUTE);
    script.act(CLIENT, &[garbage()]);
    script.at_once(OWNER, &[Step::Hold]);
    script.act(OWNER, &[Step::Forget]);
    script.act(OWNER, &[Step::Mark]);
    sweep(&mut script);
    script
}

/// A sweep dies in the middle. One index object tells of a pack that goes and of one that stays.
fn cut_off() -> Script {
    let mut script = Script::new(0);
    script.act(CLIENT, &[garbage()]);
    script.act(CLIENT, &[garbage()]);
    script.act(OWNER, &[Step::ForgetOld, Step::Mark]);
    script.pass(script.grace());
    let sweep = script.enter(OWNER, &[Step::Sweep]);
    script.meet(sweep, "Delete packs/", Grant::DieBefore);
    script
}

/// The same content lies in two packs, each of which another mark names; then a run commits that relies on the first.
fn two_marks() -> Script {
    let (mut script, run) = with_mark();
    script.act(MATE, &[Step::Snapshot("cron", vec![0, 1])]);
    script.act(MATE, &[Step::Snapshot("cron", vec![3])]);
    script.act(OWNER, &[Step::ForgetOld, Step::Mark]);
    script.end(run);
    sweep(&mut script);
    script
}
