//! Fuzz targets of the decoders and of what a restore does with paths: `cargo fuzz run tree`.

pub mod decoders;
pub mod paths;
