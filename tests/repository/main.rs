//! Whole operations over a store in memory, where time, randomness and faults come from the test, and over a real S3
//! server: what was acknowledged comes back, whatever happens in between.

#[path = "../files/compare.rs"]
mod compare;
mod crash;
mod round_trip;
mod workers;
mod world;
