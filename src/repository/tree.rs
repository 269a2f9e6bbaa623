//! Stored trees: building, walking and comparing them.

pub mod build;
pub mod changes;
pub mod reach;
pub mod walk;
pub mod whole;
