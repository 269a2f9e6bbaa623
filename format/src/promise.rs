//! What the parent of a page of a directory says of it, and what the page then holds. Who reads a directory page by page
//! compares the two: heights fall with every level and names only rise, so a hostile repository can send nobody in
//! circles, and no name comes twice; and the nodes below are as many as was said, so that whoever walks a tree knows
//! beforehand how far that is.

use crate::error::{Result, rule};
use crate::page::HEIGHT_MAX;
use crate::tree::{NodeKind, TreePage};

/// What is said of a page before it is read; of a root only how many nodes are below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise<'a> {
    /// Height of the page.
    pub height: Option<u8>,
    /// Greatest name below it.
    pub last_name: Option<&'a [u8]>,
    /// Greatest name before it in its directory.
    pub after: Option<&'a [u8]>,
    /// Nodes below it, at any depth.
    pub count: Option<u64>,
}

/// What a page holds, as far as that was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<'a> {
    /// Height of the page.
    pub height: u8,
    /// Smallest name below it; a branch page alone does not tell.
    pub first_name: Option<&'a [u8]>,
    /// Greatest name below it; `None` in an empty directory.
    pub last_name: Option<&'a [u8]>,
    /// Nodes below it, at any depth, as far as the page itself tells.
    pub count: u64,
}

impl TreePage {
    /// What the page holds.
    pub fn span(&self) -> Span<'_> {
        let (first_name, last_name) = match self {
            Self::Leaf(nodes) => (nodes.first().map(|node| &node.name), nodes.last().map(|node| &node.name)),
            Self::Branch { children, .. } => (None, children.last().map(|child| &child.last_name)),
        };
        let (first_name, last_name) = (first_name.map(Vec::as_slice), last_name.map(Vec::as_slice));
        Span { height: self.height(), first_name, last_name, count: self.count() }
    }

    /// Nodes below the page at any depth, as it says itself. Pages are shared, so that a few can say more than fits.
    pub fn count(&self) -> u64 {
        match self {
            Self::Leaf(nodes) => nodes.iter().fold(0, |sum: u64, node| {
                let below = if let NodeKind::Directory(root) = &node.kind { root.count } else { 0 };
                sum.saturating_add(1).saturating_add(below)
            }),
            Self::Branch { children, .. } => {
                children.iter().fold(0, |sum: u64, child| sum.saturating_add(child.root.count))
            }
        }
    }
}

/// Nodes that a tree may have however little is stored.
const NODES_FREE: u64 = 1 << 20;
/// Nodes that a tree may have for each page that is stored: sixteen times as many as fit into one. An honest tree has
/// fewer, though it holds the same folder hundreds of times.
const NODES_PER_PAGE: u64 = 1 << 16;

/// The most nodes of a tree that anybody walks path by path, in a domain of so many different pages. Sixty pages that name
/// each other twice make 2^60 paths, and no reader would come to their end.
pub fn nodes_max(pages: u64) -> u64 {
    pages.saturating_mul(NODES_PER_PAGE).saturating_add(NODES_FREE)
}

impl Promise<'_> {
    /// Fails if a page is not what was said of it.
    pub fn check(&self, found: Span<'_>) -> Result<()> {
        let is_as_high = self.height.is_none_or(|height| height == found.height) && found.height <= HEIGHT_MAX;
        rule(is_as_high, "a page of a directory has another height than its parent says")?;
        let ends_so = self.last_name.is_none_or(|promised| found.last_name == Some(promised));
        rule(ends_so, "a page of a directory ends with another name than its parent says")?;
        let is_behind = self.after.zip(found.first_name).is_none_or(|(after, first)| after < first);
        rule(is_behind, "the names of a directory are not in order")?;
        let is_as_much = self.count.is_none_or(|count| count == found.count);
        rule(is_as_much, "a page of a directory has more or fewer nodes below it than its parent says")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broken_promise_is_seen() {
        let promise = Promise { height: Some(0), last_name: Some(b"m"), after: Some(b"c"), count: Some(5) };
        let good = Span { height: 0, first_name: Some(b"d"), last_name: Some(b"m"), count: 5 };
        assert_eq!(promise.check(good), Ok(()));
        let bad = [
            Span { height: 1, ..good },
            Span { last_name: Some(b"l"), ..good },
            Span { last_name: None, ..good },
            Span { first_name: Some(b"c"), ..good },
            Span { first_name: Some(b"a"), ..good },
            Span { count: 4, ..good },
            Span { count: 6, ..good },
        ];
        bad.into_iter().for_each(|span| assert!(promise.check(span).is_err(), "{span:?}"));
        // nothing is said of a root, but that there is an end to its levels
        assert_eq!(Promise::default().check(bad[0]), Ok(()));
        assert!(Promise::default().check(Span { height: HEIGHT_MAX + 1, ..good }).is_err());
    }
}
