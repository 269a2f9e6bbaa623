//! The forward half of the flow behind the source: dedup, frames, packs, index, and the commit.

pub(crate) mod bases;
pub mod commit;
pub(crate) mod filling;
pub mod frame;
pub mod packer;
pub mod transfer;
pub mod writer;
