//! WAL segments of PostgreSQL: packs with one frame under names of their own, so that `archive_command` is one put.
//! A segment is found by its name alone, so only names that PostgreSQL itself gives are taken.

use crate::error::{Error, Result};

/// True for a WAL file name: a segment (24 hex digits), a partial one, a backup label or a timeline history.
pub fn is_segment_name(name: &str) -> bool {
    let (base, suffix) = name.split_once('.').map_or((name, None), |(base, suffix)| (base, Some(suffix)));
    let hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
    };
    match suffix {
        None | Some("partial") => hex(base, 24),
        Some("history") => hex(base, 8),
        Some(label) => hex(base, 24) && label.strip_suffix(".backup").is_some_and(|offset| hex(offset, 8)),
    }
}

/// The timeline of a WAL file name: its first eight hex digits.
pub fn timeline(name: &str) -> Result<u32> {
    let wrong = Error::Invalid("not the name of a WAL segment");
    if !is_segment_name(name) {
        return Err(wrong);
    }
    let digits = name.get(..8).ok_or_else(|| wrong.clone())?;
    u32::from_str_radix(digits, 16).map_err(|_| wrong)
}
