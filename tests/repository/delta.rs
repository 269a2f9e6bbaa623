//! Deltas, which only a hand-made pack holds as long as no run writes them: a copy takes them with their bases.

use crate::copied::{by_original, lookup};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use testkit::hooked::Hooked;
use testkit::world::{Hand, assert_clean, init, init_like, noise, open, restore_stream, snapshot_stream};
use vault::backend::Store;
use vault::error::Error;
use vault::progress::Silent;
use vault::repository::Repository;
use vault::{copy, repair, repository};
use vault_format::compress::compress_delta;
use vault_format::directory::{BlobEntry, Descent};
use vault_format::envelope::Wraps;
use vault_format::frame::FrameCodec;
use vault_format::header::{Header, Kind};
use vault_format::id::{BlobId, BlobKind, Class, ObjectId, OriginMark, RunId};
use vault_format::index::{self, Index, PackEntry, Sketches};
use vault_format::list::{ChunkRef, Content};
use vault_format::mark::Mark;
use vault_format::name::Name;
use vault_format::object::Author;
use vault_format::pack::{NewFrame, PackBuilder};
use vault_format::snapshot::{self, Body, Head, NewSnapshot, Statistics};
use vault_format::tree::{Metadata, Node, NodeKind, TreePage, TreeRoot};

const SEED: u64 = 64;

/// A frame of one blob: codec, encoded bytes, blob, bases, depth.
type Frame = (FrameCodec, Vec<u8>, BlobEntry, Vec<BlobId>, u8);

/// A pack, put and indexed by hand.
struct HandMade<'r> {
    repository: &'r Repository,
    class: Class,
    frames: Vec<Frame>,
}

impl HandMade<'_> {
    fn put(self) -> (PackEntry, Wraps) {
        let keys = self.repository.keys();
        let kind = if self.class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
        let header = Header { kind, repository: self.repository.id(), domain: keys.domain(), writer: keys.writer() };
        let (secret, wraps) = keys.new_run(keys.domain(), true, &header, self.repository.runtime()).unwrap();
        let salt = self.repository.runtime().random();
        let mut pack = PackBuilder::new(header, salt, secret.pack_key(self.class, &salt)).unwrap();
        for (codec, bytes, blob, bases, depth) in self.frames {
            let descent = Descent { depth, generation: 0 };
            pack.push(NewFrame { codec, encoded: &bytes, blobs: &[blob], bases, descent }).unwrap();
        }
        let finished = pack.finish(&keys.own_book(), &wraps, keys.signer()).unwrap();
        let id = ObjectId::of(&finished.bytes);
        self.repository.backend().put(&Name::Pack(self.class, id).to_string(), &finished.bytes).unwrap();
        let size = finished.bytes.len() as u64;
        let (salt, directory) = (finished.salt, finished.directory);
        let class = self.class;
        (PackEntry { id, class, size, writer: keys.writer(), salt, wraps: 0, directory }, wraps)
    }
}

/// A stream in two versions, the second stored as a delta of the first, in one pack or apart; gives both snapshots.
fn with_delta(repository: &Repository, base: &[u8], next: &[u8], is_apart: bool) -> [ObjectId; 2] {
    let keys = repository.keys();
    let entry = |kind: BlobKind, bytes: &[u8]| BlobEntry {
        id: keys.id_key().blob_id(kind, bytes),
        kind,
        length: u32::try_from(bytes.len()).unwrap(),
    };
    let chunks = [base, next].map(|bytes| entry(BlobKind::Chunk, bytes));
    let delta = compress_delta(next, base, 3).unwrap().unwrap();
    let frames = [
        (FrameCodec::Raw, base.to_vec(), chunks[0], Vec::new(), 0),
        (FrameCodec::Delta, delta, chunks[1], vec![chunks[0].id], 1),
    ];
    let data = if is_apart { frames.map(|frame| vec![frame]).to_vec() } else { vec![frames.to_vec()] };
    let mut packs: Vec<(Class, Vec<Frame>)> = data.into_iter().map(|frames| (Class::Data, frames)).collect();
    let pages = chunks.map(|chunk| {
        let content = Content::Inline(vec![ChunkRef { id: chunk.id, length: chunk.length }]);
        let kind = NodeKind::File { size: u64::from(chunk.length), content, holes: Vec::new() };
        TreePage::Leaf(vec![Node { name: b"dump".to_vec(), kind, metadata: Metadata::default() }]).encode().unwrap()
    });
    let trees = pages.each_ref().map(|page| entry(BlobKind::Tree, page));
    let frames = trees.into_iter().zip(&pages).map(|(tree, page)| (FrameCodec::Raw, page.clone(), tree, Vec::new(), 0));
    packs.push((Class::Metadata, frames.collect()));
    let label = keys.own_book().source_label("stream");
    let book = &keys.own_book();
    let author = Author { repository: repository.id(), domain: keys.domain(), signer: keys.signer(), book };
    for (class, frames) in packs {
        let (entry, wraps) = HandMade { repository, class, frames }.put();
        let index = Index { packs: vec![entry], wraps: vec![wraps], ..Index::default() };
        let salt = repository.runtime().random();
        let stored = index::seal(&author, &salt, &index, &Sketches::default()).unwrap();
        let name = Name::Index(keys.domain(), label, ObjectId::of(&stored));
        repository.backend().put(&name.to_string(), &stored).unwrap();
    }
    [0, 1].map(|number| {
        let (tree, bytes) = (trees[number].id, u64::from(chunks[number].length));
        let head = Head {
            source: "stream".into(),
            kind: String::new(),
            set: None,
            time: number as i64,
            run: RunId::default(),
            root: TreeRoot { id: tree, bytes, count: 1 },
            parent: None,
            seen: Vec::new(),
            statistics: Statistics::default(),
            profile: 1,
            expires: None,
            original: None,
            place: OriginMark::default(),
            host: OriginMark::default(),
            terms: OriginMark::default(),
            left_of: None,
            turn: 0,
            taken_by: None,
            orders: Vec::new(),
        };
        let header =
            Header { kind: Kind::Snapshot, repository: repository.id(), domain: keys.domain(), writer: keys.writer() };
        let (secret, wraps) = keys.new_run(keys.domain(), true, &header, repository.runtime()).unwrap();
        let book = keys.own_book();
        let author = Author { repository: repository.id(), domain: keys.domain(), signer: keys.signer(), book: &book };
        let salt = repository.runtime().random();
        let new = NewSnapshot { secret: &secret, wraps: &wraps, head: &head, body: &Body::default() };
        let stored = snapshot::seal(&author, &salt, &new).unwrap();
        let id = ObjectId::of(&stored);
        repository.backend().put(&Name::Snapshot(keys.domain(), label, id).to_string(), &stored).unwrap();
        id
    })
}

/// An index that is lost comes back with the deltas, whose bases are opened for that too.
#[test]
fn a_lost_index_takes_no_delta_along() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(SEED, 0));
    let base = noise(1, 40_000);
    let mut next = base.clone();
    next[20_000] ^= 1;
    let ids = with_delta(&owner, &base, &next, false);
    let lost: Vec<String> = store.objects().into_keys().filter(|name| name.starts_with("index/")).collect();
    assert!(!lost.is_empty() && lost.iter().all(|name| store.remove(name)));
    let report = repair::repair(&owner, None, &repair::Options::default(), &Silent).unwrap();
    assert_eq!(report.indexed_packs, 2, "{report:?}");
    assert!(restore_stream(&owner, ids[0]).unwrap() == base && restore_stream(&owner, ids[1]).unwrap() == next);
}

#[test]
fn a_delta_moves_with_its_base_and_is_stored_whole_without() {
    let base = noise(1, 200_000);
    let mut next = base.clone();
    next[1_000] ^= 1;
    let hand = Hand::new();
    let first = init(hand.store(), &hand.runtime(SEED, 0));
    let [old, new] = with_delta(&first, &base, &next, false);
    assert!(restore_stream(&first, new).unwrap() == next);
    for (chosen, depths) in [(vec![old, new], vec![0, 1]), (vec![new], vec![0])] {
        let second = init_like(hand.store(), &hand.runtime(SEED + 1, 0), &first);
        let options = copy::Options { snapshots: chosen, ..copy::Options::default() };
        let report = copy::copy(&first, &second, &options, &Silent).unwrap();
        assert!(report.failed.is_empty(), "{report:?}");
        let copies = by_original(&second);
        assert!(restore_stream(&second, copies[&new].id).unwrap() == next);
        assert_clean(&second, true, "with a delta");
        let index = lookup(&second);
        let data = index.frames().filter(|(_, frame)| frame.plain == 200_000);
        let mut found: Vec<u8> = data.map(|(_, frame)| frame.depth).collect();
        found.sort_unstable();
        assert_eq!(found, depths);
    }
}

/// A run that relies on a delta relies on the pack of its base, which may be condemned alone.
#[test]
fn the_packs_of_bases_are_relied_on() {
    let base = noise(1, 1_000);
    let mut next = base.clone();
    next[500] ^= 1;
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(SEED, 0));
    with_delta(&owner, &base, &next, true);
    let id = owner.keys().id_key().blob_id(BlobKind::Chunk, &base);
    let index = lookup(&owner);
    let pack = index.pack(index.known_places(&id).next().unwrap().pack).unwrap().id;
    let grace = 24 * 3600 * 1_000_000_000;
    let mark = Mark::Condemn { packs: vec![(Class::Data, pack)], snapshots: Vec::new(), grace };
    let sealed = mark.seal(owner.id(), owner.keys().signer(), &[7; 32]).unwrap();
    let (looks, inner, clock) = (AtomicU64::new(0), store.clone(), hand.clone());
    let hooked = Hooked::new(store, move |_, what, listed| {
        if (what, listed) == ("list", "marks/") && looks.fetch_add(1, Ordering::SeqCst) == 1 {
            inner.put(&Name::Mark(ObjectId::of(&sealed)).to_string(), &sealed).unwrap();
            clock.advance(Duration::from_hours(13));
        }
    });
    let repository = open(hooked, &hand.runtime(SEED + 2, 0)).unwrap();
    let failure = snapshot_stream(&repository, &next).unwrap_err();
    assert!(matches!(failure, Error::Repository(repository::Error::Condemned(_))), "{failure}");
}
