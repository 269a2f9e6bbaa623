//! vault: a content-addressed, deduplicating, encrypted backup repository. Modules lie in layers, and use only lower
//! ones: `time`, `size`, `runtime`, `metadata`, `progress`; `source`, `target`, `chunk`, `compression`; `backend`; `repository`;
//! `error`, `plan`, `operation`; the operations, free functions over `&Repository`; and the command line on top. The
//! library never prints, and never reads the environment. What tests alone reach into is public with the feature
//! `internals`.

#![forbid(unsafe_code)]

pub mod alert;
pub mod backend;
pub mod backup;
mod cache;
mod certificate;
pub mod check;
#[cfg(not(feature = "internals"))]
pub(crate) mod chunk;
#[cfg(feature = "internals")]
pub mod chunk;
pub mod compression;
pub mod copy;
pub mod diff;
pub mod due;
pub mod error;
pub mod find;
pub mod forget;
pub mod health;
pub mod history;
mod http;
pub mod journal;
pub mod keys;
pub mod list;
mod metadata;
pub mod metrics;
pub mod operation;
pub mod plan;
pub mod progress;
pub mod prune;
pub mod repair;
pub mod repository;
pub mod restore;
pub mod retention;
pub mod run;
pub mod runtime;
#[cfg(feature = "internals")]
pub mod similar;
#[cfg(not(feature = "internals"))]
pub(crate) mod similar;
pub mod size;
pub mod source;
pub mod stats;
pub mod tag;
#[cfg(not(feature = "internals"))]
pub(crate) mod target;
#[cfg(feature = "internals")]
pub mod target;
pub mod time;
pub mod undelete;
pub mod usual;

/// The format, whose types stand in what the operations take and give.
pub use vault_format as format;
