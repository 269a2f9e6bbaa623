//! Files come back as they were, nothing outside a target changes, and what can't be read is named. Trees go straight
//! from walker to target here, without a repository between.

mod archive;
mod copy;
mod corpus;
mod doubtful;
mod existing;
mod extra;
#[path = "../../fuzz/src/paths.rs"]
mod paths;
mod program;
mod promises;
mod zoo;
