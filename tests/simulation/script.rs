//! A world in which nothing is left to chance: a script says who goes on to which call, what it meets there, and when time
//! passes. It is played by the actors of the random worlds, and what they are told goes into the same truth.

use crate::actor::Step;
use crate::program::{Cast, enact};
use crate::schedule::{Grant, Stage, State};
use crate::world::{MINUTE, Terms, World};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use testkit::rules::Rule;

/// What happens next. A call is given by how it begins in words: `Put index/`.
enum Cue {
    /// An actor goes on until it is about to make a call, or to its end.
    Until(usize, &'static str),
    /// What becomes of the call that an actor is about to make.
    Meet(usize, Grant),
    End(usize),
    Pass(i64),
}

/// Who acts, and in which order.
pub struct Script {
    lag: i64,
    skews: Vec<i64>,
    cast: Cast,
    cues: Vec<Cue>,
}

impl Script {
    /// In a world whose listings lag by so much at most.
    pub fn new(lag: i64) -> Self {
        Self { lag, skews: Vec::new(), cast: Vec::new(), cues: Vec::new() }
    }

    fn terms(&self) -> Terms {
        Terms::new(self.lag, 60 * MINUTE, self.skews.clone())
    }

    pub fn grace(&self) -> i64 {
        self.terms().grace
    }

    pub fn lifetime(&self) -> i64 {
        self.terms().lifetime
    }

    /// A process of a member that has not begun.
    pub fn enter(&mut self, member: usize, steps: &[Step]) -> usize {
        self.cast.push((member, steps.to_vec()));
        self.skews.push(0);
        self.cast.len() - 1
    }

    /// A process that does all that it does at once.
    pub fn at_once(&mut self, member: usize, steps: &[Step]) {
        let actor = self.enter(member, steps);
        self.end(actor);
    }

    /// The same, and time until everybody can see it.
    pub fn act(&mut self, member: usize, steps: &[Step]) {
        self.at_once(member, steps);
        self.pass(self.lag + MINUTE);
    }

    /// The clock of an actor is wrong by so much.
    pub fn skew(&mut self, actor: usize, skew: i64) {
        self.skews[actor] = skew;
    }

    pub fn until(&mut self, actor: usize, call: &'static str) {
        self.cues.push(Cue::Until(actor, call));
    }

    pub fn meet(&mut self, actor: usize, call: &'static str, grant: Grant) {
        self.cues.extend([Cue::Until(actor, call), Cue::Meet(actor, grant)]);
    }

    /// The actor goes on to the end.
    pub fn end(&mut self, actor: usize) {
        self.cues.push(Cue::End(actor));
    }

    pub fn pass(&mut self, time: i64) {
        self.cues.push(Cue::Pass(time));
    }

    /// Whoever has not come to an end does so last.
    pub fn play(&self, broken: Option<Rule>, trace: bool) -> World {
        let world = World { trace, ..World::new(&self.terms(), broken) };
        enact(&world, &self.cast, (&mut ChaCha20Rng::seed_from_u64(0), 0), |stage| self.conduct(stage));
        world
    }

    fn conduct(&self, mut stage: Stage) {
        stage.gather();
        for cue in &self.cues {
            match cue {
                Cue::Until(actor, call) => go_on(&mut stage, *actor, |next| next.starts_with(*call)),
                Cue::Meet(actor, grant) if stage.is_waiting(*actor) => stage.grant(*actor, *grant),
                Cue::Meet(..) => {}
                Cue::End(actor) => go_on(&mut stage, *actor, |_| false),
                Cue::Pass(time) => stage.time.advance(*time),
            }
        }
        (0..self.cast.len()).for_each(|actor| go_on(&mut stage, actor, |_| false));
    }
}

/// Whoever waits lets time pass.
fn go_on(stage: &mut Stage, actor: usize, is_far_enough: impl Fn(&str) -> bool) {
    loop {
        match stage.states[actor] {
            State::Ended => return,
            State::Asleep(until, _) => stage.time.advance((until - stage.time.now()).max(0)),
            State::Waiting(_) if is_far_enough(&stage.calls[actor]) => return,
            State::Waiting(_) => {}
        }
        stage.grant(actor, Grant::Go);
    }
}
