//! Databases of real PostgreSQL servers: dumped, counted, refused when they are not whole, restored.

use crate::cluster::Cluster;
use crate::taken::{Vault, Watch, fact, words};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vault::progress::Silent;
use vault::source::Environment;
use vault::source::postgres::{Databases, Format, Globals, Options, Postgres};

/// The variables of this process, with a server's programs first and nothing else of PostgreSQL.
pub fn environment(cluster: &Cluster) -> Environment {
    let own = std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("PG") && name != "PATH");
    let mut path = OsString::from(&cluster.programs);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    own.chain([("PATH".into(), path)]).collect()
}

pub fn options(cluster: &Cluster) -> Options {
    let url = Some(cluster.url("owner", "app").into());
    Options { url, environment: environment(cluster), ..Options::default() }
}

/// A dump by a shell, as an odd wrapper would write it.
fn wrapped(cluster: &Cluster, format: Format, script: &str) -> Options {
    let script = script.replace("DUMP", &format!("{} '{}'", cluster.program("pg_dump"), cluster.url("owner", "app")));
    Options { format, dump_command: words(&["bash", "-c", &script]), globals: Globals::Off, ..options(cluster) }
}

fn fill(cluster: &Cluster, scale: &str) {
    cluster.run("pgbench", "app", &["-q", "-i", "-s", scale]);
}

fn end(pattern: &str) {
    let killed = Command::new("pkill").args(["-9", "-f", pattern]).status().unwrap();
    assert!(killed.success(), "there is no {pattern}");
}

/// Forwards to a port until it is cut.
struct Proxy {
    port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, open) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let all: Arc<Mutex<Vec<TcpStream>>> = open.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
                for (mut from, mut to) in [(&client, &server), (&server, &client)]
                    .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()))
                {
                    all.lock().unwrap().push(from.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let mut buffer = [0; 64 << 10];
                        while let Ok(length @ 1..) = from.read(&mut buffer) {
                            if to.write_all(&buffer[..length]).is_err() {
                                break;
                            }
                        }
                        drop(to.shutdown(Shutdown::Both));
                    });
                }
            }
        });
        Self { port, open }
    }
}

#[test]
fn check_13_what_breaks_off_gives_no_snapshot_and_names_the_cause() {
    let Some(cluster) = Cluster::on_port() else { return };
    fill(&cluster, "1");
    let (vault, cluster) = (Vault::new(), Arc::new(cluster));
    let proxy = Proxy::start(cluster.port);
    let dump = |options: Options| Postgres::new(options, &vault.runtime, &Silent);
    for format in [Format::Custom, Format::Plain] {
        let options = || Options { format, ..options(&cluster) };
        let pattern = format!("pg_dump .*{}", cluster.socket());
        let watch = Watch::new(1 << 20, move || end(&pattern));
        vault.refuses_watched(&mut dump(options()), &watch, &["pg_dump failed", "signal 9"]);

        let open = proxy.open.clone();
        let cut = move || open.lock().unwrap().drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        let url = format!("postgresql://owner@127.0.0.1:{}/app", proxy.port);
        let through = Options { url: Some(url.into()), globals: Globals::Off, ..options() };
        let watch = Watch::new(1 << 20, cut);
        vault.refuses_watched(&mut dump(through), &watch, &["pg_dump failed", "closed the connection unexpectedly"]);

        let stopped = cluster.clone();
        let watch = Watch::new(1 << 20, move || stopped.stop());
        vault.refuses_watched(&mut dump(options()), &watch, &["pg_dump failed", "connection"]);
        vault.refuses(&mut dump(options()), &["cannot ask PostgreSQL at", &cluster.socket()]);
        cluster.restart();

        let report = vault.take(&mut dump(options())).unwrap();
        assert_eq!(fact(&report, "table:public.pgbench_accounts"), Some("100000"));
    }
    assert_eq!(vault.count(), 2);
}

#[test]
fn check_14_rows_are_counted_and_what_is_cut_is_refused_though_its_program_ends_well() {
    for cluster in [Cluster::of_system(), Cluster::newest()] {
        let Some(cluster) = cluster else { continue };
        fill(&cluster, "2");
        let vault = Vault::new();
        let dump = |options: Options| Postgres::new(options, &vault.runtime, &Silent);
        for format in [Format::Custom, Format::Plain] {
            let report = vault.take(&mut dump(Options { format, ..options(&cluster) })).unwrap();
            let tables = ["accounts", "branches", "history", "tellers"];
            let rows = tables.map(|table| fact(&report, &format!("table:public.pgbench_{table}")).map(str::to_owned));
            assert_eq!(rows, ["200000", "2", "0", "20"].map(|rows| Some(rows.to_owned())), "{format:?}");
            assert!(report.failed.is_empty() && report.notes.is_empty(), "{report:?}");
        }
        let cut = |format, script: &str, why: &str| {
            vault.refuses(&mut dump(wrapped(&cluster, format, script)), &["the dump of app is not whole", why]);
        };
        let (custom, plain) = (Format::Custom, Format::Plain);
        cut(custom, "DUMP -Fc -Z0 | head -c 1000000; exit 0", "end of file");
        cut(custom, "DUMP -Fc -Z0 | head -c 3000; exit 0", "end of file");
        cut(custom, "DUMP -Fc -Z0 | head -c -1; exit 0", "end of file");
        cut(custom, "DUMP -Fc -Z0 | head -c 3; exit 0", "not with PGDMP");
        cut(plain, "DUMP | head -c 1000000; exit 0", "last lines are missing");
        // all but `\unrestrict KEY`
        cut(plain, "DUMP | head -n -2; exit 0", "last lines are missing");
        cut(custom, "exit 0", "no bytes");
        cut(custom, "DUMP; exit 0", "format = \"plain\"");
        cut(plain, "DUMP -Fc; exit 0", "format = \"custom\"");
        // a byte in the middle of what is compressed, which its reader notices long before the end
        cut(
            custom,
            "DUMP -Fc -Z1 | (head -c 60000; printf XXXXXXXXXXXXXXXX; tail -c +60017); exit 0",
            "pg_restore failed",
        );
        // whole ones pass
        for (format, script) in [(custom, "DUMP -Fc -Z0"), (plain, "DUMP")] {
            let report = vault.take(&mut dump(wrapped(&cluster, format, script))).unwrap();
            assert_eq!(fact(&report, "table:public.pgbench_accounts"), Some("200000"));
        }
        assert_eq!(vault.count(), 4);
    }
}

#[test]
fn check_15_a_dump_through_a_terminal_is_refused_with_the_reason() {
    let Some(cluster) = Cluster::of_system() else { return };
    cluster.sql("app", "create table t(a text); insert into t select repeat('x', 50) from generate_series(1, 1000)");
    let vault = Vault::new();
    let dump = |options: Options| Postgres::new(options, &vault.runtime, &Silent);
    let docker = Options { dump_command: words(&["docker", "exec", "-it", "db", "pg_dump"]), ..options(&cluster) };
    vault.refuses(&mut dump(docker), &["dump_command asks for a terminal by -it"]);
    for (format, flags) in [(Format::Plain, ""), (Format::Custom, " -Fc -Z0")] {
        let wrong = wrapped(&cluster, format, &format!("DUMP{flags} | sed 's/$/\\r/'"));
        vault.refuses(&mut dump(wrong), &["CR LF", "docker exec"]);
    }
    // rows and functions may hold what they like
    cluster.sql(
        "app",
        "insert into t values (E'a\\r\\nb'); create function f() returns text language sql as E'\\r\\nselect 1::text'",
    );
    for format in [Format::Plain, Format::Custom] {
        let report = vault.take(&mut dump(Options { format, ..options(&cluster) })).unwrap();
        assert_eq!(fact(&report, "table:public.t"), Some("1001"));
    }
}

#[test]
fn check_17_roles_come_without_passwords_and_go_into_a_fresh_cluster() {
    let Some(cluster) = Cluster::of_system() else { return };
    let sql = "create role app login password 'geheim'; create role reader login password 'geheim' in role \
               pg_read_all_data; alter role app set work_mem = '9MB'; create table t(a int); alter table t owner to app";
    cluster.sql("app", sql);
    let vault = Vault::new();
    let dump_as = |user, globals| {
        let options = Options { url: Some(cluster.url(user, "app").into()), globals, ..options(&cluster) };
        Postgres::new(options, &vault.runtime, &Silent)
    };
    let report = vault.take(&mut dump_as("reader", Globals::Auto)).unwrap();
    assert!(report.failed.is_empty() && report.notes.is_empty(), "{report:?}");
    let (_place, out) = vault.restored(&report);
    let globals = std::fs::read_to_string(out.join("globals.sql")).unwrap();
    assert!(globals.contains("CREATE ROLE app") && !globals.to_uppercase().contains("PASSWORD"), "{globals}");

    let fresh = cluster.another();
    let globals = globals.replace("CREATE ROLE owner;\n", "");
    let file = out.join("roles.sql");
    std::fs::write(&file, globals).unwrap();
    fresh.run("psql", "app", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file.to_str().unwrap()]);
    let roles = "select rolname from pg_roles where rolname in ('app', 'reader') order by 1";
    assert_eq!(fresh.sql("app", roles), "app\nreader\n");
    fresh.run("pg_restore", "app", &["--exit-on-error", out.join("app.dump").to_str().unwrap(), "-d"]);
    assert_eq!(fresh.sql("app", "select tableowner from pg_tables where tablename = 't'"), "app\n");

    // hashes are for those who may read them
    let report = vault.take(&mut dump_as("app", Globals::Passwords)).unwrap();
    assert!(report.failed[0].contains("globals.sql: ") && report.failed[0].contains("pg_authid"), "{report:?}");
    let own = Options { globals: Globals::Passwords, ..options(&cluster) };
    let report = vault.take(&mut Postgres::new(own, &vault.runtime, &Silent)).unwrap();
    let (_place, out) = vault.restored(&report);
    assert!(std::fs::read_to_string(out.join("globals.sql")).unwrap().contains("PASSWORD 'SCRAM-SHA-256"));

    // not allowed at all: said, and the database is there
    cluster.sql("app", "revoke select on pg_catalog.pg_auth_members from public");
    let report = vault.take(&mut dump_as("app", Globals::Auto)).unwrap();
    assert!(report.notes[0].contains("the roles are not in the snapshot"), "{report:?}");
    assert!(report.failed.is_empty() && report.head.statistics.files == 1, "{report:?}");
}

#[test]
fn a_database_comes_back_with_every_row_index_and_large_object() {
    for cluster in [Cluster::of_system(), Cluster::newest()] {
        let Some(cluster) = cluster else { continue };
        fill(&cluster, "1");
        cluster.sql(
            "app",
            "create extension pg_trgm; create table \"Odd \"\"Name\"(a text, b int references pgbench_branches); \
             insert into \"Odd \"\"Name\" values (E'x\\ny\\\\.\\n', 1), ('\\.', null); create table nothing(); \
             select lo_from_bytea(0, 'large'); create function f() returns text language plpgsql as $$ begin \n\
             COPY public.fake (a) FROM stdin;\n return 'x'; end $$;",
        );
        let vault = Vault::new();
        for format in [Format::Custom, Format::Plain] {
            let options = Options { format, ..options(&cluster) };
            let report = vault.take(&mut Postgres::new(options, &vault.runtime, &Silent)).unwrap();
            let version = cluster.sql("app", "select split_part(current_setting('server_version'), ' ', 1)");
            assert_eq!(fact(&report, "server_version"), Some(version.trim()));
            assert_eq!(fact(&report, "tool_version"), Some(version.trim()), "the client of the server's version");
            assert_eq!((fact(&report, "database"), fact(&report, "owner")), (Some("app"), Some("owner")));
            assert_eq!(fact(&report, "table:public.Odd \"Name"), Some("2"));
            assert_eq!((fact(&report, "table:public.nothing"), fact(&report, "table:public.fake")), (Some("0"), None));
            assert_eq!(fact(&report, "large_objects"), Some("1"));
            assert!(fact(&report, "extension:pg_trgm").is_some() && fact(&report, "system_identifier").is_some());
            let (_place, out) = vault.restored(&report);
            let database = format!("back_{format:?}").to_lowercase();
            cluster.sql("postgres", &format!("create database {database} template template0"));
            let file = |name: &str| out.join(name).display().to_string();
            if format == Format::Custom {
                cluster.run("pg_restore", &database, &["--exit-on-error", &file("app.dump"), "-d"]);
            } else {
                let words = ["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", &file("app.sql")];
                cluster.run("psql", &database, &words);
            }
            assert_eq!(cluster.tables(&database), cluster.tables("app"));
            let others = "select (select count(*) from pg_indexes where schemaname = 'public'), \
                          (select count(*) from pg_largeobject_metadata), pg_get_functiondef('f'::regproc)";
            assert_eq!(cluster.sql(&database, others), cluster.sql("app", others));
        }
    }
}

#[test]
fn several_databases_are_several_files_with_facts_of_their_own() {
    let Some(cluster) = Cluster::of_system() else { return };
    for sql in [
        "create database \"a/b\"",
        "create database closed",
        "create role reader login",
        "revoke connect on database closed from public",
    ] {
        cluster.sql("postgres", sql);
    }
    cluster.sql("app", "create table t(a int); insert into t values (1); grant select on t to reader");
    cluster.sql("a/b", "create table u(a int); insert into u values (1), (2); grant select on u to reader");
    let vault = Vault::new();
    let url = Some(cluster.url("reader", "app").into());
    let all = Options { url, databases: Databases::All, ..options(&cluster) };
    let report = vault.take(&mut Postgres::new(all, &vault.runtime, &Silent)).unwrap();
    let (_place, out) = vault.restored(&report);
    let mut files: Vec<_> = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["a%2Fb.dump", "app.dump", "globals.sql", "postgres.dump"]);
    assert_eq!(fact(&report, "a%2Fb.dump/table:public.u"), Some("2"));
    assert_eq!(fact(&report, "app.dump/table:public.t"), Some("1"));
    assert_eq!(fact(&report, "a%2Fb.dump/database"), Some("a/b"));
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert!(report.failed[0].starts_with("closed: "), "{report:?}");
    let named = Options { databases: Databases::Named(vec!["app".into(), "none".into()]), ..options(&cluster) };
    vault.refuses(&mut Postgres::new(named, &vault.runtime, &Silent), &["\"none\" does not exist"]);
}

#[test]
fn tables_are_chosen_by_patterns_and_one_that_fits_nothing_is_an_error() {
    let Some(cluster) = Cluster::of_system() else { return };
    cluster.sql(
        "app",
        "create role app login; create schema storage; create table storage.objects(a int); create table users(a int); \
         create table logs(a int); insert into users values (1); insert into logs values (1); grant select on users, \
         logs to app",
    );
    let vault = Vault::new();
    let tables = |options: &Options| -> Vec<String> {
        let report = vault.take(&mut Postgres::new(options.clone(), &vault.runtime, &Silent)).unwrap();
        let rows =
            report.facts.iter().filter_map(|(name, rows)| Some(format!("{}={rows}", name.strip_prefix("table:")?)));
        rows.collect()
    };
    let list = |word: &str| vec![word.to_owned()];
    let options = Options { url: Some(cluster.url("app", "app").into()), ..options(&cluster) };
    let mut denied = Postgres::new(options.clone(), &vault.runtime, &Silent);
    vault.refuses(&mut denied, &["permission denied", "exclude_schemas = [\"storage\"]", "pg_read_all_data to app"]);
    let without = Options { exclude_schemas: list("storage"), ..options.clone() };
    assert_eq!(tables(&without), ["public.logs=1", "public.users=1"]);
    assert_eq!(tables(&Options { tables: list("users"), ..options.clone() }), ["public.users=1"]);
    assert_eq!(tables(&Options { exclude_tables: list("l*"), ..without.clone() }), ["public.users=1"]);
    assert_eq!(tables(&Options { exclude_table_data: list("logs"), ..without.clone() }), ["public.users=1"]);
    assert_eq!(tables(&Options { schemas: list("public"), ..options.clone() }), ["public.logs=1", "public.users=1"]);
    let wrong = Options { tables: vec!["users".into(), "user".into()], ..options };
    vault.refuses(&mut Postgres::new(wrong, &vault.runtime, &Silent), &["no matching tables", "\"user\""]);
}

#[test]
fn secrets_go_by_the_environment_and_other_variables_go_nowhere() {
    let Some(cluster) = Cluster::of_system() else { return };
    let vault = Vault::new();
    let url = cluster.url("owner:gehe%2Fim", "app");
    let script = "env | grep -E '^(PGPASSWORD|OTHER|DOCKER_HOST|NAMED)=' >&2; exit 3";
    let mut environment = environment(&cluster);
    let more = [("OTHER", "hidden"), ("DOCKER_HOST", "unix:"), ("NAMED", "x")];
    environment.extend(more.map(|(name, value)| (name.into(), value.into())));
    let options = Options {
        url: Some(url.into()),
        variables: words(&["NAMED"]),
        environment,
        ..wrapped(&cluster, Format::Plain, script)
    };
    let error = vault.refuses(&mut Postgres::new(options, &vault.runtime, &Silent), &["status 3", "PGPASSWORD=***"]);
    assert!(error.contains("DOCKER_HOST=unix:") && error.contains("NAMED=x"), "{error}");
    assert!(!error.contains("OTHER="), "{error}");
    let refused = Options { url: Some("postgres://u:ge/heim@h/d".to_owned().into()), ..Options::default() };
    let error = vault.refuses(&mut Postgres::new(refused, &vault.runtime, &Silent), &["%2F"]);
    assert!(!error.contains("heim"), "{error}");
}

#[test]
fn a_lock_is_waited_for_so_long_and_a_dump_has_its_time() {
    let Some(cluster) = Cluster::of_system() else { return };
    cluster.sql("app", "create table t(a int)");
    let vault = Vault::new();
    let lock = ["-X", "-q", "-c", "begin; lock table t; select pg_sleep(60)", "-d"];
    let mut holder = Command::new(cluster.programs.join("psql"));
    let mut holder = holder.args(lock).arg(cluster.url("owner", "app")).spawn().unwrap();
    let is_locked = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 't'::regclass";
    while cluster.sql("app", is_locked) != "1\n" {
        std::thread::sleep(Duration::from_millis(50));
    }
    let dump = |options: Options| Postgres::new(options, &vault.runtime, &Silent);
    let short = Options { lock_timeout: Duration::from_millis(300), ..options(&cluster) };
    vault.refuses(&mut dump(short), &["LOCK TABLE", "raise it"]);
    let limited = Options { timeout: Some(Duration::from_secs(3)), ..options(&cluster) };
    vault.refuses(&mut dump(limited), &["ran longer than 3s"]);
    drop((holder.kill(), holder.wait()));
}

#[test]
fn the_server_is_found_by_variables_of_libpq_and_by_a_service_too() {
    let Some(cluster) = Cluster::of_system() else { return };
    cluster.sql("app", "create table t(a int)");
    let vault = Vault::new();
    let port = cluster.port.to_string();
    let socket = cluster.socket();
    let variables = [("PGHOST", socket.as_str()), ("PGPORT", &port), ("PGUSER", "owner"), ("PGDATABASE", "app")];
    let mut by_variables = Options { url: None, ..options(&cluster) };
    by_variables.environment.extend(variables.map(|(name, value)| (name.into(), value.into())));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("[it]\nhost={socket}\nport={port}\nuser=owner\ndbname=app\n")).unwrap();
    let mut by_service = Options { url: None, service: Some("it".into()), ..options(&cluster) };
    by_service.environment.push(("PGSERVICEFILE".into(), file.path().into()));
    for options in [by_variables, by_service] {
        let report = vault.take(&mut Postgres::new(options, &vault.runtime, &Silent)).unwrap();
        assert_eq!((fact(&report, "database"), fact(&report, "table:public.t")), (Some("app"), Some("0")));
        assert!(report.notes.is_empty() && report.head.statistics.files == 2, "{report:?}");
    }
}

#[test]
fn a_dump_that_no_client_here_can_read_is_refused_with_what_is_missing() {
    let (Some(old), Some(new)) = (Cluster::of_system(), Cluster::newest()) else { return };
    let vault = Vault::new();
    let options = wrapped(&new, Format::Custom, "DUMP -Fc -Z0");
    let narrow = Options { tools: Some(old.programs.clone()), ..options };
    let said = ["unsupported version", "newer pg_dump", "`tools`"];
    vault.refuses(&mut Postgres::new(narrow.clone(), &vault.runtime, &Silent), &said);
    // who does without the proof gets the dump, and no rows
    let report = vault.take(&mut Postgres::new(Options { counts: false, ..narrow }, &vault.runtime, &Silent)).unwrap();
    assert!(report.facts.iter().all(|(name, _)| !name.starts_with("table:")), "{report:?}");
    let direct = Options { tools: Some(old.programs.clone()), ..self::options(&new) };
    vault.refuses(&mut Postgres::new(direct, &vault.runtime, &Silent), &["the newest pg_dump", "postgresql-client-18"]);
}
