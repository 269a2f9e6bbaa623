//! Fuzz targets of the decoders: `cargo fuzz run tree`.

pub mod decoders;
