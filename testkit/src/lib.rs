//! What the tests of vault share, and no user runs: stores that lag, fail, tell and call back; a world of one store, one
//! clock and a repository to try things in; the comparison of two trees on disk; and the breaker of protocol rules. It
//! stands on vault's public interface, and vault knows nothing of it.

#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs, reason = "a test ends at the first surprise")]

pub mod compare;
pub mod faulty;
pub mod forged;
pub mod hooked;
pub mod port;
pub mod recording;
pub mod rules;
pub mod simulated;
pub mod world;
pub mod wrapped;
