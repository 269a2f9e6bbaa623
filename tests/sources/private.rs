//! Throw-away servers in folders of their own: as an ordinary user where the tests run as root, ended with the test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server that runs.
pub struct Server {
    child: Option<Child>,
    home: TempDir,
}

/// Says loudly that a test did not run; in CI that is a failure.
pub fn skipped<T>(reason: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "a test of sources must not be skipped in CI: {reason}");
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    // straight to the terminal: the harness would swallow it
    drop(writeln!(std::io::stderr(), "SKIPPED {name}: {reason}"));
    None
}

pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(program)).find(|file| file.is_file())
}

/// A program as an ordinary user.
pub fn ordinary(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
    command
}

impl Server {
    /// A folder that an ordinary user may write to.
    pub fn prepare(prefix: &str) -> Self {
        let home = tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp").unwrap();
        if rustix::process::geteuid().is_root() {
            assert!(Command::new("chown").arg("nobody").arg(home.path()).status().unwrap().success());
        }
        Self { child: None, home }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// Starts it, and waits until it answers.
    pub fn start(&mut self, mut command: Command, answers: impl Fn(&Self) -> bool) {
        let log = std::fs::File::options().create(true).append(true).open(self.home.path().join("log")).unwrap();
        command.current_dir(self.home.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let begun = Instant::now();
        while !answers(self) {
            let log = || std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "{command:?} does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop((child.kill(), child.wait()));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
