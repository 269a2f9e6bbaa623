//! What snapshots need: every page of their trees is read once, every chunk looked up. A page that many snapshots share
//! is walked once; what is wrong below it is remembered with paths relative to it, so that each snapshot that reaches it
//! is told. Memory grows with the number of pages and of damaged ones, not of files.

use super::finding::{AFFECTED_MAX, Findings};
use super::packs::{Packs, reason};
use crate::error::Result;
use crate::progress::Progress;
use crate::repository;
use crate::repository::Repository;
use crate::repository::index::loose::{Ends, LoosePack};
use crate::repository::lookup::{ANY_DEPTH, BlobLookup, FrameNumber, PackNumber, PackRule};
use crate::repository::objects::snapshots::SnapshotEntry;
use crate::repository::read::reader::Reader;
use crate::repository::tree::chunks::Pages;
use crate::repository::tree::fold::{self, Fold, Level};
use crate::repository::tree::names::join;
use crate::repository::tree::nodes;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use vault_format::id::{BlobId, BlobKind, Class, ObjectId};
use vault_format::list::Content;
use vault_format::name::Name;
use vault_format::promise::{Promise, Span};
use vault_format::tree::{Node, NodeKind, PATH_BYTES_MAX, TreeChild, TreePage, TreeRoot};

/// Bytes of relative paths that are remembered in all; behind that damage is only counted.
const PATH_BYTES_REMEMBERED: usize = 16 << 20;
/// Bytes of a path behind which no more of it is shown.
const SHOWN_BYTES: usize = 1024;

/// The object at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Culprit {
    /// A pack of the index, by number.
    Pack(PackNumber),
    /// A pack that holds what is needed, and no index tells of it.
    Loose(ObjectId),
    /// No pack holds it.
    Nowhere,
}

/// What is wrong below a page: how many files and folders each culprit costs, and the first paths, relative to the page.
#[derive(Debug, Default)]
struct Harm(BTreeMap<Culprit, (Vec<Vec<u8>>, u64)>);

impl Harm {
    fn add(&mut self, culprit: Culprit, path: Vec<u8>, count: u64) {
        let (paths, all) = self.0.entry(culprit).or_default();
        if paths.len() < AFFECTED_MAX {
            paths.push(path);
        }
        *all = all.saturating_add(count);
    }

    /// Takes over what is wrong below `step`, with `most` paths for each culprit.
    fn join(&mut self, step: &[u8], below: &Harm, most: usize) {
        for (culprit, (more, count)) in &below.0 {
            let (paths, all) = self.0.entry(*culprit).or_default();
            let free = most.saturating_sub(paths.len());
            let fits = |path: &&Vec<u8>| step.len() + path.len() < PATH_BYTES_MAX;
            paths.extend(more.iter().filter(fits).take(free).map(|path| join(step, path)));
            *all = all.saturating_add(*count);
        }
    }

    fn path_bytes(&self) -> usize {
        self.0.values().flat_map(|(paths, _)| paths).map(Vec::len).sum()
    }
}

/// What is known of a page that was walked.
pub(super) struct Page {
    height: u8,
    first_name: Option<Vec<u8>>,
    last_name: Option<Vec<u8>>,
    count: u64,
    /// Bytes of the longest path below it.
    longest: usize,
    /// What first is not as a page above says, here or below. The bytes are those that were stored, so no pack is at fault.
    lie: Option<vault_format::Error>,
    harm: Harm,
}

impl Page {
    fn span(&self) -> Span<'_> {
        let (first_name, last_name) = (self.first_name.as_deref(), self.last_name.as_deref());
        Span { height: self.height, first_name, last_name, count: self.count }
    }
}

/// A page that is to be walked, and what its parent says of it.
#[derive(Default)]
pub(super) struct Expected {
    id: BlobId,
    /// Between the paths of its parent and its own: a folder's name, or nothing.
    step: Vec<u8>,
    height: Option<u8>,
    last_name: Option<Vec<u8>>,
    /// Greatest name before it in its directory.
    after: Option<Vec<u8>>,
    count: u64,
}

impl Expected {
    fn promise(&self) -> Promise<'_> {
        let (last_name, after) = (self.last_name.as_deref(), self.after.as_deref());
        Promise { height: self.height, last_name, after, count: Some(self.count) }
    }

    /// The pages below a branch page.
    fn below(&self, height: u8, children: Vec<TreeChild>) -> Vec<Expected> {
        let mut after = self.after.clone();
        let child = |TreeChild { last_name, root }| {
            let after = after.replace(last_name.clone());
            let (height, last_name) = (Some(height.saturating_sub(1)), Some(last_name));
            Expected { id: root.id, step: Vec::new(), height, last_name, after, count: root.count }
        };
        children.into_iter().map(child).collect()
    }
}

/// The walk over all snapshots.
pub(super) struct Trees<'a, 'r> {
    repository: &'r Repository,
    packs: &'a Packs<'r>,
    reader: &'a Reader,
    bad: &'a HashSet<FrameNumber>,
    pages: HashMap<BlobId, Page>,
    /// Blobs of packs that no index tells of; read when the first of them is needed.
    loose: Option<HashMap<BlobId, ObjectId>>,
    remembered: usize,
    /// Pages that were read before they are walked.
    ahead: HashSet<BlobId>,
    /// What was found to be wrong.
    pub findings: Findings,
    progress: &'a dyn Progress,
    /// Snapshots that this key may not read.
    pub closed: u64,
}

impl<'a, 'r> Trees<'a, 'r> {
    pub fn new(
        packs: &'a Packs<'r>,
        reader: &'a Reader,
        bad: &'a HashSet<FrameNumber>,
        progress: &'a dyn Progress,
    ) -> Self {
        let (repository, findings) = (packs.repository, Findings::default());
        let (pages, loose, ahead) = (HashMap::new(), None, HashSet::new());
        Self { repository, packs, reader, bad, pages, loose, remembered: 0, ahead, findings, progress, closed: 0 }
    }

    /// Walks some snapshots, after reading of each what it begins with.
    pub fn snapshots(&mut self, snapshots: &[&SnapshotEntry]) -> Result<()> {
        let threads = self.repository.backend().connections();
        let bodies = self.repository.runtime().map(threads, snapshots, |one| one.body(self.repository).map(drop));
        self.read_ahead(snapshots.iter().map(|one| one.head.root.id));
        snapshots.iter().zip(bodies).try_for_each(|(snapshot, body)| self.snapshot(snapshot, body))
    }

    /// Reads pages at once that are walked next; each once, however many snapshots share it.
    fn read_ahead(&mut self, pages: impl Iterator<Item = BlobId>) {
        let new: Vec<BlobId> = pages.filter(|id| self.ahead.insert(*id)).collect();
        self.reader.read_ahead(BlobKind::Tree, &new);
    }

    fn snapshot(&mut self, snapshot: &SnapshotEntry, body: repository::Result<()>) -> Result<()> {
        match body {
            Ok(_) => {}
            // of a writer in this domain: only the owner reads it
            Err(repository::Error::Role { .. }) => {
                self.closed += 1;
                return Ok(());
            }
            Err(error) if error.is_unanswered() => return Err(error.into()),
            Err(error) => self.findings.add(snapshot.name(), &error.reason(&snapshot.name())),
        }
        let TreeRoot { id: root, count, .. } = snapshot.head.root;
        self.walk(root, count)?;
        let Some(page) = self.pages.get(&root) else { return Ok(()) };
        walkable((self.reader, &mut self.findings), snapshot, page);
        let (harm, name) = (&page.harm, snapshot.id.short());
        for (&culprit, &(ref paths, count)) in &harm.0 {
            let paths = paths.iter().map(|path| format!("{name}:/{}", String::from_utf8_lossy(path)));
            match culprit {
                Culprit::Pack(number) => {
                    let pack = self.reader.index().pack(number)?;
                    self.findings.affect(Name::Pack(pack.class, pack.id), paths, count);
                }
                Culprit::Loose(id) => {
                    let class = self.packs.listing.get(&id).map_or(Class::Data, |(class, _)| *class);
                    let problem = "no index tells of it, though it is needed: an index object is missing or damaged";
                    self.findings.add(Name::Pack(class, id), problem);
                    self.findings.affect(Name::Pack(class, id), paths, count);
                }
                Culprit::Nowhere => {
                    let object = "a pack or index object";
                    self.findings.add(object, "missing: what it held is in no pack that is known");
                    self.findings.affect(object, paths, count);
                }
            }
        }
        Ok(())
    }

    /// Everything wrong below a root goes to its page.
    fn walk(&mut self, root: BlobId, count: u64) -> Result<()> {
        let mut pages = std::mem::take(&mut self.pages);
        let walked = fold::fold(self, &mut pages, Expected { id: root, count, ..Expected::default() });
        self.pages = pages;
        walked
    }

    /// Files of a leaf page are looked up; returns its folders.
    fn leaf(&mut self, nodes: &[Node], harm: &mut Harm) -> Result<Vec<Expected>> {
        let mut below = Vec::new();
        for node in nodes {
            match &node.kind {
                NodeKind::Directory(root) => {
                    let (id, step, count) = (root.id, node.name.clone(), root.count);
                    below.push(Expected { id, step, count, ..Expected::default() });
                }
                NodeKind::File { content, .. } => self.file(&node.name, content, harm)?,
                _ => {}
            }
        }
        Ok(below)
    }

    fn file(&mut self, name: &[u8], content: &Content, harm: &mut Harm) -> Result<()> {
        let mut culprits = BTreeSet::new();
        let mut failed = None;
        for (page, chunks) in Pages::new(self.reader, content) {
            match chunks {
                Ok(chunks) => {
                    for chunk in chunks {
                        self.culprits(&chunk.id, ANY_DEPTH, &mut culprits)?;
                    }
                }
                Err(error) if self.packs.is_silent(&error) => return Err(error.into()),
                Err(error) => failed = page.zip(Some(error)),
            }
        }
        if let Some((page, error)) = failed {
            culprits.extend(self.blame(&page, &reason(&error))?);
        }
        culprits.into_iter().for_each(|culprit| harm.add(culprit, name.to_vec(), 1));
        Ok(())
    }

    /// A usable place none of whose frames is bad.
    fn is_good(&self, id: &BlobId, below: u8) -> bool {
        self.lookup().place_below(id, below, &PackRule::THERE.without_frames(self.bad)).is_some()
    }

    /// The objects at fault for a page that can't be used, after noting with them how that showed.
    fn blame(&mut self, id: &BlobId, why: &str) -> Result<BTreeSet<Culprit>> {
        let mut culprits = BTreeSet::new();
        self.culprits(id, ANY_DEPTH, &mut culprits)?;
        let lookup = self.lookup();
        // every place looked good and was tried: none of them gives it
        if culprits.is_empty() {
            culprits.extend(lookup.known_places(id).map(|place| Culprit::Pack(place.pack)));
        }
        for culprit in culprits.iter().filter(|_| !why.is_empty()) {
            if let Culprit::Pack(number) = culprit
                && let Ok(pack) = lookup.pack(*number)
            {
                self.findings.add(Name::Pack(pack.class, pack.id), why);
            }
        }
        Ok(culprits)
    }

    fn lookup(&self) -> &'a BlobLookup {
        self.reader.index()
    }

    /// The objects whose absence or damage makes a blob unreadable; none if it seems readable.
    fn culprits(&mut self, id: &BlobId, below: u8, out: &mut BTreeSet<Culprit>) -> Result<()> {
        if self.is_good(id, below) {
            return Ok(());
        }
        let lookup = self.lookup();
        let places: Vec<_> = lookup.known_places(id).filter(|place| place.depth < below).collect();
        if places.is_empty() {
            let pack = self.loose()?.get(id).copied();
            out.insert(pack.map_or(Culprit::Nowhere, Culprit::Loose));
        }
        for place in places {
            let bases = lookup.frame(place.frame).map_or_else(|_| Box::default(), |frame| frame.bases);
            let mut of_bases = BTreeSet::new();
            bases.iter().try_for_each(|base| self.culprits(base, place.depth, &mut of_bases))?;
            // a frame may be bad only because a base is
            let bad = self.bad.contains(&place.frame) && of_bases.is_empty();
            if bad || !lookup.pack(place.pack).is_ok_and(|pack| pack.present) {
                out.insert(Culprit::Pack(place.pack));
            }
            out.extend(of_bases);
        }
        Ok(())
    }

    /// The blobs of packs that no index tells of, by their own ends: read only once something is missing. An end that
    /// the store did not give says nothing of what is lost.
    fn loose(&mut self) -> Result<&HashMap<BlobId, ObjectId>> {
        if self.loose.is_none() {
            let packs: Vec<_> = self.packs.loose().collect();
            let mut blobs = HashMap::new();
            for LoosePack { entry, .. } in Ends::new(self.repository).read(&packs)?.into_iter().flatten() {
                blobs.extend(entry.directory.blobs.iter().map(|blob| (blob.id, entry.id)));
            }
            self.loose = Some(blobs);
        }
        Ok(self.loose.get_or_insert_default())
    }
}

/// Names a snapshot that its writer made so that nobody can go through it path by path.
fn walkable((reader, findings): (&Reader, &mut Findings), snapshot: &SnapshotEntry, page: &Page) {
    let promise = Promise { count: Some(snapshot.head.root.count), ..Promise::default() };
    let is_endless = page.count > reader.nodes_max();
    let is_long = page.longest > PATH_BYTES_MAX;
    let wrongs = [
        page.lie.clone().or(promise.check(page.span()).err()),
        is_endless.then_some(nodes::ENDLESS),
        is_long.then_some(vault_format::Error::Limit("the length of a path")),
    ];
    for why in wrongs.into_iter().flatten() {
        findings.mismade((snapshot.name(), snapshot.id), &why);
    }
}

impl Fold for Trees<'_, '_> {
    type Page = Expected;
    type Sum = Page;
    type Error = crate::error::Error;

    fn id(page: &Expected) -> BlobId {
        page.id
    }

    fn open(&mut self, above: &[Level<Expected, Page>], expected: &Expected) -> Result<(Page, Vec<Expected>)> {
        self.repository.runtime().check_stopped()?;
        // of a tree as deep as can be nobody sees more than where it begins
        let mut path = Vec::new();
        let mut way = above.iter().map(|level| &level.page).chain([expected]);
        while path.len() < SHOWN_BYTES
            && let Some(page) = way.next()
        {
            path = join(&path, &page.step);
        }
        self.progress.at(Path::new(&*String::from_utf8_lossy(&path)));
        let mut harm = Harm::default();
        let read = if self.is_good(&expected.id, ANY_DEPTH) {
            match nodes::page(self.reader, &expected.id, Promise::default()) {
                Err(error) if self.packs.is_silent(&error) => return Err(error.into()),
                read => read.map_err(|error| reason(&error)),
            }
        } else {
            Err(String::new())
        };
        let page = match read {
            Ok(page) => page,
            Err(why) => {
                self.blame(&expected.id, &why)?.into_iter().for_each(|culprit| harm.add(culprit, Vec::new(), 1));
                // nothing is known of it: what its parent says must do
                let (height, last_name) = (expected.height.unwrap_or_default(), expected.last_name.clone());
                let (first_name, count, longest) = (None, expected.count, 0);
                return Ok((Page { height, first_name, last_name, count, longest, lie: None, harm }, Vec::new()));
            }
        };
        let Span { height, first_name, last_name, count } = page.span();
        let (first_name, last_name) = (first_name.map(<[u8]>::to_vec), last_name.map(<[u8]>::to_vec));
        let mut longest = 0;
        let below = match page {
            TreePage::Leaf(nodes) => {
                longest = nodes.iter().map(|node| node.name.len()).max().unwrap_or_default();
                self.leaf(&nodes, &mut harm)?
            }
            TreePage::Branch { height, children } => expected.below(height, children),
        };
        self.read_ahead(below.iter().map(|page| page.id));
        self.remembered += harm.path_bytes();
        Ok((Page { height, first_name, last_name, count, longest, lie: None, harm }, below))
    }

    fn add(&mut self, page: &mut Page, expected: &Expected, below: &Page) -> Result<()> {
        let (before, is_much) = (page.harm.path_bytes(), self.remembered > PATH_BYTES_REMEMBERED);
        page.harm.join(&expected.step, &below.harm, if is_much { 0 } else { AFFECTED_MAX });
        self.remembered += page.harm.path_bytes() - before;
        let slash = usize::from(!expected.step.is_empty() && below.longest > 0);
        page.longest = page.longest.max(below.longest.saturating_add(expected.step.len() + slash));
        // the pages of one directory continue each other's names
        if expected.step.is_empty() && page.first_name.is_none() {
            page.first_name.clone_from(&below.first_name);
        }
        let here = expected.promise().check(below.span()).err();
        page.lie = page.lie.take().or_else(|| below.lie.clone()).or(here);
        Ok(())
    }
}
