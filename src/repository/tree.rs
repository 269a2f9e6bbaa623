//! Stored trees: building, walking and comparing them, and reading their files. `nodes` reads one directory in order,
//! `walk` everything below one, `reach` every blob of many trees once, and `fold` judges pages from the bottom up.

pub mod before;
pub mod build;
pub mod changes;
pub mod chunks;
pub mod content;
pub mod file;
pub mod fold;
mod levels;
pub mod names;
pub mod nodes;
pub mod path;
pub mod reach;
pub mod walk;
pub mod whole;
