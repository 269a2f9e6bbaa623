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
use crate::repository::tree::walk;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::Path;
use vault_format::id::{BlobId, ObjectId};
use vault_format::name::Name;
use vault_format::page::HEIGHT_MAX;
use vault_format::tree::{Node, NodeKind, TreeChild, TreePage};

/// Most relative paths that are remembered in all; behind that damage is only counted.
const PATHS_MAX: usize = 1 << 17;

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
        *all += count;
    }

    /// Takes over what is wrong below `step`.
    fn join(&mut self, step: &[u8], below: &Harm) {
        for (culprit, (more, count)) in &below.0 {
            let (paths, all) = self.0.entry(*culprit).or_default();
            let free = AFFECTED_MAX.saturating_sub(paths.len());
            paths.extend(more.iter().take(free).map(|path| join(step, path)));
            *all += count;
        }
    }
}

fn join(step: &[u8], path: &[u8]) -> Vec<u8> {
    match (step, path) {
        ([], path) => path.to_vec(),
        (step, []) => step.to_vec(),
        (step, path) => [step, b"/", path].concat(),
    }
}

/// What is known of a page that was walked.
struct Page {
    height: u8,
    first_name: Option<Vec<u8>>,
    last_name: Option<Vec<u8>>,
    harm: Harm,
}

/// A page that is to be walked, and what its parent says of it.
#[derive(Default)]
struct Expected {
    id: BlobId,
    /// Between the paths of its parent and its own: a folder's name, or nothing.
    step: Vec<u8>,
    /// Height and last name.
    promised: Option<(u8, Vec<u8>)>,
    /// Greatest name before it in its directory.
    after: Option<Vec<u8>>,
}

/// A page that is being walked.
#[derive(Default)]
struct Level {
    page: Expected,
    height: u8,
    first_name: Option<Vec<u8>>,
    last_name: Option<Vec<u8>>,
    below: VecDeque<Expected>,
    harm: Harm,
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
    findings: &'a mut Findings,
    /// Snapshots that this key may not read.
    pub closed: u64,
}

impl<'a, 'r> Trees<'a, 'r> {
    pub fn new(
        packs: &'a Packs<'r>,
        reader: &'a Reader,
        bad: &'a HashSet<FrameNumber>,
        findings: &'a mut Findings,
    ) -> Self {
        let (pages, loose) = (HashMap::new(), None);
        Self { repository: packs.repository, packs, reader, bad, pages, loose, remembered: 0, findings, closed: 0 }
    }

    /// Walks one snapshot.
    pub fn snapshot(&mut self, snapshot: &SnapshotEntry, progress: &dyn Progress) -> Result<()> {
        match snapshot.body(self.repository) {
            Ok(_) => {}
            // of a writer in this domain: only the owner reads it
            Err(repository::Error::Role { .. }) => {
                self.closed += 1;
                return Ok(());
            }
            Err(error) if error.is_unanswered() => return Err(error.into()),
            Err(error) => self.findings.add(snapshot.name(), &error.to_string()),
        }
        let root = snapshot.head.root.id;
        let harm = self.walk(Expected { id: root, ..Expected::default() }, progress)?;
        let name = snapshot.id.short();
        for (culprit, (paths, count)) in harm.0 {
            let paths = paths.iter().map(|path| format!("{name}:/{}", String::from_utf8_lossy(path)));
            match culprit {
                Culprit::Pack(number) => {
                    let pack = self.lookup().pack(number)?;
                    self.findings.affect(Name::Pack(pack.class, pack.id), paths, count);
                }
                Culprit::Loose(id) => {
                    let class = self.packs.listing.get(&id).map_or(vault_format::id::Class::Data, |(class, _)| *class);
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

    /// Everything wrong below a root.
    fn walk(&mut self, root: Expected, progress: &dyn Progress) -> Result<Harm> {
        let mut levels = Vec::new();
        let mut level = Level::above(root);
        loop {
            self.repository.runtime().check_stopped()?;
            if let Some(page) = level.below.pop_front() {
                if let Some(below) = self.enter(page, &mut level)? {
                    levels.push(std::mem::replace(&mut level, below));
                    progress.at(Path::new(&*String::from_utf8_lossy(&path(&levels, &level))));
                }
                continue;
            }
            let Some(parent) = levels.pop() else { return Ok(level.harm) };
            let done = std::mem::replace(&mut level, parent);
            let (step, id) = (done.page.step.clone(), done.page.id);
            self.leave(done);
            if let Some(page) = self.pages.get(&id) {
                level.take_over(&step, page);
            }
        }
    }

    /// Reads a page, unless that was done before; what is wrong with the page itself goes to its parent.
    fn enter(&mut self, page: Expected, parent: &mut Level) -> Result<Option<Level>> {
        if let Some(known) = self.pages.get(&page.id) {
            parent.take_over(&page.step, known);
            if let Err(why) = page.keeps_promises((known.height, &known.first_name, &known.last_name)) {
                let culprits = self.blame(&page.id, why)?.into_iter();
                culprits.for_each(|culprit| parent.harm.add(culprit, page.step.clone(), 1));
            }
            return Ok(None);
        }
        let read = if self.is_good(&page.id, ANY_DEPTH) {
            match walk::page(self.reader, &page.id) {
                Err(error) if self.packs.is_silent(&error) => return Err(error.into()),
                read => read.map_err(|error| reason(&error)),
            }
        } else {
            Err(String::new())
        };
        let mut level = Level { page, ..Level::default() };
        match read {
            Ok(TreePage::Leaf(nodes)) => self.leaf(nodes, &mut level)?,
            Ok(TreePage::Branch { height, children }) => level.branch(height, children),
            Err(why) => {
                let culprits = self.blame(&level.page.id, &why)?.into_iter();
                culprits.for_each(|culprit| level.harm.add(culprit, Vec::new(), 1));
                // nothing is known of it: what its parent says must do
                if let Some((height, last_name)) = &level.page.promised {
                    (level.height, level.last_name) = (*height, Some(last_name.clone()));
                }
                return Ok(Some(level));
            }
        }
        if let Err(why) = level.page.keeps_promises((level.height, &level.first_name, &level.last_name)) {
            let step = &level.page.step;
            let culprits = self.blame(&level.page.id, why)?.into_iter();
            culprits.for_each(|culprit| parent.harm.add(culprit, step.clone(), 1));
        }
        Ok(Some(level))
    }

    /// Remembers a page with all that is wrong below it.
    fn leave(&mut self, level: Level) {
        let Level { page, height, first_name, last_name, mut harm, .. } = level;
        self.remembered += harm.0.values().map(|(paths, _)| paths.len()).sum::<usize>();
        if self.remembered > PATHS_MAX {
            harm.0.values_mut().for_each(|(paths, _)| paths.truncate(1));
        }
        self.pages.insert(page.id, Page { height, first_name, last_name, harm });
    }

    fn leaf(&mut self, nodes: Vec<Node>, level: &mut Level) -> Result<()> {
        level.first_name = nodes.first().map(|node| node.name.clone());
        level.last_name = nodes.last().map(|node| node.name.clone());
        for node in nodes {
            match &node.kind {
                NodeKind::Directory(root) => {
                    level.below.push_back(Expected { id: root.id, step: node.name, ..Expected::default() });
                }
                NodeKind::File { .. } => self.file(&node, &mut level.harm)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, node: &Node, harm: &mut Harm) -> Result<()> {
        let NodeKind::File { content, .. } = &node.kind else { return Ok(()) };
        let (mut lost, mut last_page) = (Vec::new(), None);
        let mut each = |chunk: vault_format::list::ChunkRef| {
            if !self.is_good(&chunk.id, ANY_DEPTH) {
                lost.push(chunk.id);
            }
            Ok(())
        };
        let walked = walk::chunks(self.reader, content, &mut each, &mut |page| last_page = Some(page));
        let mut culprits = BTreeSet::new();
        lost.iter().try_for_each(|id| self.culprits(id, ANY_DEPTH, &mut culprits))?;
        if let (Err(error), Some(page)) = (walked, last_page) {
            if self.packs.is_silent(&error) {
                return Err(error.into());
            }
            culprits.extend(self.blame(&page, &reason(&error))?);
        }
        culprits.into_iter().for_each(|culprit| harm.add(culprit, node.name.clone(), 1));
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

impl Level {
    /// The level above a root.
    fn above(root: Expected) -> Self {
        Self { below: VecDeque::from([root]), ..Self::default() }
    }

    /// Takes over what is known of a page below.
    fn take_over(&mut self, step: &[u8], page: &Page) {
        self.harm.join(step, &page.harm);
        // the pages of one directory continue each other's names
        if step.is_empty() && self.first_name.is_none() {
            self.first_name.clone_from(&page.first_name);
        }
    }

    fn branch(&mut self, height: u8, children: Vec<TreeChild>) {
        self.height = height;
        self.last_name = children.last().map(|child| child.last_name.clone());
        let mut after = self.page.after.clone();
        for TreeChild { last_name, root } in children {
            let promised = Some((height.saturating_sub(1), last_name.clone()));
            let page = Expected { id: root.id, step: Vec::new(), promised, after: after.replace(last_name) };
            self.below.push_back(page);
        }
    }
}

impl Expected {
    fn keeps_promises(&self, found: (u8, &Option<Vec<u8>>, &Option<Vec<u8>>)) -> std::result::Result<(), &'static str> {
        let (height, first_name, last_name) = found;
        let promised = self.promised.as_ref();
        if promised.is_some_and(|(promised, _)| *promised != height) || height > HEIGHT_MAX {
            return Err("a page of a directory has another height than its parent says");
        }
        if promised.is_some_and(|(_, promised)| last_name.as_ref() != Some(promised)) {
            return Err("a page of a directory ends with another name than its parent says");
        }
        if self.after.as_ref().zip(first_name.as_ref()).is_some_and(|(after, first)| after >= first) {
            return Err("the names of a directory are not in order");
        }
        Ok(())
    }
}

/// Where the walk is, for who watches.
fn path(levels: &[Level], last: &Level) -> Vec<u8> {
    let steps = levels.iter().chain([last]).map(|level| level.page.step.as_slice()).filter(|step| !step.is_empty());
    steps.collect::<Vec<_>>().join(&b'/')
}
