//! Judges stored trees page by page from the bottom up: what is known of a page follows from the page and from what is
//! known of the pages below it. Each page is read once, however many trees and folders share it.

use std::collections::HashMap;
use vault_format::id::BlobId;

/// What is known of a page alone, and the pages below it.
pub type Opened<F> = (<F as Fold>::Sum, Vec<<F as Fold>::Page>);

/// How pages are judged.
pub trait Fold {
    /// A page that is to be judged, with what its parent says of it.
    type Page;
    /// What is known of a page.
    type Sum;
    /// Why judging ended early.
    type Error;

    /// The page's blob.
    fn id(page: &Self::Page) -> BlobId;
    /// Reads a page; `above` are the pages on the way to it.
    fn open(&mut self, above: &[Level<Self::Page, Self::Sum>], page: &Self::Page) -> Result<Opened<Self>, Self::Error>;
    /// Adds what is known of one page below.
    fn add(&mut self, sum: &mut Self::Sum, page: &Self::Page, below: &Self::Sum) -> Result<(), Self::Error>;
}

/// A page that is being judged.
pub struct Level<P, S> {
    /// The page.
    pub page: P,
    sum: S,
    below: std::vec::IntoIter<P>,
}

/// Judges a page and all that is below it, but for what is `known`, where the results go.
pub fn fold<F: Fold>(how: &mut F, known: &mut HashMap<BlobId, F::Sum>, root: F::Page) -> Result<(), F::Error> {
    let mut levels: Vec<Level<F::Page, F::Sum>> = Vec::new();
    let mut next = Some(root);
    loop {
        if let Some(page) = next.take() {
            if let Some(below) = known.get(&F::id(&page)) {
                if let Some(level) = levels.last_mut() {
                    how.add(&mut level.sum, &page, below)?;
                }
            } else {
                let (sum, below) = how.open(&levels, &page)?;
                levels.push(Level { page, sum, below: below.into_iter() });
            }
        }
        let Some(level) = levels.last_mut() else { return Ok(()) };
        next = level.below.next();
        if next.is_none()
            && let Some(done) = levels.pop()
        {
            known.insert(F::id(&done.page), done.sum);
            // it is known now, and so goes to its parent
            next = Some(done.page);
        }
    }
}
