//! Index objects as a whole: merging many into few, telling anew of packs of which no index tells, and what runs have
//! left in none.

pub mod inherited;
pub mod loose;
pub mod merge;
pub mod rebuild;
pub mod unfinished;
pub(crate) mod vouching;
