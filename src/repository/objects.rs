//! The signed kinds of objects, one file each: listing, reading, judging, and putting. What counts is decided here, from
//! whoever signed an object and what the owner said of it; what it means for the repository as a whole is for the rooms
//! above.

pub mod arrivals;
pub(crate) mod chain;
pub mod domains;
pub mod foreign;
pub mod index_objects;
pub mod journal;
pub mod loaded;
pub mod marks;
pub(crate) mod months;
pub mod orders;
pub mod pins;
pub mod slots;
pub mod snapshots;
pub mod trust;
