//! The order in which the real program makes things durable, seen from outside. After power loss at any moment a
//! snapshot has all that it needs: data is on disk before it has a name, the name before anything that depends on it,
//! and all of it before the program says so.

use crate::World;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One system call that succeeded.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    /// What it names: paths given, or the path of the file that it works on.
    paths: Vec<PathBuf>,
    /// File number that it works on, 0 if none.
    number: u32,
    began: usize,
    ended: usize,
}

/// The calls of a trace by `strace -f -y`, in which those of several threads overlap.
fn calls(trace: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut unfinished: BTreeMap<&str, (String, usize)> = BTreeMap::new();
    for (place, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        let (text, began) = if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (begin.to_owned(), place));
            continue;
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let Some((begin, began)) = unfinished.remove(thread) else { continue };
            (begin + end, began)
        } else {
            (rest.to_owned(), place)
        };
        let Some((name, rest)) = text.split_once('(') else { continue };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else { continue };
        if result.starts_with('-') {
            continue;
        }
        let name = name.to_owned();
        let number = arguments.split('<').next().and_then(|number| number.parse().ok());
        let folder = |text: &str| Some(PathBuf::from(text.rsplit_once('<')?.1.split_once('>')?.0));
        let pieces: Vec<&str> = arguments.split('"').collect();
        let paths = if number.is_some() && !["rename", "link", "mkdir"].iter().any(|word| name.starts_with(word)) {
            folder(arguments.split(',').next().unwrap_or_default()).into_iter().collect()
        } else {
            // a name is looked up from the folder before it, if there is one
            let names = pieces.chunks_exact(2).map(|pair| folder(pair[0]).unwrap_or_default().join(pair[1]));
            names.collect()
        };
        calls.push(Call { name, paths, number: number.unwrap_or_default(), began, ended: place });
    }
    calls
}

/// When the first call that `wanted` wants, and that begins after `after`, has ended.
fn first_end(calls: &[Call], after: usize, wanted: impl Fn(&Call) -> bool) -> Option<usize> {
    calls.iter().filter(|call| call.began > after && wanted(call)).map(|call| call.ended).min()
}

fn is_sync(call: &Call, path: &Path) -> bool {
    matches!(call.name.as_str(), "fsync" | "fdatasync") && call.paths == [path]
}

/// The steps of the protocol whose objects need those of the step before; each has its prefixes.
type Steps = [&'static [&'static str]];

/// What is wrong with the order of the calls, and how many objects each step has.
fn faults(calls: &[Call], root: &Path, steps: &Steps) -> (Vec<String>, Vec<usize>) {
    let mut faults = Vec::new();
    // when the first object of a step begins to have its name, and when the last one has it for good
    let mut spans = vec![(usize::MAX, 0, 0usize); steps.len()];
    let mut last = 0;
    for named in calls.iter().filter(|call| call.name.starts_with("rename") || call.name.starts_with("link")) {
        let [from, to] = named.paths.as_slice() else { continue };
        let Ok(object) = to.strip_prefix(root) else { continue };
        let written = calls.iter().filter(|call| call.name.contains("write") && call.paths == [from.as_path()]);
        let written = written.map(|call| call.ended).max().unwrap_or(usize::MAX);
        if first_end(calls, written, |call| is_sync(call, from)).is_none_or(|synced| synced >= named.began) {
            faults.push(format!("{} has a name before its data is on disk", object.display()));
        }
        let (mut made, mut durable) = (named.ended, named.ended);
        for folder in to.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
            match first_end(calls, made, |call| is_sync(call, folder)) {
                Some(synced) => durable = durable.max(synced),
                None => faults.push(format!("{}: {} is not synced", object.display(), folder.display())),
            }
            // the folder's own name counts too if this run made it
            match calls.iter().find(|call| call.name.starts_with("mkdir") && call.paths == [folder]) {
                Some(call) => made = call.ended,
                None => break,
            }
        }
        last = last.max(durable);
        let step = steps.iter().position(|prefixes| prefixes.iter().any(|prefix| object.starts_with(prefix)));
        if let Some((first, end, count)) = step.and_then(|step| spans.get_mut(step)) {
            (*first, *end, *count) = ((*first).min(named.began), (*end).max(durable), *count + 1);
        }
    }
    for (pair, names) in spans.windows(2).zip(steps.windows(2)) {
        if pair[0].1 >= pair[1].0 {
            faults.push(format!("{:?} has a name before {:?} is durable", names[1], names[0]));
        }
    }
    let said = calls.iter().find(|call| call.name == "write" && call.number == 1);
    if said.is_none_or(|said| said.began < last) {
        faults.push("success is told before everything is durable".into());
    }
    (faults, spans.into_iter().map(|(_, _, count)| count).collect())
}

/// Runs the program under strace, and checks the order; then it takes calls away and sees that this is noticed.
fn assert_order(world: &World, words: &[&str], steps: &Steps) -> Vec<usize> {
    let log = world.path("trace");
    let plain = world.command(words);
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "0", "-o"]).arg(&log).args([
        "-e",
        "trace=write,writev,pwrite64,pwritev,fsync,fdatasync,mkdir,mkdirat,rename,renameat,renameat2,link,linkat",
    ]);
    command.arg(plain.get_program()).args(plain.get_args()).current_dir(world.path(""));
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().expect("strace starts");
    assert!(output.status.success(), "{}", crate::errors(&output));
    let calls = calls(&std::fs::read_to_string(&log).expect("a trace"));
    let root = world.path("repository");
    let (found, counts) = faults(&calls, &root, steps);
    assert!(found.is_empty(), "{found:#?}");

    let without = |drop: &dyn Fn(&Call) -> bool| {
        let kept: Vec<Call> = calls.iter().filter(|call| !drop(call)).cloned().collect();
        faults(&kept, &root, steps).0.join("\n")
    };
    let is_in_tmp = |call: &Call| call.paths.iter().any(|path| path.starts_with(root.join("tmp")));
    let is_fsync = |call: &Call| call.name == "fsync";
    assert!(without(&|call| is_fsync(call) && is_in_tmp(call)).contains("before its data is on disk"));
    assert!(without(&|call| is_fsync(call) && !is_in_tmp(call)).contains("is not synced"));
    if calls.iter().any(|call| call.name.starts_with("mkdir") && call.paths == [root.join(steps[0][0])]) {
        assert!(without(&|call| is_sync(call, &root)).contains("is not synced"));
    }
    for moved in steps.windows(2) {
        let mut late = calls.clone();
        let is_first = |call: &Call| call.paths.get(1).is_some_and(|to| to.starts_with(root.join(moved[0][0])));
        // the last object of a step gets its name only at the end
        let end = calls.last().map_or(0, |call| call.ended);
        let call = late.iter_mut().rfind(|call| is_first(call)).expect("an object of each step");
        (call.began, call.ended) = (end + 1, end + 2);
        assert!(faults(&late, &root, steps).0.join("\n").contains("is durable"));
    }
    counts
}

#[test]
fn nothing_has_a_name_before_what_it_needs_is_on_disk() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed");
        // Straight to the terminal: the harness would swallow it.
        let name = "nothing_has_a_name_before_what_it_needs_is_on_disk";
        return drop(writeln!(std::io::stderr(), "SKIPPED {name}: strace is not installed (apt-get install strace)"));
    }
    let world = World::empty();
    let made = assert_order(&world, &["init", "--json"], &[&["keys"], &["config.copy"], &["config"]]);
    assert_eq!(made, [1, 1, 1]);
    let source = world.path("source");
    std::fs::create_dir_all(source.join("below")).expect("folders");
    for (name, length) in [("large", 40u32 << 20), ("below/small", 10_000), ("below/tiny", 1)] {
        // numbers that don't repeat, so that nothing is deduplicated or compressed away
        let mut bytes = blake3::Hasher::new_keyed(&[7; 32]);
        bytes.update(name.as_bytes());
        let mut content = vec![0; length as usize];
        bytes.finalize_xof().fill(&mut content);
        std::fs::write(source.join(name), content).expect("a file");
    }
    let steps: &Steps = &[&["packs"], &["index"], &["snapshots"]];
    for tag in ["first", "second"] {
        let taken = assert_order(&world, &["snapshot", "source", "--json", "--tag", tag], steps);
        let least = if tag == "first" { 4 } else { 1 };
        assert!(taken[0] >= least && taken[1] >= 1 && taken[2] == 1, "{taken:?}");
        std::fs::write(source.join("below/small"), "changed").expect("a file");
    }
}
