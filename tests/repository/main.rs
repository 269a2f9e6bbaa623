//! Whole operations over a store in memory, where time, randomness and faults come from the test, and over a real S3
//! server: what was acknowledged comes back, whatever happens in between.

mod chained;
mod checked;
mod claims;
mod clones;
mod copied;
mod crash;
mod damage;
mod declined;
mod delta;
mod diff;
mod endless;
mod facts;
mod find;
mod foreign;
mod forged;
mod forget;
mod full;
mod healed;
mod hidden;
mod interrupted;
mod junk;
mod kept;
mod limits;
mod missing;
mod month;
mod origins;
mod planned;
mod protocol;
mod pruned;
mod quarantined;
mod recovery;
mod relocated;
mod remnants;
mod repacked;
mod repaired;
mod requests;
mod restored;
mod retention;
mod roles;
mod round_trip;
mod s3;
mod seekable;
#[allow(dead_code, reason = "the tests of backends need more of it")]
#[path = "../backends/servers.rs"]
mod servers;
mod silent;
mod small;
mod stats;
mod stolen;
mod taken_over;
mod thief;
mod times;
mod unfinished;
mod vouched;
mod workers;
