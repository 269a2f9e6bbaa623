//! A restore that deletes, against an oracle: random folders are taken with random rules, named paths and gaps, change
//! in random ways, and are restored in place. What stays and what goes is computed anew here, path by path.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use testkit::world::{Hand, init, tick};
use vault::progress::Silent;
use vault::repository::lookup::BlobLookup;
use vault::repository::objects::index_objects::{IndexObjects, list_packs};
use vault::repository::objects::marks::Marks;
use vault::repository::objects::trust::Trust;
use vault::repository::tree::nodes::Nodes;
use vault::repository::write::writer::Writer;
use vault::repository::{Address, Reader, Repository};
use vault::target::Overwrite;
use vault::{backup, list, restore, source, target};
use vault_format::id::ObjectId;
use vault_format::snapshot::{Body, Gaps, LeftOut};
use vault_format::tree::{NodeKind, TreeRoot};

const LIMIT: u64 = 3000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Folder,
    Socket,
    File(u64),
}

type Tree = BTreeMap<String, Kind>;

fn pick<'a, T>(random: &mut ChaCha20Rng, list: &'a [T]) -> &'a T {
    &list[random.next_u32() as usize % list.len()]
}

fn chance(random: &mut ChaCha20Rng, percent: u32) -> bool {
    random.next_u32() % 100 < percent
}

/// Names of which rules speak, among others.
const NAMES: &[&str] = &["a", "b", "c", "d.skip", "cache", "keep.skip", "UPPER.Tmp", "e"];

fn grow(random: &mut ChaCha20Rng, folder: &Path, depth: u32) {
    for name in NAMES {
        let path = folder.join(name);
        if !chance(random, 55) || path.symlink_metadata().is_ok() {
            continue;
        }
        match random.next_u32() % 10 {
            0..4 if depth > 0 => {
                fs::create_dir(&path).unwrap();
                grow(random, &path, depth - 1);
            }
            4 => fs::write(&path, vec![1; LIMIT as usize + 1]).unwrap(),
            _ => fs::write(&path, name).unwrap(),
        }
    }
    if chance(random, 8) {
        fs::write(folder.join(".nobackup"), "").unwrap();
    }
    if chance(random, 8) {
        fs::write(folder.join("CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n").unwrap();
    }
}

fn look(root: &Path) -> Tree {
    let (mut tree, mut folders) = (Tree::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let kind = if kind.is_dir() {
                folders.push(path);
                Kind::Folder
            } else if std::os::unix::fs::FileTypeExt::is_socket(&kind) {
                Kind::Socket
            } else {
                Kind::File(entry.metadata().unwrap().len())
            };
            tree.insert(name, kind);
        }
    }
    tree
}

/// The paths of a snapshot.
fn held(reader: &Reader, root: &TreeRoot, above: &str, out: &mut BTreeSet<String>) {
    for node in Nodes::new(reader, root).map(Result::unwrap) {
        let path = format!("{above}{}", String::from_utf8(node.name.clone()).unwrap());
        if let NodeKind::Directory(root) = &node.kind {
            held(reader, root, &format!("{path}/"), out);
        }
        out.insert(path);
    }
}

/// A path and all above it.
fn lineage(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(above, _)| above))
}

/// What is said of one snapshot, told independently of how the program reads it.
struct Oracle {
    named: Vec<String>,
    options: source::Options,
    gaps: Gaps,
}

impl Oracle {
    fn is_below_named(&self, path: &str) -> bool {
        self.named.iter().any(|named| named.is_empty() || path.starts_with(&format!("{named}/")))
    }

    fn is_excluded(&self, path: &str, tree: &Tree) -> bool {
        let name = path.rsplit('/').next().unwrap();
        let is_folder = tree[path] == Kind::Folder;
        let keeps = self.options.rules.patterns.iter().any(|pattern| pattern == b"!keep.skip");
        self.options.rules.patterns.iter().any(|pattern| match pattern.as_slice() {
            b"*.skip" => name.ends_with(".skip") && !(keeps && name == "keep.skip"),
            b"cache/" => name == "cache" && is_folder,
            b"/a/b" => path == "a/b",
            _ => false,
        })
    }

    /// True if the rules hold the path back by itself, whatever is above or below it.
    fn holds(&self, path: &str, tree: &Tree) -> bool {
        let has = |list: &[Vec<u8>]| list.iter().any(|gap| gap == path.as_bytes());
        let is_named = self.named.iter().any(|named| named == path);
        let marked = |marker: &str| tree.contains_key(&format!("{path}/{marker}"));
        let is_marked = !self.options.rules.markers.is_empty() && marked(".nobackup") && !is_named;
        has(&self.gaps.unread)
            || has(&self.gaps.not_entered)
            || self.is_excluded(path, tree) && !is_named
            || is_marked
            || matches!(tree[path], Kind::File(size) if self.options.rules.larger_than.is_some_and(|max| size > max))
            || tree[path] == Kind::Socket
    }

    /// What is there after a restore in place.
    fn expected(&self, held: &BTreeSet<String>, before: &Tree) -> BTreeSet<String> {
        let mut expected = held.clone();
        for path in before.keys() {
            let held_back = lineage(path).any(|path| {
                self.holds(path, before) && !(held.contains(path) && matches!(before[path], Kind::File(_)))
            });
            if !self.is_below_named(path) || held_back {
                expected.extend(lineage(path).map(str::to_owned));
            }
        }
        expected
    }
}

/// The same snapshot with other gaps.
fn with_gaps(repository: &Repository, id: ObjectId, gaps: Gaps) -> ObjectId {
    let catalog = list::snapshots(repository).unwrap();
    let entry = catalog.snapshots.by_id(&id.to_string()).unwrap();
    let body = Body { gaps, ..entry.body(repository).unwrap() };
    let trust = Trust::load(repository).unwrap();
    let domain = repository.keys().domain();
    let objects = IndexObjects::load(repository, &trust, Some(domain)).unwrap();
    let (packs, _) = list_packs(repository).unwrap();
    let marks = Marks::load(repository).unwrap();
    let lookup = BlobLookup::new(repository, objects, Some(&packs), &marks).unwrap();
    let writer = Writer::new(repository, &lookup, domain, &entry.head.source).unwrap();
    let mut head = entry.head.clone();
    head.time += 1;
    head.statistics.errors = body.gaps.unread.len() as u64;
    writer.flush().unwrap().commit(&head, &body).unwrap().id().unwrap()
}

fn restore_in_place(repository: &Repository, id: ObjectId, root: &Path, dry_run: bool) -> restore::Report {
    let catalog = list::snapshots(repository).unwrap();
    let snapshot = catalog.snapshots.by_id(&id.to_string()).unwrap();
    let target = target::Options { overwrite: Overwrite::IfChanged, delete_extra: true, dry_run, ..Default::default() };
    let options = restore::Options { target, ..restore::Options::default() };
    restore::restore(repository, &Address::new(&catalog, snapshot, b""), root, &options, &Silent).unwrap()
}

fn rules(random: &mut ChaCha20Rng) -> source::Options {
    let patterns = [vec!["*.skip"], vec!["*.skip", "!keep.skip"], vec!["cache/"], vec!["/a/b", "cache/"], vec![]];
    let rules = LeftOut {
        patterns: pick(random, &patterns).iter().map(|pattern| pattern.as_bytes().to_vec()).collect(),
        markers: if chance(random, 50) { vec![".nobackup".into()] } else { Vec::new() },
        larger_than: chance(random, 50).then_some(LIMIT),
        ..LeftOut::default()
    };
    source::Options { rules, ..source::Options::default() }
}

/// Files and folders vanish, and others come.
fn change(random: &mut ChaCha20Rng, root: &Path, sockets: &mut Vec<std::os::unix::net::UnixListener>) {
    for (path, kind) in look(root) {
        let whole = root.join(&path);
        if !chance(random, 30) || whole.symlink_metadata().is_err() {
            continue;
        }
        match kind {
            Kind::Folder if chance(random, 40) => fs::remove_dir_all(&whole).unwrap(),
            Kind::Folder => grow(random, &whole, 2),
            _ => fs::remove_file(&whole).unwrap(),
        }
        if kind == Kind::Folder && whole.exists() && chance(random, 10) && whole.as_os_str().len() < 90 {
            sockets.extend(std::os::unix::net::UnixListener::bind(whole.join("socket")).ok());
        }
    }
    grow(random, root, 2);
}

fn one_world(seed: u64) {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(seed, 0));
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("r");
    fs::create_dir(&root).unwrap();
    grow(&mut random, &root, 3);
    for name in ["a", "b"] {
        fs::create_dir_all(root.join("two").join(name)).unwrap();
        fs::create_dir_all(root.join("one").join(name)).unwrap();
        grow(&mut random, &root.join("two").join(name), 1);
        fs::write(root.join("one").join(name).join("single"), "1").unwrap();
    }
    let named: Vec<&str> = match random.next_u32() % 3 {
        0 => vec![""],
        1 => vec!["two/a", "one/b"],
        _ => vec!["two", "one/a/single"],
    };
    let options = rules(&mut random);
    let paths = named.iter().map(|name| if name.is_empty() { root.clone() } else { root.join(name) }).collect();
    tick(&repository);
    let run = backup::Options { name: "r".into(), ..backup::Options::default() };
    let taken = backup::backup(&repository, backup::Source::Paths(paths, options.clone()), &run, &Silent).unwrap();
    let mut sockets = Vec::new();
    change(&mut random, &root, &mut sockets);
    let before = look(&root);
    let catalog = list::snapshots(&repository).unwrap();
    let snapshot = catalog.snapshots.by_id(&taken.snapshot.unwrap().to_string()).unwrap();
    let reader = Address::new(&catalog, snapshot, b"").reader().unwrap();
    let mut inside = BTreeSet::new();
    held(&reader, &taken.head.root, "", &mut inside);
    // what could not be read was there, and is no part of the snapshot
    let gaps = |random: &mut ChaCha20Rng| -> Vec<Vec<u8>> {
        let all = before.keys().filter(|path| !inside.contains(*path));
        all.filter(|_| chance(random, 10)).map(|path| path.clone().into_bytes()).collect()
    };
    let gaps = Gaps { unread: gaps(&mut random), not_entered: gaps(&mut random), more: false };
    let id = with_gaps(&repository, taken.snapshot.unwrap(), gaps.clone());
    let oracle = Oracle { named: named.iter().map(ToString::to_string).collect(), options, gaps };
    let expected = oracle.expected(&inside, &before);
    let planned = restore_in_place(&repository, id, &root, true);
    assert_eq!(look(&root), before, "seed {seed}: a dry run changes nothing");
    let report = restore_in_place(&repository, id, &root, false);
    // a folder where the snapshot has a file stays if something in it must
    let blocked = |path: &String| report.left.iter().any(|left| left.path == root.join(path));
    let after: BTreeSet<String> = look(&root).into_keys().collect();
    let lost: Vec<_> = expected.difference(&after).filter(|path| !blocked(path)).collect();
    let extra: Vec<_> =
        after.difference(&expected).filter(|path| !lineage(path).any(|path| blocked(&path.to_owned()))).collect();
    assert!(lost.is_empty() && extra.is_empty(), "seed {seed}: lost {lost:?}, still there {extra:?}, {report:?}");
    assert!(report.failed.is_empty(), "seed {seed}: {report:?}");
    assert_eq!(planned.changes.deleted.count, report.changes.deleted.count, "seed {seed}");
    let gone = before.keys().filter(|path| !after.contains(*path)).count() as u64;
    assert!(report.changes.deleted.count >= gone, "seed {seed}: {gone} went, {report:?}");
    again(&repository, id, &root);
}

/// A second restore finds nothing to do.
fn again(repository: &Repository, id: ObjectId, root: &Path) {
    let report = restore_in_place(repository, id, root, false);
    assert_eq!((report.files, report.changes.deleted.count), (0, 0), "{report:?}");
}

#[test]
fn only_what_the_snapshot_was_taken_of_is_deleted() {
    let seeds = std::env::var("VAULT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seeds.map_or(0..60, |seed| seed..seed + 1) {
        one_world(seed);
    }
}
