//! Stored trees: building, walking and comparing them, and reading their files.

pub mod build;
pub mod changes;
pub mod file;
pub mod reach;
pub mod walk;
pub mod whole;
