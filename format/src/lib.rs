//! The bytes of a vault repository: encode and decode, seal and open. No I/O, clock, randomness, threads or async here:
//! salts and secrets are passed in. Decoders are bounded and total; `SPEC.md` says the same in words and drawings.
//!
//! Glossary, kept to in code, commands and documents:
//! - **chunk**: a piece of a file's content, cut by content. **blob**: the unit of identity and dedup: a chunk, or a page
//!   of a tree or list. **frame**: the unit of compression and sealing: one or more blobs. **pack**: the object that
//!   holds frames. **index**: the object that tells what packs hold.
//! - **tree**: a directory; **node**: one entry of it; **list**: the chunks of a long file; both are cut into **pages**.
//! - **snapshot**: the state of one source at one time; its **head** is bookkeeping, its **body** content.
//! - **order**: the owner's word (forget, undelete, tag, hold, revoke, ...). **mark**: packs condemned by prune.
//!   **journal**: what was run. **key slot**: a bundle of keys under a password. **domain**: writers that share.
//! - **object**: named bytes in the **backend**, the place where a **repository** lives; **cache**: local, rebuildable;
//!   **source** and **target**: what is backed up, and where a restore writes.
//! - **forget** drops snapshots, **prune** drops packs, **check** only looks.

pub mod bundle;
pub mod codec;
pub mod compress;
pub mod config;
pub mod directory;
pub mod envelope;
pub mod error;
pub mod facts;
pub mod frame;
pub mod gear;
pub mod header;
pub mod id;
pub mod index;
pub mod journal;
pub mod key;
pub mod key_file;
pub mod list;
pub mod mark;
pub mod month;
pub mod name;
pub mod object;
pub mod order;
pub mod owner;
pub mod pack;
pub mod page;
pub mod promise;
pub mod recovery;
pub mod salt;
pub mod seal;
pub mod section;
pub mod slot;
pub mod snapshot;
pub mod tree;
pub mod volume;
pub mod wal;

pub use ed25519_dalek::SigningKey;
pub use error::{Error, Result};
