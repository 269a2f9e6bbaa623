//! The backward half of the flow: find, fetch, open, decode, verify.

mod frames;
pub mod ranges;
pub mod reader;
