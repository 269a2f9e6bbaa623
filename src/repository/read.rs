//! The backward half of the flow: find, fetch, open, decode, verify.

pub mod ranges;
pub mod reader;
