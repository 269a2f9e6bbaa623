//! Compares the name of every object with its bytes, without password or key: anybody who can read the store can do it.
//! Finds rot and torn writes; what is missing, and what was never right, it can't see. Objects are hashed in pieces on
//! several threads, so memory does not depend on their size.

use super::finding::{Finding, Findings};
use crate::backend::{Backend, Entry, ErrorKind};
use crate::error::Result;
use crate::progress::Progress;
use crate::repository::objects::foreign;
use crate::runtime::Runtime;
use vault_format::config::Config;
use vault_format::id::ObjectId;
use vault_format::name::Name;

/// Bytes that one thread holds.
const PIECE_BYTES: u64 = 16 << 20;

/// What a scrub saw.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Scrub {
    /// Damaged objects.
    pub findings: Vec<Finding>,
    /// Names that are not vault's.
    pub notes: Vec<String>,
    /// Objects read.
    pub objects: u64,
    /// Bytes read.
    pub read_bytes: u64,
}

/// Reads every object of a store and compares it with its name.
pub fn scrub(backend: &Backend, runtime: &Runtime, progress: &dyn Progress) -> Result<Scrub> {
    let mut scrub = Scrub::default();
    let mut findings = Findings::default();
    let mut objects = Vec::new();
    for entry in backend.list("")? {
        match Name::parse(&entry.name) {
            Some(name) => objects.push((name, entry)),
            None if foreign::is_probe(&entry.name) => {}
            None => scrub.notes.push(format!("{} is not an object of vault", entry.name)),
        }
    }
    progress.expect(objects.len() as u64, objects.iter().map(|(_, entry)| entry.size).sum());
    let threads = if backend.is_local() { runtime.workers } else { backend.connections().max(runtime.workers) };
    let problems = runtime.map(threads, &objects, |(name, entry)| {
        if runtime.is_stopped() {
            return None;
        }
        let problem = problem(backend, name, entry);
        progress.advance(1, entry.size);
        problem
    });
    runtime.check_stopped()?;
    for ((name, entry), problem) in objects.iter().zip(problems) {
        scrub.read_bytes += entry.size;
        if let Some(problem) = problem {
            findings.add(name, &problem);
        }
    }
    for name in [Name::Config, Name::ConfigCopy] {
        if !objects.iter().any(|(found, _)| *found == name) {
            findings.add(name, "missing");
        }
    }
    scrub.objects = objects.len() as u64;
    scrub.findings = findings.finish();
    Ok(scrub)
}

fn problem(backend: &Backend, name: &Name, entry: &Entry) -> Option<String> {
    let Some(id) = name.id() else {
        // a config is not named by its hash, but it holds the key that signed it
        let opened = backend.get(&entry.name, None).map(|bytes| Config::open(&bytes, None));
        return match opened {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
    };
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < entry.size {
        let end = entry.size.min(at + PIECE_BYTES);
        match backend.get(&entry.name, Some(at..end)) {
            Ok(bytes) => hasher.update(&bytes),
            // prune may have deleted it since it was listed
            Err(error) if error.kind == ErrorKind::NotFound => return None,
            Err(error) => return Some(error.to_string()),
        };
        at = end;
    }
    let found = ObjectId(*hasher.finalize().as_bytes());
    (found != id).then(|| "its bytes do not match its name".into())
}
