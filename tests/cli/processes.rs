//! Two writers, prune and check as real processes on one repository. In each round one of them is stopped at a random
//! moment and goes on after the others have ended, or even after the next prune has deleted what it may rely on. Nothing
//! is lost, and nobody waits for who is stopped. A process is this test binary, started again for one operation, with
//! the times of the protocol cut to seconds: no program that users run can do that.
//! `VAULT_TEST_SEED` replays the choices; the moments still depend on the machine. `VAULT_TEST_ROUNDS` asks for more.

use crate::kill::contents;
use crate::{World, errors};
use jiff::tz::TimeZone;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use vault::backup::{self, Source};
use vault::check::{self, Read};
use vault::forget;
use vault::progress::Silent;
use vault::prune::{self, Unused};
use vault::repository::Options;
use vault::retention::Policy;
use vault::source;

/// What a process is to do.
const WORDS: &str = "VAULT_TEST_PROCESS";
/// A little more than the grace of marks.
const GRACE: Duration = Duration::from_millis(6_200);
/// How long a process may take that nobody stops.
const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: [&str; 2] = ["app", "web"];

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

    fn start(&self, words: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "processes::process", "--ignored", "--nocapture"]);
        command.env(WORDS, words).current_dir(self.world.path("")).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
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
                self.deleted_packs += said(output).parse::<u64>().expect("a number");
            }
            return;
        };
        if output.status.success() {
            self.acknowledged.insert(said(output), contents(&self.world.path(name)));
        } else {
            let text = errors(output);
            assert!(was_stopped && (text.contains("condemned") || text.contains("in time")), "{name}: {text}");
        }
    }

    fn prune(&mut self) {
        let output = end(self.start("prune"), "prune");
        self.take(WRITERS.len(), &output, false);
    }

    fn round(&mut self) {
        let before = self.deleted_packs;
        WRITERS.into_iter().for_each(|name| self.refill(name));
        let output = end(self.start("forget"), "forget");
        assert!(output.status.success(), "{}", errors(&output));
        let mut children: Vec<Option<Child>> =
            WRITERS.iter().map(|name| Some(self.start(&format!("snapshot {name}")))).collect();
        children.push(Some(self.start("prune")));
        children.push(Some(self.start("check")));
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

/// What a process said at its end.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().last().expect("it said something").to_owned()
}

fn noise(random: &mut ChaCha20Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; length];
    random.fill_bytes(&mut bytes);
    bytes
}

/// One operation in the folder around the repository: what it says, or why it failed.
fn operate(words: &str) -> Result<String, Box<dyn Error>> {
    let short = Options {
        commit_window: Duration::from_secs(2),
        listing_lag: Some(Duration::ZERO),
        clock_error: Duration::ZERO,
        grace: Duration::from_secs(6),
        ..Options::default()
    };
    let here = std::env::current_dir()?;
    let repository = crate::open(&here.join("repository"), short);
    repository.use_cache(&here.join("cache"))?;
    match words.split_once(' ').unwrap_or((words, "")) {
        ("snapshot", name) => {
            let source = Source::Paths(vec![here.join(name)], source::Options::default());
            let options = backup::Options { name: name.to_owned(), ..backup::Options::default() };
            let report = backup::backup(&repository, source, &options, &Silent)?;
            Ok(report.snapshot.ok_or("no snapshot")?.to_string())
        }
        ("prune", _) => {
            let options = prune::Options { max_unused: Unused::Thousandths(0), ..prune::Options::default() };
            Ok(prune::prune(&repository, &options, &Silent)?.swept.packs.to_string())
        }
        ("forget", _) => {
            let newest = Policy { last: Some(1), ..Policy::default() };
            let report = forget::by_policy(&repository, [], (&newest, &TimeZone::UTC), &forget::Options::default())?;
            Ok(report.forgotten().to_string())
        }
        ("check", _) => {
            let options = check::Options { read: Read::All, ..check::Options::default() };
            let report = check::check(&repository, &options, &Silent)?;
            if report.findings.is_empty() { Ok(String::new()) } else { Err(format!("{:?}", report.findings).into()) }
        }
        _ => Err(format!("{words}: no such operation").into()),
    }
}

#[test]
#[ignore = "one process of those that the next test starts"]
fn process() {
    let Ok(words) = std::env::var(WORDS) else { return };
    match operate(&words) {
        // on a line of its own, behind what the harness has begun
        Ok(said) => {
            println!("\n{said}");
            std::process::exit(0)
        }
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1)
        }
    }
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
