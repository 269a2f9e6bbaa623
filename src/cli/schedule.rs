//! `vault schedule`: the one line of cron, or the two units of systemd, that have a plan carried out. It prints, and
//! installs nothing: what starts programs on a machine is for whoever looks after it to put in place.

use super::{Failure, Outcome, Session, code, render};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vault::backend::Location;
use vault::plan::{Kind, Plan};

/// How often a run looks for what is due, at least and at most, in minutes.
const MINUTES: (u64, u64) = (1, 15);
/// So many looks in the shortest time between two runs of a source.
const LOOKS: u32 = 12;

/// Variables that open a repository.
const OPENING: [&str; 5] =
    ["VAULT_KEY_FILE", "VAULT_KEY", "VAULT_PASSWORD_FILE", "VAULT_PASSWORD_COMMAND", "VAULT_PASSWORD"];
/// How variables begin by which stores are reached, and servers of any kind.
const STORES: [&str; 3] = ["AWS_", "AZURE_STORAGE_", "GOOGLE_APPLICATION_CREDENTIALS"];
const SERVERS: [&str; 4] = ["SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "https_proxy"];

/// Print what makes cron or systemd run the plan
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault schedule --cron
  vault schedule --systemd --output /etc/systemd/system")]
pub struct Arguments {
    /// A line for a crontab (the default)
    #[arg(long, conflicts_with = "systemd")]
    cron: bool,
    /// A service and a timer, hardened
    #[arg(long)]
    systemd: bool,
    /// Write vault.service and vault.timer to this folder; what is there is not overwritten
    #[arg(long, value_name = "DIR", requires = "systemd")]
    output: Option<PathBuf>,
}

/// Prints.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let plan = super::plan::load(session)?;
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("vault"));
    let file = plan.files.first().cloned().unwrap_or_default();
    let file = std::path::absolute(&file).unwrap_or(file);
    let minutes = minutes(&plan);
    let names =
        variables(&plan, &std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect::<Vec<_>>());
    if !names.is_empty() {
        let (who, place) = match arguments.systemd {
            true => ("systemd", "into /etc/vault/environment (mode 600)"),
            false => ("cron", "above this line"),
        };
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        session.global.remark(&format!("{who} does not know these variables: write NAME=value {place} for {names}"));
    }
    if !arguments.systemd {
        let minutes = if minutes == 1 { "*".to_owned() } else { format!("*/{minutes}") };
        render::line(&format!("{minutes} * * * * {} --plan {} run --quiet", word(&program), word(&file)));
        return Ok(code::DONE);
    }
    let units = [("vault.service", service(&plan, &program, &file)), ("vault.timer", timer(minutes))];
    let Some(folder) = &arguments.output else {
        for (name, text) in units {
            super::output::put(format!("# {name}\n{text}\n").as_bytes());
        }
        return Ok(code::DONE);
    };
    for (name, text) in units {
        let path = folder.join(name);
        let written = File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
        session.say(&format!("wrote {}", path.display()));
    }
    session.say("next: systemctl daemon-reload && systemctl enable --now vault.timer");
    Ok(code::DONE)
}

/// Names of variables that a run needs, and that whoever starts it must give: those of the plan, and of these that are
/// set those that open the repository, or by which stores and databases are reached.
fn variables(plan: &Plan, set: &[String]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = plan.variables.iter().map(|variable| variable.name.clone()).collect();
    for source in &plan.sources {
        if let Kind::Command(command) = &source.kind {
            names.extend(command.env.iter().cloned());
        }
    }
    let said = &plan.repository;
    let is_opened = said.password_file.is_some() || said.password_command.is_some() || said.key_file.is_some();
    let matters = |name: &str| match name {
        "VAULT_REPOSITORY" => said.location.is_none(),
        _ if OPENING.contains(&name) => !is_opened,
        _ => reaching(plan).any(|begin| name.starts_with(begin)),
    };
    names.extend(set.iter().filter(|name| matters(name)).cloned());
    names
}

/// How variables begin that matter for the places and servers of this plan.
fn reaching(plan: &Plan) -> impl Iterator<Item = &'static str> {
    let is_remote = |place: Option<&Location>| !matches!(place, Some(Location::Local(_)));
    let is_kind = |wanted: fn(&Kind) -> bool| plan.sources.iter().any(|source| wanted(&source.kind));
    let has_store = is_remote(plan.repository.location.as_ref())
        || plan.copies.iter().any(|copy| is_remote(Some(&copy.location)))
        || is_kind(|kind| matches!(kind, Kind::Bucket(_)));
    // those that the plan names hold URLs, most of them
    let has_server = has_store || !plan.variables.is_empty();
    let postgres = is_kind(|kind| matches!(kind, Kind::Postgres(_) | Kind::PostgresBase(_)));
    let mysql = is_kind(|kind| matches!(kind, Kind::Mysql(_)));
    let stores = STORES.into_iter().filter(move |_| has_store);
    let servers = SERVERS.into_iter().filter(move |_| has_server);
    stores.chain(servers).chain(postgres.then_some("PG")).chain(mysql.then_some("MYSQL_"))
}

/// A whole part of an hour, so that looks are evenly spread.
fn minutes(plan: &Plan) -> u64 {
    let shortest = plan.sources.iter().filter_map(|source| source.every).min().unwrap_or(Duration::from_hours(1));
    let wanted = (shortest / LOOKS).as_secs() / 60;
    let wanted = wanted.clamp(MINUTES.0, MINUTES.1);
    (1..=wanted).rev().find(|minutes| 60 % minutes == 0).unwrap_or(MINUTES.0)
}

/// For a shell, and for cron, which ends a line at a percent sign.
fn word(path: &Path) -> String {
    super::proposal::quote(&path.display().to_string()).replace('%', "\\%")
}

fn service(plan: &Plan, program: &Path, file: &Path) -> String {
    let mut writes: Vec<String> = Vec::new();
    let places = plan.repository.location.iter().chain(plan.copies.iter().map(|copy| &copy.location));
    for place in places {
        if let Location::Local(path) = place {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            writes.push(format!("ReadWritePaths=-{}\n", path.display()));
        }
    }
    if let Some(folder) = plan.metrics.textfile.as_deref().and_then(Path::parent) {
        writes.push(format!("ReadWritePaths=-{}\n", folder.display()));
    }
    format!(
        "[Unit]
Description=What the vault plan says is due
Documentation=man:vault(1)
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart={program} --plan {file} run --quiet
# taken with gaps is told by `vault health`
SuccessExitStatus=3
# secrets that the plan names: DATABASE_URL=…
EnvironmentFile=-/etc/vault/environment
Environment=VAULT_CACHE_DIR=%C/vault VAULT_RUNTIME_DIR=%t/vault
CacheDirectory=vault
RuntimeDirectory=vault
RuntimeDirectoryPreserve=yes
UMask=0077
Nice=10
IOSchedulingClass=idle
# it reads every file, writes to its folders, and talks to databases and stores
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_SETUID CAP_SETGID
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectHostname=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
{writes}",
        program = program.display(),
        file = file.display(),
        writes = writes.concat()
    )
}

fn timer(minutes: u64) -> String {
    format!(
        "[Unit]
Description=Looks every {minutes} minutes for what the vault plan says is due

[Timer]
OnCalendar=*:0/{minutes}
RandomizedDelaySec=20
Persistent=yes

[Install]
WantedBy=timers.target
"
    )
}
