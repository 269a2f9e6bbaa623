//! Two writers, prune and check as real processes on one repository, with the times of the protocol cut to seconds. In
//! each round one of them is stopped at a random moment and goes on after the others have ended, or even after the
//! next prune has deleted what it may rely on. Nothing is lost, and nobody waits for who is stopped.
//! `VAULT_TEST_SEED` replays the choices; the moments still depend on the machine. `VAULT_TEST_ROUNDS` asks for more.

use crate::kill::contents;
use crate::{World, errors};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// W, D, e and G in seconds.
const TIMES: &str = "2,0,0,6";
const GRACE: Duration = Duration::from_millis(6_200);
/// How long a process may take that nobody stops.
const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: [&str; 2] = ["app", "web"];
const PRUNE: [&str; 4] = ["prune", "--json", "--max-unused", "0%"];

type Contents = BTreeMap<OsString, Vec<u8>>;

struct Rounds {
    world: World,
    random: ChaCha20Rng,
    /// What the writers' folders are made of: it comes and goes, so that one needs what another gave up.
    pool: Vec<Vec<u8>>,
    acknowledged: BTreeMap<String, Contents>,
    deleted_packs: u64,
}

/// Waits for a process that nobody stops.
fn end(mut child: Child, what: &str) -> Output {
    let started = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        assert!(started.elapsed() < PATIENCE, "{what} waits for a process that was stopped");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("an end")
}

fn signal(child: &Child, signal: Signal) {
    // it may have ended
    kill_process(Pid::from_child(child), signal).ok();
}

impl Rounds {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let world = World::empty();
        world.init();
        let pool = (0..6).map(|_| noise(&mut random, 100_000)).collect();
        Self { world, random, pool, acknowledged: BTreeMap::new(), deleted_packs: 0 }
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.random.next_u32() % limit
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.world.command(words);
        command.env("VAULT_TEST_TIMES", TIMES).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, words: &[&str]) -> Child {
        self.command(words).spawn().expect("vault starts")
    }

    fn refill(&mut self, name: &str) {
        let folder = self.world.path(name);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir(&folder).expect("a folder");
        for number in 0..self.pool.len() {
            if self.below(2) == 0 {
                std::fs::write(folder.join(format!("pool-{number}")), &self.pool[number]).expect("a file");
            }
        }
        std::fs::write(folder.join("fresh"), noise(&mut self.random, 20_000)).expect("a file");
    }

    /// Takes a result; whoever was stopped may fail, as long as it says why and calls nothing a success.
    fn take(&mut self, number: usize, output: &Output, was_stopped: bool) {
        let Some(name) = WRITERS.get(number) else {
            assert!(output.status.success(), "{}", errors(output));
            if number == WRITERS.len() {
                let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
                self.deleted_packs += report["deleted_packs"].as_u64().expect("a number");
            }
            return;
        };
        if output.status.success() {
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let id = report["snapshot"].as_str().expect("an id").to_owned();
            self.acknowledged.insert(id, contents(&self.world.path(name)));
        } else {
            let text = errors(output);
            assert!(was_stopped && (text.contains("condemned") || text.contains("in time")), "{name}: {text}");
        }
    }

    fn prune(&mut self) {
        let output = end(self.start(&PRUNE), "prune");
        self.take(WRITERS.len(), &output, false);
    }

    fn round(&mut self) {
        let before = self.deleted_packs;
        WRITERS.into_iter().for_each(|name| self.refill(name));
        let output = self.command(&["forget", "--keep-last", "1", "--quiet"]).output().expect("vault starts");
        assert!(output.status.success(), "{}", errors(&output));
        let mut children: Vec<Option<Child>> =
            WRITERS.iter().map(|name| Some(self.start(&["snapshot", "--json", name]))).collect();
        children.push(Some(self.start(&PRUNE)));
        children.push(Some(self.start(&["check", "--read-data", "--quiet"])));
        let victim = self.below(4) as usize;
        std::thread::sleep(Duration::from_millis(u64::from(self.below(500))));
        let stopped = children[victim].take().expect("a child");
        signal(&stopped, Signal::STOP);
        for (number, child) in children.into_iter().enumerate() {
            if let Some(child) = child {
                let output = end(child, "a process");
                self.take(number, &output, false);
            }
        }
        std::thread::sleep(if self.below(4) == 0 { GRACE / 3 } else { GRACE });
        // some go on after the sweep of what was condemned while they were stopped
        let is_late = self.below(2) == 0;
        if is_late {
            self.prune();
        }
        signal(&stopped, Signal::CONT);
        let output = end(stopped, "who was stopped");
        self.take(victim, &output, true);
        if self.deleted_packs == before {
            std::thread::sleep(GRACE);
            self.prune();
        }
        assert!(self.deleted_packs > before, "nothing was deleted");
    }

    /// Every snapshot that is listed restores, to what was acknowledged; the newest are among them.
    fn restore_all(&self) {
        let listing = self.world.ok(&["snapshots", "--json"]);
        let listing: serde_json::Value = serde_json::from_str(&listing).expect("JSON");
        let listed = listing["snapshots"].as_array().expect("a list");
        assert!(listed.len() >= WRITERS.len());
        for snapshot in listed {
            let id = snapshot["id"].as_str().expect("an id");
            self.world.ok(&["restore", id, "--target", "out"]);
            // one that was not acknowledged may be there all the same, whole
            if let Some(expected) = self.acknowledged.get(id) {
                assert!(contents(&self.world.path("out")) == *expected, "snapshot {id} came back different");
            }
            std::fs::remove_dir_all(self.world.path("out")).expect("the restored folder");
        }
    }
}

fn noise(random: &mut ChaCha20Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; length];
    random.fill_bytes(&mut bytes);
    bytes
}

#[test]
fn processes_side_by_side_lose_nothing_while_one_is_stopped() {
    let number = |variable| std::env::var(variable).ok().and_then(|text| text.parse().ok());
    let (seed, rounds) = (number("VAULT_TEST_SEED").unwrap_or(11u64), number("VAULT_TEST_ROUNDS").unwrap_or(5));
    println!("VAULT_TEST_SEED={seed}, {rounds} rounds");
    let mut all = Rounds::new(seed);
    // two of each, so that the first round has something to forget
    for name in [WRITERS, WRITERS].concat() {
        all.refill(name);
        all.world.ok(&["snapshot", "--quiet", name]);
    }
    for round in 1..=rounds {
        let known = all.acknowledged.len();
        all.round();
        assert!(all.acknowledged.len() > known, "round {round}: nobody took a snapshot");
        all.restore_all();
    }
    all.world.ok(&["check", "--read-data"]);
    println!("{} packs deleted, {} snapshots acknowledged", all.deleted_packs, all.acknowledged.len());
}
