//! Redis servers, on sockets of their own.

use crate::dumped::{Dumped, runtime, take};
use crate::private::{Server, find, ordinary, skipped};
use crate::taken::Vault;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use vault::progress::Silent;
use vault::source::dump::DumpFailure;
use vault::source::redis::{Address, Finding, Method, Options, Redis, survey};

/// Flags that all servers get: no files unless a test asks, copies at once.
const FLAGS: [&str; 12] = [
    "--port",
    "0",
    "--unixsocket",
    "socket",
    "--unixsocketperm",
    "777",
    "--enable-debug-command",
    "yes",
    "--repl-diskless-sync-delay",
    "0",
    "--save",
    "",
];

fn server(flags: &[&str]) -> Option<Server> {
    let server = Server::prepare("vault-redis-");
    started(server, flags, "PONG")
}

fn started(mut server: Server, flags: &[&str], answer: &str) -> Option<Server> {
    let Some(program) = find("redis-server") else {
        return skipped("Redis is not installed (apt-get install redis-server)");
    };
    let mut command = ordinary(&program);
    command.args(FLAGS).args(flags);
    server.start(command, |server| {
        let said = cli(server, &["PING"]);
        said.contains(answer) || said.contains("NOAUTH")
    });
    Some(server)
}

fn cli(server: &Server, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    let output = command.arg("-s").arg(server.path("socket")).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    said.trim().to_owned()
}

fn of(server: &Server) -> Options {
    let mut options = Options::of_url(&format!("unix://{}", server.path("socket"))).unwrap();
    options.timeout = Duration::from_secs(20);
    options
}

fn dump(options: Options) -> Result<Dumped, DumpFailure> {
    take(&mut Redis::new(options, &runtime(), &Silent))
}

fn refused(options: Options, says: &str) {
    let error = dump(options).unwrap_err().to_string();
    assert!(error.contains(says), "{says:?} in: {error}");
}

/// Writes as fast as it can until it is dropped.
struct Load(Child);

impl Load {
    fn start(server: &Server) -> Self {
        let mut command = Command::new("redis-benchmark");
        command.arg("-s").arg(server.path("socket")).args([
            "-q",
            "-t",
            "set,lpush,hset",
            "-r",
            "1000000",
            "-n",
            "100000000",
        ]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

/// What a server has that reads a dump.
fn loaded(dumped: &Dumped) -> String {
    let server = Server::prepare("vault-redis-");
    fs::write(server.home().join("dump.rdb"), dumped.only()).unwrap();
    let check = Command::new("redis-check-rdb").arg(server.home().join("dump.rdb")).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let server = started(server, &[], "PONG").unwrap();
    cli(&server, &["DBSIZE"])
}

#[test]
fn check_19_a_server_under_load_gives_a_file_that_loads() {
    let Some(server) = server(&[]) else { return };
    cli(&server, &["ACL", "SETUSER", "me", "on", ">secret", "~*", "+@all"]);
    cli(&server, &["DEBUG", "POPULATE", "200000", "key", "100"]);
    let mut options = of(&server);
    (options.user, *options.password) = ("me".into(), "secret".into());
    let load = Load::start(&server);
    // with the length before, from a file of the server's, and with the mark behind, straight from its memory
    for diskless in ["no", "yes", "yes"] {
        cli(&server, &["CONFIG", "SET", "repl-diskless-sync", diskless]);
        let dumped = dump(options.clone()).unwrap();
        assert_eq!(dumped.files.keys().collect::<Vec<_>>(), ["dump.rdb"]);
        assert_eq!(Some(loaded(&dumped).as_str()), dumped.fact("keys:db0"));
        let facts = ["flavour", "rdb_version"].map(|name| dumped.fact(name));
        assert_eq!(facts, [Some("redis"), Some("10")]);
        assert!(dumped.fact("server_version").unwrap().starts_with('7'));
    }
    drop(load);
    let dumped = dump(options.clone()).unwrap();
    assert_eq!(Some(cli(&server, &["DBSIZE"]).as_str()), dumped.fact("keys:db0"));
    // no replica stays behind
    assert!(cli(&server, &["INFO", "replication"]).contains("connected_slaves:0"));
    *options.password = "wrong".into();
    let vault = Vault::new();
    vault.refuses(&mut Redis::new(options, &vault.runtime, &Silent), &["refuses AUTH: WRONGPASS"]);
}

#[test]
fn a_password_is_asked_for_in_words() {
    let Some(server) = server(&["--requirepass", "secret"]) else { return };
    refused(of(&server), "give the password in its URL");
    let mut options = of(&server);
    *options.password = "secret".into();
    assert!(dump(options).is_ok());
}

#[test]
fn each_database_is_counted_and_a_server_may_write_no_checksums() {
    let Some(server) = server(&["--rdbchecksum", "no"]) else { return };
    for database in ["2", "5"] {
        cli(&server, &["-n", database, "MSET", "a", "1", "b", "2"]);
    }
    cli(&server, &["-n", "5", "SET", "c", "3", "EX", "1000"]);
    let dumped = dump(of(&server)).unwrap();
    assert_eq!(["keys:db2", "keys:db5", "keys:db0"].map(|name| dumped.fact(name)), [Some("2"), Some("3"), None]);
    assert!(dumped.learned.notes.join("\n").contains("no checksums"), "{:?}", dumped.learned);
    let found = survey(&of(&server), &runtime()).unwrap();
    assert_eq!((found.role.as_str(), found.keys.into_iter().collect::<Vec<_>>()), ("master", vec![(2, 2), (5, 3)]));
    assert!(found.findings.is_empty() && found.bytes_estimate.is_some());
    // nothing at all is a state too
    cli(&server, &["FLUSHALL"]);
    let dumped = dump(of(&server)).unwrap();
    assert_eq!(dumped.learned.facts.iter().filter(|(name, _)| name.starts_with("keys:")).count(), 0);
}

#[test]
fn a_server_that_can_give_nothing_is_told_from_one_that_does() {
    let Some(mut server) = server(&["--save", "3600 1"]) else { return };
    cli(&server, &["ACL", "SETUSER", "low", "on", ">low", "~*", "+ping", "+info"]);
    let mut low = of(&server);
    (low.user, *low.password) = ("low".into(), "low".into());
    refused(low, "use the method bgsave");
    // it reads its file again, slowly
    cli(&server, &["DEBUG", "POPULATE", "20000"]);
    cli(&server, &["SAVE"]);
    server.stop();
    let slowly = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
    let mut server = started(server, &slowly, "LOADING").unwrap();
    refused(of(&server), "it still reads its own data; try again when it has");
    server.stop();
    refused(of(&server), "cannot reach the Redis server at /tmp/vault-redis-");
    // a replica without its master
    fs::remove_file(server.home().join("dump.rdb")).unwrap();
    let server = started(server, &["--replicaof", "127.0.0.1", "1"], "PONG").unwrap();
    refused(of(&server), "this replica has lost its master");
    assert_eq!(survey(&of(&server), &runtime()).unwrap().findings, [Finding::NoMaster]);
}

#[test]
fn a_server_that_saves_to_a_file_is_waited_for() {
    let Some(server) = server(&[]) else { return };
    cli(&server, &["DEBUG", "POPULATE", "50000"]);
    let path = server.home().join("dump.rdb");
    let with = |path: &Path| Options { method: Method::Bgsave(path.to_owned()), ..of(&server) };
    let missing = survey(&with(&path), &runtime()).unwrap().findings;
    assert_eq!(missing, [Finding::Unreadable { path: path.clone(), saves_to: Some(path.clone()) }]);
    let load = Load::start(&server);
    let dumped = dump(with(&path)).unwrap();
    assert_eq!(Some(loaded(&dumped).as_str()), dumped.fact("keys:db0"));
    drop(load);
    // twice within a second
    cli(&server, &["SET", "one", "more"]);
    cli(&server, &["SAVE"]);
    cli(&server, &["SET", "two", "more"]);
    let dumped = dump(with(&path)).unwrap();
    assert_eq!(Some(cli(&server, &["DBSIZE"]).as_str()), dumped.fact("keys:db0"));
    // the file of another day
    let other = server.home().join("other.rdb");
    fs::copy(&path, &other).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    refused(with(&other), &format!("has just saved: it saves to {}", path.display()));
    // what is in its way can't be replaced
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused(with(&path), "it could not save; its log says why");
}

#[test]
fn tls_is_spoken_and_a_stranger_s_certificate_refused() {
    if find("redis-server").is_none() {
        skipped::<()>("Redis is not installed");
        return;
    }
    let place = Server::prepare("vault-redis-");
    let openssl = |words: &[&str]| {
        let output = Command::new("openssl").args(words).current_dir(place.home()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    for name in ["authority", "stranger"] {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority", "-keyout"];
        openssl(&[&new[..], &[&key, "-out", &certificate]].concat());
    }
    openssl(&[
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-keyout",
        "own.key",
        "-out",
        "own.csr",
    ]);
    fs::write(place.home().join("names"), "subjectAltName=DNS:localhost").unwrap();
    let sign = ["x509", "-req", "-in", "own.csr", "-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial"];
    openssl(&[&sign[..], &["-days", "2", "-extfile", "names", "-out", "own.pem"]].concat());
    fs::set_permissions(place.home().join("own.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let port = testkit::port::free();
    let path = |name: &str| place.path(name);
    let port_text = port.to_string();
    let (own, key, authority) = (path("own.pem"), path("own.key"), path("authority.pem"));
    let mut flags = vec!["--tls-port", &port_text, "--tls-cert-file", &own, "--tls-key-file", &key];
    flags.extend(["--tls-ca-cert-file", &authority, "--tls-auth-clients", "no"]);
    // its socket lies elsewhere, the certificates here
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(place.home(), mode).unwrap();
    let Some(server) = server(&flags) else { return };
    cli(&server, &["DEBUG", "POPULATE", "10000"]);
    let with = |name: &str| {
        let options = Options::of_url(&format!("rediss://localhost:{port}?ssl_ca_certs={}", path(name))).unwrap();
        assert_eq!(options.address, Address::Host { host: "localhost".into(), port, tls: true });
        options
    };
    assert_eq!(dump(with("authority.pem")).unwrap().fact("keys:db0"), Some("10000"));
    refused(with("stranger.pem"), "certificate");
    refused(Options::of_url(&format!("rediss://localhost:{port}")).unwrap(), "certificate");
    refused(with("missing.pem"), "missing.pem");
}
