//! The bytes of the format: vectors, golden repositories, a second reader, corpora of the fuzz targets, and properties. One
//! binary, because each would compile the same codecs again.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod corpus;
mod golden;
mod python;
mod roundtrip;
mod sheet;
mod support;
mod vectors;
