//! How a repository comes to be and is opened, and how one is recovered whose keys or index are lost.

pub mod create;
pub mod opening;
pub mod recover;
