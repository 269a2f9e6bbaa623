//! Whose an unfinished file is. A local store writes under a name that tells the machine, its boot and its namespace of
//! processes, the process, and when that began: what a dead process of this machine has left is known, and goes with the
//! next start. What another machine left goes after a day. Invariant: a file whose process may live is never left over.

use crate::time::{StoreTime, WallTime};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::path::Path;
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);
/// Nobody writes on one file for so long.
const AGE_MAX: Duration = Duration::from_hours(24);

/// This process, as the names of its unfinished files tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Maker {
    host: String,
    /// Boot and namespace of processes; empty where the system does not tell, and then nobody is known to be dead.
    boot: String,
    process: u32,
    /// When the process began, in ticks since the boot.
    began: u64,
}

impl Maker {
    /// This process.
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read(path).unwrap_or_default();
        let name = rustix::system::uname();
        let host = short(&[&read("/etc/machine-id"), name.nodename().to_bytes()]);
        let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id");
        let known = !boot.is_empty() && !space.as_os_str().is_empty();
        let boot = if known { short(&[&boot, space.as_os_str().as_encoded_bytes()]) } else { String::new() };
        let process = std::process::id();
        Self { host, boot, process, began: began(process).unwrap_or_default() }
    }

    /// How the names of its files begin.
    pub fn prefix(&self) -> String {
        format!("{}-{}-{}-{}-", self.host, self.boot, self.process, self.began)
    }

    fn of(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let mut next = || parts.next();
        let (host, boot) = (next()?.to_owned(), next()?.to_owned());
        let (process, began) = (next()?.parse().ok()?, next()?.parse().ok()?);
        next()?;
        Some(Self { host, boot, process, began })
    }

    /// True if nobody writes on a file of this name and time any more, as far as this process can tell.
    pub fn knows_left(&self, name: &str, modified: StoreTime, now: WallTime) -> bool {
        // a machine's clock and those of its file systems do not differ by hours
        let age = StoreTime::from_wall(now).since(modified);
        if age > AGE_MAX {
            return true;
        }
        let Some(other) = Self::of(name).filter(|other| other.host == self.host && !self.boot.is_empty()) else {
            return false;
        };
        if other.boot == self.boot { !other.lives() } else { age > HOUR && began_before_boot(modified) }
    }

    /// Asked only of a process of this boot and namespace. What can't be told is a yes.
    fn lives(&self) -> bool {
        let Some(process) = i32::try_from(self.process).ok().and_then(Pid::from_raw) else { return false };
        if test_kill_process(process) == Err(Errno::SRCH) {
            return false;
        }
        // another process may have its number by now
        began(self.process).is_none_or(|began| began == self.began)
    }
}

/// True if this is a time before the system began.
fn began_before_boot(modified: StoreTime) -> bool {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<i64>().ok());
    boot.is_some_and(|boot| modified < StoreTime::new(boot.saturating_mul(1_000_000_000)))
}

/// When a process began, in ticks since the boot.
fn began(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).ok()?;
    // the name of the program, in parentheses, may hold anything
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

fn short(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().as_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{AGE_MAX, Duration, HOUR, Maker, StoreTime, WallTime};

    const NOW: WallTime = WallTime::new(1_800_000_000 * 1_000_000_000);
    const OLD: Duration = AGE_MAX.saturating_add(Duration::from_nanos(1));

    fn left(name: &str, age: Duration) -> bool {
        Maker::this().knows_left(name, StoreTime::from_wall(NOW) - age, NOW)
    }

    #[test]
    fn only_what_nobody_can_write_on_is_left_over() {
        let own = Maker::this();
        let named = |maker: &Maker| format!("{}random-0", maker.prefix());
        assert!(own.began > 0 && !own.boot.is_empty(), "{own:?}");
        assert_eq!(Maker::of(&named(&own)), Some(own.clone()));
        assert!(!left(&named(&own), HOUR), "this process lives");
        let reused = Maker { began: own.began + 1, ..own.clone() };
        assert!(left(&named(&reused), Duration::ZERO), "its number belongs to another process");
        // its process is over, and was waited for
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(left(&named(&Maker { process: child.id(), ..own.clone() }), Duration::ZERO), "a dead process");
        // process 1 is somebody else's, and lives
        let first = Maker { process: 1, began: super::began(1).unwrap(), ..own.clone() };
        assert!(!left(&named(&first), HOUR), "a living process of another user");
        let elsewhere = Maker { host: "00000000".into(), process: child.id(), ..own.clone() };
        assert!(!left(&named(&elsewhere), AGE_MAX) && left(&named(&elsewhere), OLD), "another machine");
        let namespace = Maker { boot: "00000000".into(), process: child.id(), ..own.clone() };
        assert!(!left(&named(&namespace), Duration::ZERO), "another namespace of this machine");
        for name in ["left", "4711-00ff-0", "a-b-c-d-e"] {
            assert!(!left(name, AGE_MAX) && left(name, OLD), "{name}");
        }
    }

    #[test]
    fn an_hour_old_file_of_an_earlier_boot_is_left_over() {
        let own = Maker { boot: "00000000".into(), ..Maker::this() };
        let name = format!("{}random-0", own.prefix());
        let old = Maker::this().knows_left(&name, StoreTime::new(0), WallTime::new(0) + 2 * HOUR);
        let young = Maker::this().knows_left(&name, StoreTime::new(0), WallTime::new(0) + HOUR / 2);
        assert_eq!((old, young), (true, false));
    }
}
