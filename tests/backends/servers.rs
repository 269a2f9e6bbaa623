//! Real servers, started on a free port in a folder of their own and stopped when the test ends.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder as Connection;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The key that every Azure emulator has; published, no secret.
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running server and the location of an empty repository on it.
pub struct Server {
    command: Command,
    child: Child,
    folder: TempDir,
    /// What to hand to `Location::parse`.
    pub location: String,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Where the objects lie, for servers that keep files.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data/repository")
    }

    /// Starts the server again after `stop`, on what it had stored.
    pub fn start_again(&mut self) {
        self.child = self.command.spawn().unwrap();
        self.wait();
    }

    fn wait(&self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?} does not listen: {}", self.command, log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the server.
    pub fn stop(&mut self) {
        // sshd's sessions are processes of their own and would live on without it.
        for pid in descendants(self.child.id()) {
            drop(Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn descendants(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children.flat_map(|child| descendants(child).into_iter().chain([child])).collect()
}

/// Says loudly that a test did not run; in CI that is a failure.
pub fn skipped<T>(name: &str, reason: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{name} must not be skipped in CI: {reason}");
    // Straight to the terminal: the harness would swallow it.
    drop(writeln!(std::io::stderr(), "SKIPPED {name}: {reason}"));
    None
}

pub fn find(program: &str, also: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = also.iter().cloned().chain(std::env::split_paths(&path));
    places.chain([PathBuf::from("/usr/sbin")]).map(|place| place.join(program)).find(|file| file.is_file())
}

pub fn start(mut command: Command, port: u16, folder: TempDir, location: String) -> Server {
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let child = command.spawn().unwrap();
    let server = Server { command, child, folder, location, port };
    server.wait();
    server
}

fn http(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Makes a bucket, or puts an object into one, on a server that believes everybody.
pub fn put(port: u16, path: &str, body: &str) {
    let answer = http(
        port,
        &format!(
            "PUT /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request\r\n\r\n{body}",
            body.len()
        ),
    );
    assert!(answer.contains(" 200 "), "{answer}");
}

/// S3 as moto speaks it.
pub fn moto() -> Option<Server> {
    let venv = std::env::var_os("VAULT_TEST_VENV").map(|venv| PathBuf::from(venv).join("bin"));
    let Some(program) = find("moto_server", &Vec::from_iter(venv)) else {
        return skipped("s3", "moto_server is not installed (pip install 'moto[s3,server]')");
    };
    let port = testkit::port::free();
    let mut command = Command::new(program);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    let location = format!(
        "s3://bucket/repository?region=us-east-1&endpoint=http://127.0.0.1:{port}&disable_config_load=true\
         &access_key_id=SECRET&secret_access_key=SECRET"
    );
    let server = start(command, port, tempfile::tempdir().unwrap(), location);
    put(port, "bucket", "");
    Some(server)
}

/// S3 as s3s-fs speaks it: it checks signatures, and keeps objects in files, so that it can be killed and started again.
pub fn s3s() -> Server {
    let (port, folder) = (testkit::port::free(), tempfile::tempdir().unwrap());
    std::fs::create_dir_all(folder.path().join("data/bucket")).unwrap();
    // A process of its own: a thread can't be killed.
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "servers::serve_s3", "--ignored", "--nocapture"]);
    command.env("VAULT_TEST_S3_PORT", port.to_string()).env("VAULT_TEST_S3_FOLDER", folder.path().join("data"));
    let location = format!(
        "s3://bucket/repository?region=us-east-1&endpoint=http://127.0.0.1:{port}&disable_config_load=true\
         &access_key_id=ACCESS&secret_access_key=SECRET"
    );
    start(command, port, folder, location)
}

/// The server itself.
#[test]
#[ignore = "serves until it is killed: the process that other tests start"]
fn serve_s3() {
    let set = |name| std::env::var(name).ok();
    let (Some(folder), Some(port)) = (set("VAULT_TEST_S3_FOLDER"), set("VAULT_TEST_S3_PORT")) else { return };
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
    service.set_auth(SimpleAuth::from_single("ACCESS", "SECRET"));
    let service = service.build();
    let address = ("127.0.0.1", port.parse::<u16>().unwrap());
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let connection = Connection::new(TokioExecutor::new());
                drop(connection.serve_connection(TokioIo::new(socket), service).await);
            });
        }
    })
}

/// Azure Blob Storage as azurite speaks it, with its published test account.
pub fn azurite() -> Option<Server> {
    let named = std::env::var_os("VAULT_TEST_AZURITE").map(PathBuf::from);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("node_modules/.bin");
    let Some(program) = named.clone().filter(|p| p.is_file()).or_else(|| {
        let also: Vec<PathBuf> =
            named.into_iter().flat_map(|p| [p.join("node_modules/.bin"), p]).chain([here]).collect();
        find("azurite-blob", &also)
    }) else {
        return skipped("azblob", "azurite is not installed (npm install azurite@3.35.0, VAULT_TEST_AZURITE)");
    };
    let (port, folder) = (testkit::port::free(), tempfile::tempdir().unwrap());
    let mut command = Command::new(program);
    command.args(["--blobHost", "127.0.0.1", "--silent", "--skipApiVersionCheck", "--loose", "--blobPort"]);
    command.arg(port.to_string()).arg("--location").arg(folder.path().join("data"));
    let key: String = url::form_urlencoded::byte_serialize(AZURITE_KEY.as_bytes()).collect();
    let location = format!(
        "azblob://bucket/repository?account_name=devstoreaccount1&account_key={key}\
         &endpoint=http://127.0.0.1:{port}/devstoreaccount1"
    );
    let server = start(command, port, folder, location);
    make_container(port);
    Some(server)
}

fn make_container(port: u16) {
    // OpenDAL cannot create containers, so this request is signed with the system's openssl.
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let text = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2021-08-06\n\
         /devstoreaccount1/devstoreaccount1/bucket\nrestype:container"
    );
    let signature = sign(&text);
    let answer = http(
        port,
        &format!(
            "PUT /devstoreaccount1/bucket?restype=container HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nx-ms-date: {date}\r\n\
             x-ms-version: 2021-08-06\r\nContent-Length: 0\r\nConnection: close\r\n\
             Authorization: SharedKey devstoreaccount1:{signature}\r\n\r\n"
        ),
    );
    assert!(answer.contains(" 201 "), "{answer}");
}

fn sign(text: &str) -> String {
    let script = "printf %s \"$1\" | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf %s \"$2\" | base64 -d | \
                  od -An -v -tx1 | tr -d ' \\n') -binary | base64 -w0";
    let output = Command::new("sh").args(["-c", script, "sh", text, AZURITE_KEY]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// SFTP by OpenSSH.
pub fn sshd() -> Option<Server> {
    let (Some(program), Some(keygen)) = (find("sshd", &[]), find("ssh-keygen", &[])) else {
        return skipped("sftp", "sshd is not installed (apt-get install openssh-server)");
    };
    let (port, folder) = (testkit::port::free(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    for name in ["host", "id"] {
        let made = Command::new(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(name)).status();
        assert!(made.unwrap().success());
    }
    std::fs::create_dir(path("data")).unwrap();
    // Debian's sshd wants this folder when root runs it.
    drop(std::fs::create_dir_all("/run/sshd"));
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nPidFile none\nSubsystem sftp internal-sftp\n",
        path("host").display(),
        path("id.pub").display()
    );
    std::fs::write(path("sshd_config"), config).unwrap();
    let mut command = Command::new(program);
    command.args(["-D", "-e", "-f"]).arg(path("sshd_config"));
    let location = format!(
        "sftp://127.0.0.1:{port}{}?key={}&known_hosts_strategy=accept",
        path("data/repository").display(),
        path("id").display()
    );
    Some(start(command, port, folder, location))
}

/// WebDAV by rclone.
pub fn webdav() -> Option<Server> {
    let Some(program) = find("rclone", &[]) else {
        return skipped("webdav", "rclone is not installed (apt-get install rclone)");
    };
    let (port, folder) = (testkit::port::free(), tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut command = Command::new(program);
    command.args(["serve", "webdav", "--config", "/dev/null", "--dir-cache-time", "0s", "--addr"]);
    command.arg(format!("127.0.0.1:{port}")).arg(&data);
    Some(start(command, port, folder, format!("webdav://127.0.0.1:{port}/repository")))
}

/// Forwards to `upstream`, but swallows the answer to the first PUT and hangs up. Also counts PUTs.
pub fn lossy_proxy(upstream: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, puts) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counter = puts.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let counter = counter.clone();
            std::thread::spawn(move || forward(client, TcpStream::connect(("127.0.0.1", upstream)).unwrap(), &counter));
        }
    });
    (port, puts)
}

fn forward(mut client: TcpStream, mut server: TcpStream, puts: &AtomicUsize) {
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let swallow = Arc::new(AtomicBool::new(false));
    let swallowed = swallow.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 64 << 10];
        while let Ok(length @ 1..) = from_server.read(&mut buffer) {
            if swallowed.load(Ordering::SeqCst) || to_client.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        drop(to_client.shutdown(std::net::Shutdown::Both));
    });
    let mut buffer = [0; 64 << 10];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        if buffer.starts_with(b"PUT ") && puts.fetch_add(1, Ordering::SeqCst) == 0 {
            swallow.store(true, Ordering::SeqCst);
        }
        if server.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
}
