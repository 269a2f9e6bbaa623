//! What holds for every page, of a tree and of a list: both are content-cut trees whose leaves have height 0, and whose
//! branches lie one above the other without gaps. The limits keep a hostile page from costing a reader its memory or
//! its stack.

use crate::error::{Result, within};

/// Largest encoded page in bytes.
pub const PAGE_BYTES_MAX: usize = 4 << 20;
/// A page is closed when its encoding would reach this size in bytes, whatever the cut says.
pub const PAGE_BYTES_TARGET: usize = 256 << 10;
/// Most entries of one page.
pub const PAGE_ENTRIES_MAX: usize = 4096;
/// Highest page: leaves are 0.
pub const HEIGHT_MAX: u8 = 8;

/// Checks the height of a branch.
pub(crate) fn validate_height(height: u8, what: &'static str) -> Result<()> {
    within((1..=HEIGHT_MAX).contains(&height), what)
}

/// Checks how many children a branch has: one alone would be a second form of the same tree.
pub(crate) fn validate_children(count: usize, what: &'static str) -> Result<()> {
    within((2..=PAGE_ENTRIES_MAX).contains(&count), what)
}
