//! What Prometheus is told: figures of a plan as text, written to a file that its node exporter reads, or pushed to a
//! gateway. Whoever judges the plan fills in the figures; names, help and labels stand here and nowhere else. Invariant:
//! what is written depends on the plan and its figures alone, so no series comes or goes from run to run; and a reader
//! finds the old file or the new one, never a part.

mod text;

use crate::http::{self, Client, Method, Request};
use crate::time::WallTime;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a gateway is waited for: the next run pushes anew.
const PUSH: Duration = Duration::from_secs(10);
/// Everybody may read it: the node exporter is another user.
const MODE: u32 = 0o644;

/// All figures of one plan. A time that never came is told as 0, so that its age is found too large.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Name of the plan.
    pub plan: String,
    /// Version of vault.
    pub version: String,
    /// The repository could be reached and read.
    pub is_up: bool,
    /// Each source of the plan.
    pub sources: Vec<SourceFigures>,
    /// Whether objectives are met.
    pub objectives: Vec<ObjectiveFigure>,
    /// Each cluster with an archive of WAL.
    pub clusters: Vec<ClusterFigures>,
    /// Each second repository.
    pub copies: Vec<CopyFigures>,
    /// The repository.
    pub repository: RepositoryFigures,
}

/// Of one source.
#[derive(Clone, Debug, Default)]
pub struct SourceFigures {
    /// Its name.
    pub source: String,
    /// Its domain.
    pub domain: String,
    /// When the newest good run began.
    pub last_success: Option<WallTime>,
    /// When the newest run began.
    pub last_attempt: Option<WallTime>,
    /// Size of the newest snapshot.
    pub bytes: u64,
    /// What of it was new.
    pub added_bytes: u64,
    /// What that took in the store.
    pub stored_bytes: u64,
    /// How long the newest run took.
    pub duration: Duration,
    /// How many snapshots there are.
    pub snapshots: u64,
    /// How runs ended.
    pub runs: RunCounts,
    /// How old the newest may be.
    pub rpo: Option<Duration>,
    /// How long a restore may take.
    pub rto: Option<Duration>,
    /// Its drills, if the plan asks for any.
    pub drill: Option<DrillFigures>,
}

/// How many runs ended how, as far back as the journal goes.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "each is its outcome")]
pub struct RunCounts {
    pub done: u64,
    pub unchanged: u64,
    pub partial: u64,
    pub failed: u64,
    pub busy: u64,
    pub skipped: u64,
}

/// Of the drills of one source.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrillFigures {
    /// When the newest passed one began.
    pub last_success: Option<WallTime>,
    /// How long it took to restore and to check.
    pub last_duration: Duration,
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Could not be run.
    pub unproven: u64,
}

/// Of one objective.
#[derive(Clone, Debug, Default)]
pub struct ObjectiveFigure {
    /// Its source; empty for the repository.
    pub source: String,
    /// Domain of the source.
    pub domain: String,
    /// Its name.
    pub objective: String,
    /// False also where it can't be judged.
    pub is_met: bool,
}

/// Of one archive of WAL.
#[derive(Clone, Debug, Default)]
pub struct ClusterFigures {
    /// Its name.
    pub cluster: String,
    /// Up to when it is archived.
    pub last_archived: Option<WallTime>,
    /// Holes in it.
    pub gaps: u64,
}

/// Of one second repository.
#[derive(Clone, Debug, Default)]
pub struct CopyFigures {
    /// Its name in the plan.
    pub copy: String,
    /// When the newest good copy began.
    pub last_success: Option<WallTime>,
}

/// Of the repository itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct RepositoryFigures {
    /// What it takes in the store.
    pub stored_bytes: u64,
    /// What it may take.
    pub quota_bytes: Option<u64>,
    /// What is left, by the quota or by what the store tells.
    pub free_bytes: Option<u64>,
    /// When the newest good check began.
    pub last_check: Option<WallTime>,
    /// When the data was verified, or stored, whose last time is longest ago.
    pub oldest_verified: Option<WallTime>,
}

/// Why the figures are not where they should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not in the file.
    #[error("cannot write metrics to {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Not at the gateway.
    #[error("cannot push metrics to {host}: {reason}")]
    Push {
        /// Its host.
        host: String,
        /// Why.
        reason: String,
    },
}

impl Metrics {
    /// In Prometheus's text format.
    pub fn text(&self) -> String {
        text::of(self)
    }
}

/// Puts the figures in a file. Its name ends in `.prom`, else the node exporter passes it over.
pub fn write(metrics: &Metrics, path: &Path) -> Result<(), Error> {
    let written = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // beside it, for the sake of the rename, and under a name that no exporter reads
        let mut file = tempfile::Builder::new().prefix(".vault-metrics-").suffix(".tmp").tempfile_in(folder)?;
        file.write_all(metrics.text().as_bytes())?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(MODE))?;
        file.persist(path)?;
        Ok(())
    };
    written().map_err(|error| Error::Write { path: path.to_owned(), error })
}

/// Replaces what a Pushgateway holds of this plan on this host, and nothing of another plan. The address is a secret
/// where it holds a password.
pub fn push(metrics: &Metrics, gateway: &str, host: &str) -> Result<(), Error> {
    let failed = |host: String, reason: String| Error::Push { host, reason };
    let mut url = http::parse(gateway).map_err(|refusal| failed("the gateway".to_owned(), refusal.reason))?;
    let shown = http::host(&url);
    if let Ok(mut parts) = url.path_segments_mut() {
        parts.pop_if_empty().extend(["metrics", "job", "vault", "instance", host]);
        parts.extend(group("plan", &metrics.plan));
    }
    let body = Some(("text/plain; version=0.0.4; charset=utf-8", metrics.text().into_bytes()));
    let sent = Client::start().send(Request { method: Method::Put, url, body }, PUSH);
    sent.map_err(|refusal| failed(shown, refusal.reason))
}

/// A label of a group as parts of a path. What would be no part, or two of them, goes as base64.
fn group(label: &str, value: &str) -> [String; 2] {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // dots alone are taken for folders
    if !value.contains('/') && !value.bytes().all(|byte| byte == b'.') {
        return [label.to_owned(), value.to_owned()];
    }
    let mut text = String::new();
    for three in value.as_bytes().chunks(3) {
        let bits = (0..3).fold(0usize, |bits, at| bits << 8 | three.get(at).copied().map_or(0, usize::from));
        let letters = (0..=three.len()).filter_map(|at| LETTERS.get(bits >> (18 - 6 * at) & 63).copied());
        text.extend(letters.map(char::from));
    }
    // nothing at all is written so
    let text = if text.is_empty() { "=".to_owned() } else { text };
    [format!("{label}@base64"), text]
}

#[cfg(test)]
mod tests {
    use super::{Metrics, group, write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn any_name_of_a_plan_makes_a_group() {
        for (name, label, value) in [
            ("shop one", "plan", "shop one"),
            ("a/b", "plan@base64", "YS9i"),
            ("a/bc", "plan@base64", "YS9iYw"),
            ("/", "plan@base64", "Lw"),
            ("..", "plan@base64", "Li4"),
            ("", "plan@base64", "="),
        ] {
            assert_eq!(group("plan", name), [label, value]);
        }
    }

    #[test]
    fn the_file_is_replaced_whole_and_everybody_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.prom");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let old = std::fs::File::open(&path).unwrap();
        let metrics = Metrics { plan: "shop".into(), ..Metrics::default() };
        write(&metrics, &path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), metrics.text());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::io::read_to_string(old).unwrap(), "old", "whoever has it open reads on");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        let missing = folder.path().join("none/vault.prom");
        assert!(write(&metrics, &missing).unwrap_err().to_string().contains("none/vault.prom"));
    }
}
