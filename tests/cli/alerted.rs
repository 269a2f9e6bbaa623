//! Who is told: each trouble made for real, and heard by real servers of web and mail exactly once, and once when it is
//! over; pings of a run; figures for Prometheus. The numbers are those of the list of what such a run must show.

use crate::inbox::{assert_form, assert_lint, promtool, python, received, sink};
use crate::planned::{UPLOADS, json, planned, write};
use crate::servers::Server;
use crate::web::{Answer, Asked, Web};
use crate::{World, errors};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Stands in whatever a message must not show.
const CANARY: &str = "hunter2";
const FORMS: [&str; 5] = ["slack", "discord", "teams", "ntfy", "generic"];

/// A trouble, as a plan that is well and one that is not.
struct Trouble {
    objective: &'static str,
    source: &'static str,
    event: &'static str,
    well: String,
    /// How often the plan is carried out while it is well.
    well_runs: usize,
    bad: String,
    /// How it is carried out while it is bad.
    words: &'static [&'static str],
    /// In the one line that `vault health` prints: whom, what was found, what is wanted, what to do.
    line: [&'static str; 4],
}

const PLAIN: &[&str] = &["run", "--quiet"];
const ALL: &[&str] = &["run", "--quiet", "--all"];

fn dump(script: &str) -> String {
    format!("{UPLOADS}[source.dump]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\nevery = \"1h\"\n")
}

/// A secret that programs print, which a plan would not take.
fn leak(world: &World) {
    fs::write(world.path("leak"), format!("cannot reach postgres://u:{CANARY}@db/x\n")).expect("a file");
}

/// What the source of dumps gives, if it gives a file: so many rows, which are others each time.
fn dump_of(world: &World, rows: usize, seed: usize) {
    let text: String = (0..rows).map(|row| format!("{row} {seed}\n")).collect();
    fs::write(world.path("dump.sql"), text).expect("a dump");
}

/// Each that this version judges and a machine can be brought to; drills and WAL are not run by it.
fn troubles() -> Vec<Trouble> {
    let well = || Trouble {
        objective: "",
        source: "uploads",
        event: "missed",
        well: UPLOADS.to_owned(),
        well_runs: 1,
        bad: UPLOADS.to_owned(),
        words: PLAIN,
        line: [""; 4],
    };
    vec![
        Trouble {
            objective: "runs",
            source: "dump",
            event: "failed",
            well: dump("echo fine"),
            bad: dump("cat leak >&2; exit 3"),
            words: ALL,
            line: ["dump: failed: ", "status 3", "", "next: vault run dump"],
            ..well()
        },
        Trouble {
            objective: "rpo",
            bad: UPLOADS.replace("every = \"1h\"", "every = \"never\"\nrpo = \"1s\""),
            line: ["uploads: newest snapshot is ", " s old", "RPO 1 s", "next: vault run uploads"],
            ..well()
        },
        Trouble {
            objective: "size",
            source: "dump",
            event: "suspect",
            well: dump("cat dump.sql"),
            well_runs: 3,
            bad: dump("cat dump.sql"),
            words: ALL,
            line: ["dump: newest snapshot has ", " % of the usual ", " KiB", "next: vault run dump --accept"],
        },
        Trouble {
            objective: "storage",
            source: "",
            bad: format!("{UPLOADS}#100TB"),
            line: ["vault: ", " of room is left", "at least 90.9 TiB", "next: vault prune"],
            ..well()
        },
        Trouble {
            objective: "check",
            source: "",
            bad: format!("{UPLOADS}[health]\ncheck_max_age = \"1s\"\n"),
            line: ["a check last read data ", " s ago", "at most 1 s", "next: vault check --read-data"],
            ..well()
        },
    ]
}

/// A plan's servers of web and mail.
struct Ears {
    web: Web,
    mail: Server,
    /// So many mails were read.
    read: usize,
}

impl Ears {
    /// That plan, with all of them to be told.
    fn plan(&self, rest: &str) -> String {
        let names = FORMS.map(|form| format!("\"HOOK_{}\"", form.to_uppercase())).join(", ");
        let forms = FORMS.map(|form| format!("\"{form}\"")).join(", ");
        let (rest, storage) = rest.split_once('#').unwrap_or((rest, "1MB"));
        let port = self.mail.port;
        format!(
            "{rest}[alerts]\nwebhook_env = [{names}]\nformat = [{forms}]\nstorage_low = \"{storage}\"\nemail = {{ to = \
             \"ops@example.org\", from = \"vault@example.org\", server = \"localhost\", port = {port}, tls = \"none\" }}\n"
        )
    }

    fn run(&self, world: &World, words: &[&str], code: i32) {
        let mut command = world.command(words);
        command.env("VAULT_RUNTIME_DIR", world.path("locks"));
        for form in FORMS {
            command.env(format!("HOOK_{}", form.to_uppercase()), self.web.url(&format!("/{form}/{CANARY}")));
        }
        let output = command.output().expect("vault starts");
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", errors(&output));
    }

    /// What came since the last call.
    fn take(&mut self) -> (Vec<Asked>, Vec<String>) {
        let text = |mail: &Value| mail["content"].as_str().expect("text").to_owned();
        let new = received(&self.mail).iter().skip(self.read).map(text).collect::<Vec<_>>();
        self.read += new.len();
        (self.web.take(), new)
    }

    /// Each has heard of it once, in the form of its service, and of no secret.
    fn assert_heard(&mut self, python: &Path, event: &str, trouble: &Trouble) {
        let (asked, mails) = self.take();
        // ntfy's topic goes into the body
        let form_of = |asked: &Asked| asked.path.split('/').nth(1).unwrap_or_default().to_owned();
        let forms: BTreeSet<String> = asked.iter().map(form_of).collect();
        let said = format!("{} {event}: {asked:#?}", trouble.objective);
        assert_eq!((asked.len(), forms), (FORMS.len(), BTreeSet::from(FORMS.map(str::to_owned))), "{said}");
        for one in &asked {
            let form = form_of(one);
            assert_form(python, &form, &one.body);
            // the topic of ntfy is the end of its address
            let secrets = one.body.matches(CANARY).count() - usize::from(form == "ntfy");
            assert!(one.body.contains(trouble.source) && secrets == 0, "{}", one.body);
        }
        let generic = asked.iter().find(|one| form_of(one) == "generic").expect("one").json();
        let told = [&generic["event"], &generic["source"], &generic["objective"]];
        assert_eq!(told, [event, trouble.source, trouble.objective], "{generic}");
        assert_eq!(mails.len(), 1, "{said} {mails:#?}");
        assert!(mails[0].contains(trouble.source) && !mails[0].contains(CANARY), "{}", mails[0]);
    }

    fn assert_silent(&mut self, when: &str) {
        let (asked, mails) = self.take();
        assert!(asked.is_empty() && mails.is_empty(), "{when}: {asked:#?} {mails:#?}");
    }
}

#[test]
fn check_41_each_trouble_is_told_once_to_everybody_and_once_when_it_is_over() {
    let (Some(python), Some(mail)) = (python("jsonschema"), sink(None)) else { return };
    let mut ears = Ears { web: Web::start(&[]), mail, read: 0 };
    for trouble in troubles() {
        let world = planned(&ears.plan(&trouble.well));
        leak(&world);
        for number in 0..trouble.well_runs {
            dump_of(&world, 30_000, number);
            ears.run(&world, ALL, 0);
        }
        ears.assert_silent(trouble.objective);
        write(&world, &ears.plan(&trouble.bad));
        dump_of(&world, 9_000, 0);
        // what is too old must have got so
        std::thread::sleep(Duration::from_millis(1_500));
        ears.run(&world, trouble.words, i32::from(trouble.event == "failed"));
        ears.assert_heard(&python, trouble.event, &trouble);
        let judged = world.run(&["health", "--quiet"]);
        let line = errors(&judged);
        assert_eq!((judged.status.code(), line.lines().count()), (Some(21), 1), "{line}");
        for word in trouble.line {
            assert!(line.contains(word), "{word} in: {line}");
        }
        ears.run(&world, trouble.words, i32::from(trouble.event == "failed"));
        ears.assert_silent("the second run");
        write(&world, &ears.plan(&trouble.well));
        dump_of(&world, 30_000, 9);
        ears.run(&world, ALL, 0);
        ears.assert_heard(&python, "recovered", &trouble);
        ears.run(&world, ALL, 0);
        ears.assert_silent("all is well again");
        json(&world, &["health"], 0);
    }
}

#[test]
fn check_42_pings_frame_a_run_and_a_dead_server_costs_no_more_than_fifteen_seconds() {
    let plan = |command: &str| {
        format!(
            "[source.dump]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"{command}\"]\nevery = \"1h\"\n\
             ping_env = \"PING\"\n"
        )
    };
    let ping = |world: &World, web: &Web, code: i32| {
        let mut command = world.command(&["run", "--quiet", "dump"]);
        command.env("VAULT_RUNTIME_DIR", world.path("locks"));
        command.env("PING", web.url("/hc/key"));
        let began = Instant::now();
        let output = command.output().expect("vault starts");
        assert_eq!(output.status.code(), Some(code), "{}", errors(&output));
        (web.take(), began.elapsed(), errors(&output))
    };
    let web = Web::start(&[]);
    let world = planned(&plan("cat leak"));
    leak(&world);
    let (good, usual, _) = ping(&world, &web, 0);
    write(&world, &plan("cat leak >&2; exit 3"));
    let (bad, ..) = ping(&world, &web, 1);
    for (asked, end) in [(&good, "/hc/key"), (&bad, "/hc/key/fail")] {
        let [start, ended] = asked.as_slice() else { panic!("{asked:#?}") };
        let (begun, begun_id) = start.path.split_once("?rid=").expect("an id");
        let (path, id) = ended.path.split_once("?rid=").expect("an id");
        assert_eq!((begun, path, begun_id), ("/hc/key/start", end, id));
        assert!(!format!("{asked:?}").contains(CANARY), "{asked:#?}");
    }
    let dead = Web::start(&vec![Answer::Hangs; 20]);
    write(&world, &plan("echo again"));
    let (_, took, said) = ping(&world, &dead, 0);
    assert!(took < usual + Duration::from_secs(15), "{took:?} where {usual:?} is usual");
    assert!(said.contains("cannot ping PING") && !said.contains("/hc/key"), "{said}");
}

/// A hundred runs of a plan, good and bad ones, with what comes and goes: the same figures each time, in a file that is
/// never written to, only replaced.
#[test]
fn check_43_figures_of_a_hundred_runs_have_the_same_labels_and_replace_each_other() {
    let plan = |script: &str| format!("{}[metrics]\ntextfile = \"vault.prom\"\n", dump(script));
    let world = planned(&plan("echo 0"));
    let figures = || fs::read_to_string(world.path("vault.prom")).expect("figures");
    let labels = |text: &str| -> BTreeSet<String> {
        let lines = text.lines();
        lines
            .map(|line| if line.starts_with('#') { line } else { line.rsplit_once(' ').expect("a figure").0 }.into())
            .collect()
    };
    let file = || fs::metadata(world.path("vault.prom")).expect("a file").ino();
    json(&world, &["run"], 0);
    let (first, mut before) = (labels(&figures()), file());
    let promtool = promtool();
    for number in 0..100 {
        let is_bad = number % 10 == 3;
        write(&world, &plan(if is_bad { "exit 3" } else { "echo fine" }));
        match number % 4 {
            0 => json(&world, &["run", "dump"], i32::from(is_bad)),
            1 => json(&world, &["run"], 0),
            2 => json(&world, &["run", "uploads"], 0),
            _ => Value::from(world.ok(&["metrics", "--textfile", "vault.prom", "--quiet"])),
        };
        assert_eq!(labels(&figures()), first, "run {number}");
        let now = file();
        assert!(now != before, "run {number}: the file was written to");
        before = now;
        if let Some(promtool) = promtool.as_ref().filter(|_| number % 25 == 0) {
            assert_lint(promtool, &figures());
        }
    }
    let left = fs::read_dir(world.path("")).expect("a folder").flatten().map(|entry| entry.file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().contains("prom")).count(), 1);
}
