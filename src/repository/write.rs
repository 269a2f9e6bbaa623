//! The forward half of the flow behind the source: dedup, frames, packs, index, and the commit.

pub mod commit;
pub mod packer;
pub mod transfer;
pub mod writer;
