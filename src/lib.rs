//! A content-addressed, deduplicating, encrypted backup repository. The binary is a thin face over this library. Each
//! module stands on lower layers only: metadata and the runtime, then sources and targets.

pub mod metadata;
pub mod runtime;
pub mod source;
pub mod target;
