//! `vault plan`: the file that says what is backed up. Found and read here for every command that goes by it; looked at,
//! written out, and drafted for a folder that has none.

use super::printed::printed;
use super::{
    Context, Failure, Global, Outcome, Session, code, draft, machine, online, outline, plain, render, runbook, secret,
};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use vault::plan::{self, CopyTo, Error, Finding, Level, Plan, Seen};
use vault::run::Tried;

/// Where a plan is if nobody says.
const PLACES: [&str; 2] = ["vault.toml", "/etc/vault/vault.toml"];

/// Look at the plan, draft one, or print how everything comes back
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault plan init
  vault plan check --offline --plan /etc/vault/vault.toml")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(draft::Arguments),
    Check(Check),
    Show(outline::Arguments),
    Runbook(runbook::Arguments),
}

/// Name all that is wrong with the plan
///
/// Every error with its line and column, and what the plan needs around it: variables, files, servers that answer and
/// programs that read them, the repository and what its key may do. Nothing is dumped or written. The exit code is 2 if
/// there are errors.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault plan check
  vault plan check --offline --json --plan conf/vault.toml")]
struct Check {
    /// Connect nowhere, and take what is not set on this machine for a warning
    #[arg(long)]
    offline: bool,
    /// Send a test to every channel and ping that the plan names, and say which arrived
    #[arg(long, conflicts_with = "offline")]
    alert: bool,
}

printed! {
    /// What `vault plan check` prints.
    struct Checked<'a>(found: &'a [Finding], sources: Vec<Source<'a>>, tried: &'a [Tried]) {
        /// Nothing that was found is an error.
        ok: bool = !found.iter().any(is_error),
        /// What was found, in the order of the files.
        findings: Vec<Found<'a>> = found.iter().map(Found::of).collect(),
        /// Each source; none if the plan can't be read.
        sources: Vec<Source<'a>> = sources,
        /// With `--alert`: each channel and ping; else empty.
        messages: Vec<Message<'a>> = tried.iter().map(Message::of).collect(),
    }

    /// A test message.
    struct Message<'a>(tried: &'a Tried) {
        /// `mail`, `command`, or the variable with the address.
        name: &'a str = &tried.name,
        /// It arrived. False too where the server knows no tests, and nothing was sent.
        arrived: bool = tried.error.is_none() && !tried.is_left_out,
        /// Why it did not arrive; null where it did, and where nothing was sent.
        error: Option<&'a str> = tried.error.as_deref(),
    }

    /// One finding.
    struct Found<'a>(finding: &'a Finding) {
        /// `error`, `warning` or `note`.
        level: &'static str = finding.level.name(),
        /// The key with its tables; empty for the file as a whole.
        key: &'a str = &finding.key,
        /// The file that it stands in.
        file: String = finding.place.file.display().to_string(),
        /// From 1.
        line: u64 = finding.place.line as u64,
        /// In characters, from 1.
        column: u64 = finding.place.column as u64,
        /// What is wrong.
        problem: &'a str = &finding.problem,
        /// What to do.
        hint: Option<&'a str> = finding.hint.as_deref(),
    }

    /// A source, and what was seen of its server: null where nothing was asked.
    struct Source<'a>(source: &'a plan::Source, seen: &'a Seen) {
        /// Its name.
        name: &'a str = &source.name,
        /// Its kind.
        kind: &'static str = source.kind.name(),
        /// The server answers.
        reachable: Option<bool> = seen.reachable,
        /// Version of the server.
        server_version: Option<&'a str> = seen.server_version.as_deref(),
        /// The program that would read it.
        tool: Option<&'a str> = seen.tool.as_deref(),
        /// Version of that program.
        tool_version: Option<&'a str> = seen.tool_version.as_deref(),
        /// About how many bytes there are to read.
        bytes_estimate: Option<u64> = seen.bytes_estimate,
    }
}

/// Runs one of them.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    match &arguments.command {
        Command::Init(arguments) => draft::run(session, arguments),
        Command::Check(arguments) => check(session, arguments),
        Command::Show(_) => outline::run(session, &load(session)?),
        Command::Runbook(arguments) => {
            let plan = load(session)?;
            runbook::run(&session_of(session, &plan), &plan, arguments)
        }
    }
}

/// Where the plan is.
pub fn find(session: &Session) -> Result<PathBuf, Failure> {
    let found = || PLACES.iter().map(PathBuf::from).find(|path| path.exists());
    session.global.plan.clone().or_else(found).ok_or_else(|| {
        Failure::usage(format!("there is no plan: neither {} nor {}", PLACES[0], PLACES[1]))
            .hint("say where with --plan FILE, or draft one with `vault plan init`")
    })
}

/// Reads the plan for a command that goes by it. All that is wrong with it is printed, and ends the command.
pub fn load(session: &Session) -> Result<Plan, Failure> {
    load_from(&find(session)?)
}

fn load_from(path: &Path) -> Result<Plan, Failure> {
    plan::read(path).map_err(|error| match error {
        Error::Findings(found) => failed(&found),
        error => unread(&error),
    })
}

fn unread(error: &Error) -> Failure {
    Failure::usage(error.to_string()).hint("say where it is with --plan FILE")
}

fn is_error(finding: &Finding) -> bool {
    finding.level == Level::Error
}

/// A finding as the line that is printed of it.
fn line(finding: &Finding) -> String {
    let level = if is_error(finding) { String::new() } else { format!("{}: ", finding.level.name()) };
    let hint = finding.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
    format!("{}: {level}{}{hint}", finding.place, finding.problem)
}

/// Prints what was found but the last error, which the failure is.
fn failed(found: &[Finding]) -> Failure {
    let last = found.iter().rposition(is_error);
    let others = found.iter().enumerate().filter(|(at, _)| Some(*at) != last);
    others.for_each(|(_, finding)| render::complain(&line(finding)));
    Failure::usage(last.and_then(|at| found.get(at)).map_or_else(String::new, line))
}

/// Looks at the plan.
fn check(session: &Session, arguments: &Check) -> Outcome {
    let path = find(session)?;
    let plan = match plan::read(&path) {
        Ok(plan) => plan,
        Err(Error::Findings(found)) => {
            session.global.print(&Checked::of(&found, Vec::new(), &[]));
            return Err(failed(&found));
        }
        Err(error) => return Err(unread(&error)),
    };
    let mut found = plan.warnings.clone();
    found.extend(around(session, &plan, arguments.offline));
    found.extend(plan::not_run(&plan));
    let seen: Vec<Seen> = if arguments.offline {
        plan.sources.iter().map(plan::seen).collect()
    } else {
        let (more, seen) = online::look(&session_of(session, &plan), &plan);
        found.extend(more);
        seen
    };
    found.sort_by_key(|finding| plan.order(&finding.place));
    let sources = plan.sources.iter().zip(&seen).map(|(source, seen)| Source::of(source, seen));
    let tried = if arguments.alert { try_messages(session, &plan) } else { Vec::new() };
    session.global.print(&Checked::of(&found, sources.collect(), &tried));
    tell_messages(session, &tried);
    if found.iter().any(is_error) {
        return Err(failed(&found));
    }
    found.iter().for_each(|finding| session.global.remark(&line(finding)));
    let sources = render::count(plan.sources.len() as u64, "source", "sources");
    let warnings = found.iter().filter(|finding| finding.level == Level::Warning).count();
    let warnings = render::if_any(warnings as u64, |some| format!(", {}", render::count(some, "warning", "warnings")));
    session.say(&format!("{}: {sources}, no errors{warnings}", path.display()));
    if arguments.alert && tried.is_empty() {
        session.global.remark("nobody is told: the plan names no channel in [alerts] and no ping");
    }
    Ok(if tried.iter().any(|one| one.error.is_some()) { code::FAILED } else { code::DONE })
}

/// Sends a test to all whom the plan tells.
fn try_messages(session: &Session, plan: &Plan) -> Vec<Tried> {
    let open_copy = |_: &CopyTo| Err("nothing is copied".to_owned());
    vault::run::try_messages(plan, &machine::of_this(&open_copy), &session.runtime)
}

fn tell_messages(session: &Session, tried: &[Tried]) {
    for one in tried {
        match &one.error {
            Some(error) => render::complain(&format!("{}: {}", one.name, plain::joined(error))),
            None if one.is_left_out => {
                session.say(&format!("{}: its server knows no test; nothing was sent", one.name))
            }
            None => session.say(&format!("{}: arrived", one.name)),
        }
    }
}

/// What the plan needs on this machine and does not find.
fn around(session: &Session, plan: &Plan, is_offline: bool) -> Vec<Finding> {
    let mut found = plan::lacking(plan, |name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if plan.repository.location.is_none() && session.global.repository.is_none() {
        found.push(Finding {
            level: Level::Error,
            key: "repository.location".into(),
            place: plan.repository.place.clone(),
            problem: "nothing says where the repository is".into(),
            hint: Some("set `location` in [repository], or VAULT_REPOSITORY".into()),
        });
    }
    if is_offline {
        found.iter_mut().for_each(|finding| finding.level = Level::Warning);
    }
    found
}

/// A session that opens what the plan names: flags of this call win over the plan, and the plan over the environment.
pub fn session_of(session: &Session, plan: &Plan) -> Session {
    let (mut global, said) = (session.global.clone(), &plan.repository);
    let is_flag = global.repository.is_some() && global.repository != std::env::var("VAULT_REPOSITORY").ok();
    global.repository = global.repository.filter(|_| is_flag || said.text.is_none()).or_else(|| said.text.clone());
    if global.password_file.is_none() && global.password_command.is_none() && global.key_file.is_none() {
        global.password_file.clone_from(&said.password_file);
        global.password_command = said.password_command.clone().map(OsString::from);
        global.key_file.clone_from(&said.key_file);
    }
    global.limit_upload = global.limit_upload.or(said.bandwidth);
    let told_by = told_by(session, &global, plan);
    Session { global, runtime: session.runtime.clone(), told_by }
}

/// Where a plan says which repository is meant, if nothing else did.
fn told_by(session: &Session, global: &Global, plan: &Plan) -> Option<String> {
    let is_of_plan = global.repository != session.global.repository && plan.repository.text.is_some();
    is_of_plan.then(|| plan.repository.place.to_string())
}

/// A session for a command that goes by no plan. Where neither a flag nor VAULT_REPOSITORY says which repository is meant,
/// the plan that is named, or else the one at hand, says it, and what opens it; what the environment says to that counts
/// more. `None` if there is nothing to take from a plan.
pub fn lend(session: &Session) -> Result<Option<Session>, Failure> {
    let global = &session.global;
    let is_whole = global.repository.is_some() && secret::is_said(global);
    let path = match (&global.plan, &global.repository) {
        _ if is_whole => return Ok(None),
        (Some(path), _) => path.clone(),
        (None, Some(_)) => return Ok(None),
        (None, None) => match at_hand()? {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    let plan = load_from(&path)?;
    let (mut global, said) = (global.clone(), &plan.repository);
    // what opens another repository than the plan's is not in the plan
    let is_of_plan = global.repository.is_none() || said.text.is_none() || said.text == global.repository;
    if is_of_plan {
        global.repository = global.repository.or_else(|| said.text.clone());
        if !secret::is_said(&global) {
            global.password_file.clone_from(&said.password_file);
            global.password_command = said.password_command.clone().map(OsString::from);
            global.key_file.clone_from(&said.key_file);
        }
        global.limit_upload = global.limit_upload.or(said.bandwidth);
    }
    let told_by = told_by(session, &global, &plan);
    Ok(Some(Session { global, runtime: session.runtime.clone(), told_by }))
}

/// The plan where plans are. One that lies where somebody works may name a command, so it must be his, or root's.
fn at_hand() -> Result<Option<PathBuf>, Failure> {
    let Some(path) = PLACES.iter().map(PathBuf::from).find(|path| path.exists()) else { return Ok(None) };
    let found = std::fs::metadata(&path).context(&format!("cannot read {}", path.display()))?;
    let (own, root) = (rustix::process::geteuid().as_raw(), 0);
    if ![own, root].contains(&found.uid()) || found.mode() & 0o002 != 0 {
        let what = format!("no repository given, and {} is not taken: others can write it", path.display());
        return Err(Failure::usage(what).hint("if it is right, say --plan; else --repository LOCATION"));
    }
    Ok(Some(path))
}
