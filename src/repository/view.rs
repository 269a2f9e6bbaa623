//! What the objects of a repository say together.

pub mod address;
pub mod missing;
pub mod readable;
