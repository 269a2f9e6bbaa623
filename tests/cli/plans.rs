//! The plans of `examples/plans`, carried out: servers of this machine stand in for what somebody else hosts. Every
//! source is taken, kept by the tiers of its plan, and judged; what this version does not run is said, and never passes
//! for met.

use crate::cluster::Cluster;
use crate::private::{Server, find, ordinary, skipped};
use crate::servers;
use crate::web::Web;
use crate::{PASSWORD, World, errors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use vault::backend::{Backend, BackendOptions, Location};
use vault::keys;
use vault::repository::{NewRepository, Options, Repository};
use vault::runtime::Runtime;
use vault_format::bundle::Role;
use vault_format::slot::KDF_FLOOR;

/// What somebody else would host.
struct Hosted {
    older: Cluster,
    newer: Cluster,
    redis: Server,
    s3: servers::Server,
    mails: servers::Server,
    web: Web,
}

impl Hosted {
    fn start() -> Option<Self> {
        let (older, newer) = (Cluster::of_system()?, Cluster::newest()?);
        let Some(program) = find("redis-server") else {
            return skipped("Redis is not installed (apt-get install redis-server)");
        };
        let mut redis = Server::prepare("vault-redis-");
        let mut command = ordinary(&program);
        command.args(["--port", "0", "--unixsocket", "socket", "--unixsocketperm", "777", "--save", ""]);
        command.args(["--repl-diskless-sync-delay", "0"]);
        let socket = redis.path("socket");
        redis.start(command, |_| cli(&socket, &["PING"]) == "PONG");
        cli(&socket, &["SET", "session:1", "x"]);
        let s3 = servers::moto()?;
        let web = Web::start(&[]);
        let hosted = Self { older, newer, redis, s3, mails: mails()?, web };
        for bucket in ["second", "files", "media"] {
            hosted.put(bucket, "");
        }
        Some(hosted)
    }

    fn put(&self, path: &str, body: &str) {
        servers::put(self.s3.port, path, body);
    }

    fn location(&self, place: &str) -> String {
        format!("s3://{place}?region=us-east-1&endpoint=http://127.0.0.1:{}", self.s3.port)
    }

    /// A repository there, and the bundle of its owner as a key file.
    fn init(&self, place: &str, key_file: &Path, like: Option<&Repository>) -> Repository {
        let location =
            format!("{}&disable_config_load=true&access_key_id=SECRET&secret_access_key=SECRET", self.location(place));
        let runtime = Runtime::system(1).unwrap();
        let options = BackendOptions { create: true, ..BackendOptions::default() };
        let backend = Backend::open(&Location::parse(&location).unwrap(), &options, &runtime).unwrap();
        let like = like.map(|other| other.keys().owner("test").unwrap().root().clone());
        let new = NewRepository { kdf: KDF_FLOOR, like, ..NewRepository::new(PASSWORD.as_bytes()) };
        let repository = Repository::init(backend, runtime, Options::default(), new).unwrap();
        let owner = keys::NewKey { role: Role::Owner, label: None, domain: None };
        fs::write(key_file, keys::draft(&repository, &owner).unwrap().key_file().unwrap()).unwrap();
        repository
    }
}

fn mails() -> Option<servers::Server> {
    let venv = std::env::var_os("VAULT_TEST_VENV").map(|venv| Path::new(&venv).join("bin"));
    let Some(python) = servers::find("python3", &Vec::from_iter(venv)) else { return skipped("there is no Python") };
    let has = Command::new(&python).args(["-c", "import aiosmtpd"]).output().unwrap();
    if !has.status.success() {
        return skipped("aiosmtpd is not installed (pip install aiosmtpd, VAULT_TEST_VENV)");
    }
    let (port, folder) = (testkit::port::free(), tempfile::tempdir().unwrap());
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backends/smtp.py"));
    command.arg(port.to_string()).arg(folder.path().join("data"));
    let location = folder.path().join("data").display().to_string();
    Some(servers::start(command, port, folder, location))
}

fn cli(socket: &str, words: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-s", socket]).args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A plan where it runs.
struct Planned {
    world: World,
    environment: BTreeMap<String, String>,
}

impl Planned {
    /// A plan of the examples, in which each of these texts, which must be there, is replaced by another.
    fn new(name: &str, replaced: &[(&str, &str)]) -> Self {
        let world = World::empty();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/plans").join(name);
        let mut plan = fs::read_to_string(file).unwrap();
        for (from, to) in replaced {
            assert!(plan.contains(from), "{from} is not in {name}");
            plan = plan.replace(from, to);
        }
        fs::create_dir(world.path("locks")).unwrap();
        fs::write(world.path("vault.toml"), plan).unwrap();
        let set = [("AWS_ACCESS_KEY_ID", "SECRET"), ("AWS_SECRET_ACCESS_KEY", "SECRET")];
        let mut environment: BTreeMap<String, String> =
            set.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        environment.insert("VAULT_KEY_FILE".into(), world.path("owner.key").display().to_string());
        environment.insert("VAULT_RUNTIME_DIR".into(), world.path("locks").display().to_string());
        Self { world, environment }
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.insert(name.to_owned(), value.into());
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.world.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn vault(&self, words: &[&str]) -> Output {
        let mut command = self.world.command(words);
        command.env_remove("VAULT_PASSWORD").env_remove("VAULT_REPOSITORY").envs(&self.environment);
        command.output().expect("vault starts")
    }

    fn json(&self, words: &[&str], code: i32) -> Value {
        let output = self.vault(&[words, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", errors(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The plan is right, and what this version leaves out is named with it.
    fn check(&self, left_out: &[&str]) {
        let output = self.vault(&["plan", "check"]);
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let named: Vec<&str> = said.lines().filter(|line| line.contains("not run by this version")).collect();
        assert_eq!(named.len(), left_out.len(), "{said}");
        left_out.iter().for_each(|what| assert!(named.iter().any(|line| line.contains(what)), "{what}: {said}"));
    }

    /// Every source but those that are left out is taken.
    fn take(&self, words: &[&str], outcomes: &[(&str, &str)]) -> Value {
        let ran = self.json(&[["run"].as_slice(), words].concat(), 0);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let taken: BTreeMap<String, String> = list(&ran, "sources", |one| (text(&one["name"]), text(&one["outcome"])));
        let wanted = outcomes.iter().map(|(name, outcome)| ((*name).to_owned(), (*outcome).to_owned())).collect();
        assert_eq!(taken, wanted, "{ran}");
        ran
    }

    /// How many snapshots of each source each rule keeps.
    fn kept(&self) -> BTreeMap<String, Vec<String>> {
        // a machine's key forgets nothing: the owner does
        let owner = self.world.path("owner.key");
        let explained = self.json(&["forget", "--by-plan", "--explain", "--key-file", owner.to_str().unwrap()], 0);
        let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in explained["kept"].as_array().unwrap() {
            let reasons: Vec<&str> =
                one["reasons"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap()).collect();
            kept.entry(one["name"].as_str().unwrap().to_owned()).or_default().push(reasons.join(", "));
        }
        kept
    }

    /// Status of each objective of the sources, as `SOURCE OBJECTIVE`.
    fn judged(&self, code: i32) -> BTreeMap<String, String> {
        let judged = self.json(&["health"], code);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        list(&judged, "objectives", |one| {
            (format!("{} {}", text(&one["source"]), text(&one["objective"])), text(&one["status"]))
        })
    }
}

fn list(value: &Value, key: &str, each: impl Fn(&Value) -> (String, String)) -> BTreeMap<String, String> {
    value[key].as_array().unwrap().iter().map(each).collect()
}

const TABLES: &str = "create table if not exists users (id serial primary key, name text); insert into users (name) \
    select 'x' from generate_series(1, 50); create table if not exists companies (id int); create table if not exists \
    projects (id int); create table if not exists files (id int); create table if not exists webhook_events (id int); \
    create table if not exists inspections (id serial, created_at timestamptz default now()); insert into inspections \
    default values; create table if not exists sessions (id serial); insert into sessions default values";

/// Taken twice, the second time with something new everywhere; then kept by its tiers.
fn twice(planned: &Planned, outcomes: &[(&str, &str)], renew: &dyn Fn(), tiers: &[(&str, &str)]) {
    planned.take(&[], outcomes);
    renew();
    planned.take(&["--all"], outcomes);
    let kept = planned.kept();
    for (name, tier) in tiers {
        let kept = kept.get(*name).unwrap_or_else(|| panic!("nothing of {name} in {kept:?}"));
        // the newest of the day, unless the clock has just passed into another one
        let most = 2;
        let least = if ["last ", "within "].iter().any(|all| tier.starts_with(all)) { 2 } else { 1 };
        assert!((least..=most).contains(&kept.len()), "{name}: {kept:?}");
        assert!(kept.iter().all(|reasons| reasons.contains(tier)), "{name} {tier}: {kept:?}");
    }
}

fn all_met(judged: &BTreeMap<String, String>, sources: &[&str]) {
    for source in sources {
        for objective in ["rpo", "runs", "size", "duration"] {
            let key = format!("{source} {objective}");
            assert_eq!(judged.get(&key).map(String::as_str), Some("met"), "{key} in {judged:?}");
        }
    }
    for objective in ["check", "chain", "clock"] {
        assert_eq!(judged[&format!(" {objective}")], "met", "{judged:?}");
    }
}

fn managed_postgres(hosted: &Hosted) {
    let place = hosted.location("bucket/shop");
    let server = format!("server = \"127.0.0.1\", port = {}, tls = \"none\"", hosted.mails.port);
    let login = "server = \"smtp.example\", user_env = \"SMTP_USER\", password_env = \"SMTP_PASSWORD\"";
    let mut planned = Planned::new(
        "managed-postgres.toml",
        &[("s3://shop-backups/prod?region=us-west-2", &place), ("/etc/vault/web-1.key", "web.key"), (login, &server)],
    );
    let owner = planned.world.path("owner.key");
    let repository = hosted.init("bucket/shop", &owner, None);
    let new = keys::NewKey { role: Role::Client, label: Some("web-1".into()), domain: None };
    let draft = keys::draft(&repository, &new).unwrap();
    keys::add(&repository, &draft, None, &vault::progress::Silent).unwrap();
    fs::write(planned.world.path("web.key"), draft.key_file().unwrap()).unwrap();
    planned.environment.remove("VAULT_KEY_FILE");
    hosted.older.sql("app", TABLES);
    planned.set("DATABASE_URL", hosted.older.url("owner", "app"));
    planned.set("DRILL_DATABASE_URL", hosted.older.url("owner", "drill"));
    planned.set("PLATFORM_API_KEY", "c4n4ry");
    planned.set("SLACK_WEBHOOK_URL", hosted.web.url("/hook"));
    planned.set("PING_URL", hosted.web.url("/ping"));
    planned.write("uploads/cat.jpg", "meow");
    planned.write("export-settings.sh", "#!/bin/sh\ntest -n \"$PLATFORM_API_KEY\" && cat settings\n");
    planned.write("settings", "a=1\n");
    let made = Command::new("chmod").arg("+x").arg(planned.world.path("export-settings.sh")).status();
    assert!(made.unwrap().success());
    let notes = |sql: &str| {
        let notes = rusqlite::Connection::open(planned.world.path("demo.db")).unwrap();
        notes.execute_batch(sql).unwrap();
    };
    notes("create table notes (text text)");
    planned.check(&["the drill of app-db"]);
    let sources = ["app-db", "demo-db", "uploads", "config"];
    let done = sources.map(|name| (name, "done"));
    planned.take(&[], &done);
    notes("insert into notes values ('x')");
    hosted.older.sql("app", TABLES);
    planned.write("uploads/dog.jpg", "wuff");
    planned.write("settings", "a=2\n");
    planned.take(&["--all"], &done);
    let kept = planned.kept();
    assert_eq!((kept["config"].len(), kept["uploads"].len().min(2)), (2, kept["uploads"].len()), "{kept:?}");
    assert!(
        kept["app-db"].iter().any(|one| one.contains("hourly for 7d") && one.contains("daily for 30d")),
        "{kept:?}"
    );
    let judged = planned.judged(0);
    all_met(&judged, &sources);
    assert_eq!([&judged["app-db rto"], &judged["app-db drill"]], ["unknown", "unknown"]);
    let said = String::from_utf8(planned.vault(&["health"]).stdout).unwrap();
    assert!(said.ends_with("not judged by this version: rto of app-db, drill of app-db\n"), "{said}");
    trouble(hosted, &planned);
}

/// The server is away for a while: somebody hears of it, once, by each way, and of its end.
fn trouble(hosted: &Hosted, planned: &Planned) {
    let pings = |asked: &[crate::web::Asked]| -> Vec<String> {
        asked.iter().filter(|one| one.path.starts_with("/ping")).map(|one| one.path.clone()).collect()
    };
    let told = |asked: &[crate::web::Asked], word: &str| {
        asked.iter().filter(|one| one.path == "/hook" && one.body.contains(word)).count()
    };
    let quiet = hosted.web.take();
    assert_eq!(quiet.iter().filter(|one| one.path == "/hook").count(), 0, "{quiet:?}");
    assert!(pings(&quiet).iter().any(|path| path.starts_with("/ping/start")), "{quiet:?}");
    let mails = || fs::read_dir(&hosted.mails.location).map_or(0, Iterator::count);
    hosted.older.stop();
    for number in 0..2 {
        assert_eq!(planned.vault(&["run", "app-db"]).status.code(), Some(1));
        let asked = hosted.web.take();
        assert!(pings(&asked).iter().any(|path| path.starts_with("/ping/fail")), "{asked:?}");
        assert_eq!(told(&asked, "app-db"), usize::from(number == 0), "{asked:?}");
        assert_eq!(mails(), 1);
    }
    assert_eq!(planned.judged(21)["app-db runs"], "missed");
    hosted.older.restart();
    planned.take(&["app-db"], &[("app-db", "done")]);
    let asked = hosted.web.take();
    assert_eq!((told(&asked, "app-db"), mails()), (1, 2), "{asked:?}");
    assert!(!asked.iter().any(|one| one.body.contains("c4n4ry")), "{asked:?}");
    planned.judged(0);
}

fn hosted_tiers(hosted: &Hosted) {
    let (place, second) = (hosted.location("bucket/clinic"), hosted.location("second/copy"));
    let mut planned = Planned::new(
        "hosted-tiers.toml",
        &[("s3://clinic-vault/main?region=us-east-1", &place), ("gcs://clinic-vault/copy", &second)],
    );
    let repository = hosted.init("bucket/clinic", &planned.world.path("owner.key"), None);
    hosted.init("second/copy", &planned.world.path("second.key"), Some(&repository));
    hosted.newer.sql(
        "app",
        "create schema storage; create table storage.objects (id int); create schema platform_functions; create schema \
         _realtime; create table user_subscriptions (id int); create table usage_logs (id serial, created_at \
         timestamptz default now()); create table user_registrations (id int)",
    );
    let path = std::env::var("PATH").unwrap();
    planned.set("PATH", format!("{}:{path}", hosted.newer.programs.display()));
    planned.set("DIRECT_URL", hosted.newer.url("owner", "app"));
    planned.set("VAULT_TO_PASSWORD", PASSWORD);
    planned.write("logs/today.log", "one\n");
    planned.write("render.yaml", "a: 1\n");
    planned.write("config/app.yaml", "a: 1\n");
    planned.check(&["the drill of db"]);
    let sources = ["db", "tier1", "logs", "config"];
    let renew = || {
        hosted.newer.sql("app", "insert into usage_logs default values");
        planned.write("logs/today.log", "one\ntwo\n");
        planned.write("config/app.yaml", "a: 2\n");
    };
    let tiers = [("db", "yearly for 7y"), ("tier1", "hourly for 7d"), ("logs", "weekly for 12w"), ("config", "daily")];
    twice(&planned, &sources.map(|name| (name, "done")), &renew, &tiers);
    let judged = planned.judged(0);
    all_met(&judged, &sources);
    assert_eq!(judged["second-cloud copy"], "met");
}

fn files_in_a_bucket(hosted: &Hosted) {
    let (place, files) = (hosted.location("bucket/studio"), hosted.location("files"));
    let mut planned = Planned::new(
        "files-in-a-bucket.toml",
        &[
            ("s3://studio-vault/prod?region=auto&endpoint=https://objects.example", &place),
            ("s3://studio-files?region=auto&endpoint=https://objects.example", &files),
        ],
    );
    hosted.init("bucket/studio", &planned.world.path("owner.key"), None);
    hosted.older.sql("app", TABLES);
    planned.set("DATABASE_URL", hosted.older.url("owner", "app"));
    planned.set("PAGER_URL", hosted.web.url("/hook"));
    hosted.put("files/a.txt", "one");
    for name in ["config/required_secrets.yml", "railway.toml", "docker-compose.yml"] {
        planned.write(name, "a: 1\n");
    }
    planned.check(&["the drill of db"]);
    let renew = || {
        hosted.older.sql("app", TABLES);
        hosted.put("files/b.txt", "two");
        planned.write("railway.toml", "a = 2\n");
    };
    let sources = ["db", "files", "config"];
    twice(
        &planned,
        &sources.map(|name| (name, "done")),
        &renew,
        &[("db", "hourly for 7d"), ("files", "daily for 30d")],
    );
    // no rule: both stay, and no rule speaks of them
    let listing = planned.json(&["snapshots", "config"], 0);
    assert_eq!(listing["snapshots"].as_array().unwrap().len(), 2);
    let judged = planned.judged(0);
    all_met(&judged, &sources);
    assert_eq!(judged[" storage"], "met");
}

fn two_classes_of_media(hosted: &Hosted) {
    let (place, media) = (hosted.location("bucket/sport"), hosted.location("media"));
    let mut planned = Planned::new(
        "two-classes-of-media.toml",
        &[("s3://sport-vault/prod?region=us-east-1", &place), ("s3://sport-media?region=us-east-1", &media)],
    );
    hosted.init("bucket/sport", &planned.world.path("owner.key"), None);
    hosted.older.sql("app", TABLES);
    planned.set("DATABASE_URL", hosted.older.url("owner", "app"));
    planned.set("SLACK_WEBHOOK_URL", hosted.web.url("/hook"));
    hosted.put("media/enterprise/a.mp4", "a");
    hosted.put("media/coaching/b.mp4", "b");
    planned.check(&["the drill of db"]);
    let renew = || {
        hosted.older.sql("app", TABLES);
        hosted.put("media/enterprise/c.mp4", "c");
        hosted.put("media/coaching/d.mp4", "d");
    };
    let sources = ["db", "video-enterprise", "video-coaching"];
    let tiers = [("db", "daily for 30d"), ("video-enterprise", "within 365d"), ("video-coaching", "within 7d")];
    twice(&planned, &sources.map(|name| (name, "done")), &renew, &tiers);
    all_met(&planned.judged(0), &sources);
}

fn point_in_time(hosted: &Hosted) {
    let place = hosted.location("bucket/publisher");
    let mut planned = Planned::new(
        "point-in-time.toml",
        &[("s3://publisher-vault/prod?region=eu-central-1", &place), ("/data/uploads", "uploads")],
    );
    hosted.init("bucket/publisher", &planned.world.path("owner.key"), None);
    hosted.older.sql("app", TABLES);
    for name in ["BACKUP_URL", "APP_URL"] {
        planned.set(name, hosted.older.url("owner", "app"));
    }
    planned.set("REDIS_URL", format!("unix://{}", hosted.redis.path("socket")));
    planned.set("SLACK_WEBHOOK", hosted.web.url("/hook"));
    planned.write("uploads/a.png", "a");
    planned.check(&["the base backup of cluster", "the archive of WAL of cluster", "the drill of cluster"]);
    let renew = || {
        hosted.older.sql("app", TABLES);
        cli(&hosted.redis.path("socket"), &["SET", "session:2", "x"]);
        planned.write("uploads/b.png", "b");
    };
    let sources = ["app-db", "cache", "media"];
    let mut outcomes = sources.map(|name| (name, "done")).to_vec();
    outcomes.push(("cluster", "skipped"));
    hosted.web.take();
    twice(&planned, &outcomes, &renew, &sources.map(|name| (name, "daily for 30d")));
    // nothing is backed up of the cluster: that is a miss until somebody says that it is meant so, and is told
    let judged = planned.judged(21);
    all_met(&judged, &sources);
    assert_eq!([&judged["cluster rpo"], &judged["cluster wal"]], ["missed", "unknown"]);
    let said = errors(&planned.vault(&["health"]));
    assert!(said.contains("cluster: nothing is backed up") && said.lines().count() == 1, "{said}");
    let asked = hosted.web.take();
    assert_eq!(asked.len(), 1, "told once: {asked:?}");
    assert!(asked[0].body.contains("nothing is backed up"), "{asked:?}");
}

#[test]
fn the_five_plans_of_the_examples_are_carried_out() {
    let Some(hosted) = Hosted::start() else { return };
    managed_postgres(&hosted);
    hosted_tiers(&hosted);
    files_in_a_bucket(&hosted);
    two_classes_of_media(&hosted);
    point_in_time(&hosted);
}
