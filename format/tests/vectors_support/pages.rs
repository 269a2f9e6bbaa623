//! Vectors of plain values: pages, directories, frames, names, recovery words.

use super::make::{Maker, fields, raw};
use super::run::hex;
use crate::support::tree::{metadata, with_xattr};
use crate::support::{REPOSITORY, noise, text};
use vault_format::compress::{compress, compress_delta};
use vault_format::directory::{BlobEntry, Directory, FrameEntry};
use vault_format::frame::{FrameCodec, FrameSeal};
use vault_format::id::{BlobId, BlobKind, Class};
use vault_format::key::Key;
use vault_format::list::{ChunkRef, Content, ListPage, ListRoot};
use vault_format::recovery;
use vault_format::tree::{Extent, Node, NodeKind, TreeChild, TreePage, TreeRoot};

pub fn all(maker: &mut Maker) {
    trees(maker);
    lists(maker);
    directories(maker);
    frames(maker);
    deltas(maker);
    names(maker);
    recoveries(maker);
}

fn file(name: &[u8]) -> Node {
    let content = Content::Inline(vec![ChunkRef { id: BlobId([1; 32]), length: 5 }]);
    let holes = vec![Extent { offset: 2, length: 7 }];
    Node { name: name.to_vec(), kind: NodeKind::File { size: 12, content, holes }, metadata: with_xattr(metadata(1)) }
}

fn plain(maker: &mut Maker, area: &str, name: &str, expect: &str, bytes: Vec<u8>) {
    maker.add(&format!("{area}/{name}"), expect, fields(area, &[]), bytes);
}

/// Replaces the only place of `from` by bytes of the same length.
pub fn edit(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(places.len() == 1 && from.len() == to.len(), "{places:?}");
    let mut out = bytes.to_vec();
    out[places[0]..places[0] + to.len()].copy_from_slice(to);
    out
}

fn trees(maker: &mut Maker) {
    let root = TreeRoot { id: BlobId([2; 32]), bytes: 3, count: 4 };
    let node = |name: &[u8], kind| Node { name: name.to_vec(), kind, metadata: metadata(2) };
    let nodes = vec![
        node(b"qdev", NodeKind::CharDevice(1, 3)),
        node(b"qdir", NodeKind::Directory(root)),
        node(b"qfifo", NodeKind::Fifo),
        file(b"qfile"),
        node(b"qlink", NodeKind::Symlink(b"target".to_vec())),
        node(b"qz\xFF", NodeKind::BlockDevice(8, 0)),
    ];
    let good = TreePage::Leaf(nodes).encode().unwrap();
    let child = |name: &[u8]| TreeChild { last_name: name.to_vec(), root };
    let children = vec![child(b"qmiddle"), child(b"qtail")];
    let branch = TreePage::Branch { height: 1, children }.encode().unwrap();
    plain(maker, "tree", "ok-leaf", "ok", good.clone());
    plain(maker, "tree", "ok-branch", "ok", branch.clone());
    plain(maker, "tree", "ok-empty", "ok", TreePage::Leaf(Vec::new()).encode().unwrap());
    plain(maker, "tree", "truncated", "truncated", good[..good.len() - 1].to_vec());
    plain(maker, "tree", "extended", "trailing", [good.as_slice(), &[0]].concat());
    plain(maker, "tree", "empty-bytes", "truncated", Vec::new());
    let single = TreePage::Leaf(vec![node(b"qq", NodeKind::Fifo)]).encode().unwrap();
    for (name, to) in [("dot-dot", b".."), ("slash", b"q/"), ("nul", b"q\0")] {
        plain(maker, "tree", &format!("name-{name}"), "invalid", edit(&single, b"qq", to));
    }
    let one = TreePage::Leaf(vec![node(b"w", NodeKind::Fifo)]).encode().unwrap();
    plain(maker, "tree", "name-dot", "invalid", edit(&one, b"w", b"."));
    let mut empty = one.clone();
    empty[9] = 0;
    empty.remove(17);
    plain(maker, "tree", "name-empty", "invalid", empty);
    plain(maker, "tree", "names-out-of-order", "invalid", edit(&good, b"qdev", b"zdev"));
    let two = TreePage::Leaf(vec![node(b"qa", NodeKind::Fifo), node(b"qb", NodeKind::Fifo)]).encode().unwrap();
    plain(maker, "tree", "names-twice", "invalid", edit(&two, b"qb", b"qa"));
    plain(maker, "tree", "target-with-nul", "invalid", edit(&good, b"target", b"targe\0"));
    plain(maker, "tree", "unknown-type", "invalid", edit(&good, &[4, 1, 3, 0, 2, 5], &[4, 1, 3, 0, 2, 6]));
    plain(maker, "tree", "uneven-columns", "invalid", edit(&good, &[4, 1, 3, 0, 2, 5], &[4, 1, 3, 3, 2, 5]));
    let hole = |offset: u64, length: u64| [offset.to_le_bytes(), length.to_le_bytes()].concat();
    plain(maker, "tree", "hole-outside", "invalid", edit(&good, &hole(2, 7), &hole(6, 7)));
    plain(maker, "tree", "hole-overflow", "invalid", edit(&good, &hole(2, 7), &hole(2, u64::MAX)));
    plain(maker, "tree", "hole-empty", "invalid", edit(&good, &hole(2, 7), &hole(2, 0)));
    plain(maker, "tree", "size-without-content", "invalid", edit(&good, &hole(2, 7), &hole(2, 6)));
    let length = |length: u32| [&[1u8; 4][..], &length.to_le_bytes()].concat();
    plain(maker, "tree", "chunk-of-0", "limit", edit(&good, &length(5), &length(0)));
    plain(maker, "tree", "chunk-too-large", "limit", edit(&good, &length(5), &length(2 << 20)));
    let note = b"user.note";
    plain(maker, "tree", "attribute-with-nul", "invalid", edit(&good, note, b"user\0note"));
    let mut height = branch.clone();
    height[0] = 9;
    plain(maker, "tree", "height-9", "limit", height);
    let mut height = branch.clone();
    height[0] = 0;
    plain(maker, "tree", "children-in-a-leaf", "invalid", height);
    let mut height = good.clone();
    height[0] = 1;
    plain(maker, "tree", "nodes-in-a-branch", "invalid", height);
    plain(maker, "tree", "branch-out-of-order", "invalid", edit(&branch, b"qtail", b"atail"));
    plain(maker, "tree", "branch-name-slash", "invalid", edit(&branch, b"qtail", b"qt/il"));
    let mut lying = good.clone();
    lying[1..9].fill(0xFF);
    plain(maker, "tree", "lying-count", "limit", lying);
    let mut many = good.clone();
    many[1..9].copy_from_slice(&(1u64 << 40).to_le_bytes());
    plain(maker, "tree", "count-bomb", "limit", many);
    plain(maker, "tree", "too-many-bytes", "limit", oversize());
}

/// A leaf that claims more names than memory may hold.
fn oversize() -> Vec<u8> {
    [&[0u8][..], &(1u64 << 22).to_le_bytes()].concat()
}

fn lists(maker: &mut Maker) {
    let chunk = |length| ChunkRef { id: BlobId([1; 32]), length };
    let child = |bytes| ListRoot { id: BlobId([2; 32]), bytes, count: 4 };
    let leaf = ListPage::Leaf(vec![chunk(1), chunk(1 << 20)]).encode().unwrap();
    let branch = |height, children| ListPage::Branch { height, children };
    plain(maker, "list", "ok-leaf", "ok", leaf.clone());
    plain(maker, "list", "ok-branch", "ok", branch(8, vec![child(1), child(2)]).encode().unwrap());
    plain(maker, "list", "truncated", "truncated", leaf[..leaf.len() - 1].to_vec());
    plain(maker, "list", "extended", "trailing", [leaf.as_slice(), &[0]].concat());
    plain(maker, "list", "empty", "limit", raw(&ListPage::Leaf(Vec::new())));
    plain(maker, "list", "chunk-of-0", "limit", raw(&ListPage::Leaf(vec![chunk(0)])));
    plain(maker, "list", "chunk-too-large", "limit", raw(&ListPage::Leaf(vec![chunk((1 << 20) + 1)])));
    plain(maker, "list", "height-0", "limit", raw(&branch(0, vec![child(1), child(2)])));
    plain(maker, "list", "height-9", "limit", raw(&branch(9, vec![child(1), child(2)])));
    plain(maker, "list", "one-child", "limit", raw(&branch(1, vec![child(1)])));
    plain(maker, "list", "empty-child", "invalid", raw(&branch(1, vec![child(1), child(0)])));
    plain(maker, "list", "sum-overflow", "limit", raw(&branch(1, vec![child(u64::MAX), child(1)])));
    plain(maker, "list", "lying-count", "limit", [&[0u8; 4][..], &[0xFF; 8]].concat());
    plain(maker, "list", "unknown-choice", "invalid", vec![2, 0, 0, 0]);
}

fn directories(maker: &mut Maker) {
    let blob = |id: u8, length| BlobEntry { id: BlobId([id; 32]), kind: BlobKind::Chunk, length };
    let whole = |ordinal, blobs| FrameEntry {
        ordinal,
        stored: 100,
        codec: FrameCodec::Zstd,
        depth: 0,
        generation: 0,
        bases: Vec::new(),
        blobs,
    };
    let delta = |depth, bases: &[u8]| FrameEntry {
        codec: FrameCodec::Delta,
        depth,
        bases: bases.iter().map(|id| BlobId([*id; 32])).collect(),
        ..whole(1, 1)
    };
    let of = |frames: Vec<FrameEntry>, blobs: Vec<BlobEntry>| Directory { frames, blobs };
    let blobs = || vec![blob(1, 10), blob(2, 20)];
    let mixed = BlobEntry { kind: BlobKind::Tree, ..blob(2, 20) };
    let good = of(vec![whole(5, 1), delta(8, &[3, 4, 5, 6])], blobs());
    let bytes = raw(&good);
    plain(maker, "directory", "ok", "ok", bytes.clone());
    plain(maker, "directory", "truncated", "truncated", bytes[..bytes.len() - 1].to_vec());
    plain(maker, "directory", "extended", "trailing", [bytes.as_slice(), &[0]].concat());
    plain(maker, "directory", "lying-count", "limit", vec![0xFF; 8]);
    let huge = FrameEntry { stored: u32::MAX, ..whole(0, 2) };
    for (name, expect, directory) in [
        ("no-frame", "limit", of(Vec::new(), Vec::new())),
        ("ordinal-twice", "invalid", of(vec![whole(1, 1), whole(1, 1)], blobs())),
        ("blob-without-frame", "invalid", of(vec![whole(0, 1)], blobs())),
        ("frame-without-blob", "limit", of(vec![whole(0, 2), whole(1, 0)], blobs())),
        ("count-past-the-blobs", "invalid", of(vec![whole(0, 3)], blobs())),
        ("kinds-mixed", "invalid", of(vec![whole(0, 2)], vec![blob(1, 10), mixed])),
        ("blob-of-0-bytes", "limit", of(vec![whole(0, 1)], vec![blob(1, 0)])),
        ("frame-too-large", "limit", of(vec![whole(0, 1)], vec![blob(1, u32::MAX)])),
        ("pack-too-large", "limit", of(vec![huge], blobs())),
        ("delta-depth-9", "invalid", of(vec![delta(9, &[3])], vec![blob(1, 10)])),
        ("delta-depth-0", "invalid", of(vec![delta(0, &[3])], vec![blob(1, 10)])),
        ("delta-without-base", "invalid", of(vec![delta(1, &[])], vec![blob(1, 10)])),
        ("delta-of-5-bases", "invalid", of(vec![delta(1, &[3, 4, 5, 6, 7])], vec![blob(1, 10)])),
        ("delta-of-itself", "invalid", of(vec![delta(1, &[1])], vec![blob(1, 10)])),
        ("delta-of-two-blobs", "invalid", of(vec![FrameEntry { blobs: 2, ..delta(1, &[3]) }], blobs())),
        ("whole-with-depth", "invalid", of(vec![FrameEntry { depth: 1, ..whole(0, 2) }], blobs())),
    ] {
        plain(maker, "directory", name, expect, raw(&directory));
    }
}

fn frames(maker: &mut Maker) {
    let key = Key::new([0x77; 32]);
    let base = noise(5, 300);
    let plains = [
        ("raw", noise(6, 200), FrameCodec::Raw),
        ("zstd", text(6, 20), FrameCodec::Zstd),
        ("delta", base[9..].to_vec(), FrameCodec::Delta),
    ];
    for (word, plain, codec) in plains {
        let encoded = match codec {
            FrameCodec::Raw => plain.clone(),
            FrameCodec::Zstd => compress(&plain, 3).unwrap().unwrap(),
            FrameCodec::Delta => compress_delta(&plain, &base, 3).unwrap().unwrap(),
        };
        let sealing = |plain: usize| FrameSeal {
            repository: REPOSITORY,
            class: Class::Data,
            ordinal: 3,
            codec,
            plain: plain as u32,
        };
        let with = |length: usize, changes: &[(&str, &str)]| {
            let mut out = fields("frame", &[("key", key.expose()), ("repository", &REPOSITORY.0), ("prefix", &base)]);
            out.insert("blake3".to_owned(), hex(blake3::hash(&plain).as_bytes()));
            for (name, value) in [("class", "d"), ("ordinal", "3"), ("codec", word)].iter().chain(changes) {
                out.insert((*name).to_owned(), (*value).to_owned());
            }
            out.insert("plain".to_owned(), length.to_string());
            out
        };
        let area = format!("frame-{word}");
        let length = plain.len();
        let bytes = sealing(length).seal(&key, &encoded).unwrap();
        maker.add(&format!("{area}/ok"), "ok", with(length, &[]), bytes.clone());
        for (name, changes) in [("swapped-ordinal", ("ordinal", "4")), ("another-class", ("class", "m"))] {
            maker.add(&format!("{area}/{name}"), "unauthentic", with(length, &[changes]), bytes.clone());
        }
        maker.add(&format!("{area}/lying-length"), "unauthentic", with(length + 1, &[]), bytes.clone());
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        maker.add(&format!("{area}/flipped-tag"), "unauthentic", with(length, &[]), flipped);
        maker.add(&format!("{area}/truncated"), "unauthentic", with(length, &[]), bytes[..bytes.len() - 1].to_vec());
        maker.add(&format!("{area}/shorter-than-a-tag"), "truncated", with(length, &[]), bytes[..15].to_vec());
        let bomb = sealing(length - 1).seal(&key, &encoded).unwrap();
        maker.add(&format!("{area}/more-than-promised"), "frame", with(length - 1, &[]), bomb);
        let less = sealing(length + 1).seal(&key, &encoded).unwrap();
        maker.add(&format!("{area}/less-than-promised"), "frame", with(length + 1, &[]), less);
        let huge = sealing(5 << 20).seal(&key, &encoded).unwrap();
        maker.add(&format!("{area}/above-the-limit"), "limit", with(5 << 20, &[]), huge);
        if codec == FrameCodec::Zstd {
            let bomb = compress(&vec![0; 3 << 20], 3).unwrap().unwrap();
            let sealed = sealing(10).seal(&key, &bomb).unwrap();
            maker.add(&format!("{area}/bomb"), "frame", with(10, &[]), sealed);
            let twice = sealing(length).seal(&key, &[encoded.clone(), encoded].concat()).unwrap();
            maker.add(&format!("{area}/two-frames"), "frame", with(length, &[]), twice);
            let skippable = [0x50, 0x2A, 0x4D, 0x18, 1, 0, 0, 0, 0];
            let skipped = sealing(1).seal(&key, &skippable).unwrap();
            maker.add(&format!("{area}/skippable"), "frame", with(1, &[]), skipped);
        }
    }
}

fn deltas(maker: &mut Maker) {
    let base = noise(7, 400);
    let plain: Vec<u8> = base.iter().rev().take(3).chain(&base[20..]).copied().collect();
    let bytes = compress_delta(&plain, &base, 3).unwrap().unwrap();
    let with = |prefix: &[u8], length: usize| {
        let mut out = fields("delta", &[("prefix", prefix)]);
        out.insert("plain".to_owned(), length.to_string());
        out
    };
    let length = plain.len();
    maker.add("delta/ok", "ok", with(&base, length), bytes.clone());
    maker.add("delta/truncated", "frame", with(&base, length), bytes[..bytes.len() - 1].to_vec());
    maker.add("delta/extended", "frame", with(&base, length), [bytes.as_slice(), &[0]].concat());
    maker.add("delta/without-its-base", "frame", with(&[], length), bytes.clone());
    maker.add("delta/base-cut-short", "frame", with(&base[390..], length), bytes.clone());
    maker.add("delta/lying-length", "frame", with(&base, length - 1), bytes);
}

fn names(maker: &mut Maker) {
    let id = "ab".repeat(32);
    let domain = "cd".repeat(16);
    let label = "ef".repeat(8);
    let good = [
        ("config", "config".to_owned()),
        ("config-copy", "config.copy".to_owned()),
        ("slot", format!("keys/{id}")),
        ("pack-d", format!("packs/d/ab/{id}")),
        ("pack-m", format!("packs/m/ab/{id}")),
        ("index", format!("index/{domain}/{label}/{id}")),
        ("snapshot", format!("snapshots/{domain}/{label}/{id}")),
        ("order", format!("orders/{id}")),
        ("mark", format!("marks/{id}")),
        ("journal", format!("journal/{domain}/2025-06/{id}")),
        ("month", format!("journal/{domain}/2025-06-{id}")),
        ("wal", format!("wal/main/0000000A/0000000A0000000000000003-{id}")),
        ("wal-history", format!("wal/main/00000002/00000002.history-{id}")),
        ("wal-backup", format!("wal/main/00000002/000000020000000000000003.00000028.backup-{id}")),
    ];
    for (name, path) in good {
        plain(maker, "name", &format!("ok-{name}"), "ok", path.into_bytes());
    }
    let bad = [
        ("empty", String::new()),
        ("upper-case", format!("keys/{}", id.to_uppercase())),
        ("another-folder", format!("packs/d/ac/{id}")),
        ("another-class", format!("packs/x/ab/{id}")),
        ("short-hash", format!("keys/{}", &id[2..])),
        ("long-hash", format!("keys/{id}00")),
        ("trailing-slash", format!("keys/{id}/")),
        ("double-slash", format!("keys//{id}")),
        ("leading-slash", format!("/keys/{id}")),
        ("dot-dot", format!("keys/../{id}")),
        ("suffix", format!("keys/{id}.tmp")),
        ("nul", format!("keys/{id}\0")),
        ("month-without-zero", format!("journal/{domain}/2025-6/{id}")),
        ("month-plus", format!("journal/{domain}/2025-+6/{id}")),
        ("merged-month-without-zero", format!("journal/{domain}/2025-6-{id}")),
        ("merged-month-plus", format!("journal/{domain}/2025-+6-{id}")),
        ("merged-month-short-hash", format!("journal/{domain}/2025-06-{}", &id[2..])),
        ("parity", format!("parity/{id}")),
        ("wal-other-timeline", format!("wal/main/0000000B/0000000A0000000000000003-{id}")),
        ("wal-lower-case", format!("wal/main/0000000a/0000000a0000000000000003-{id}")),
        ("wal-cluster-dot-dot", format!("wal/../0000000A/0000000A0000000000000003-{id}")),
        ("wal-not-a-segment", format!("wal/main/0000000A/0000000A.tmp-{id}")),
    ];
    for (name, path) in bad {
        plain(maker, "name", name, "invalid", path.into_bytes());
    }
}

fn recoveries(maker: &mut Maker) {
    let root = Key::new(noise(8, 32).try_into().unwrap());
    let words = recovery::words(&root).unwrap().to_string();
    let fields = fields("recovery", &[("root", root.expose())]);
    let spaced = format!("  {}\n", words.to_uppercase().replace(' ', "\n \t"));
    let mut list: Vec<&str> = words.split(' ').collect();
    let twelve = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
    let mut add = |name: &str, expect: &str, text: String| {
        maker.add(&format!("recovery/{name}"), expect, fields.clone(), text.into_bytes())
    };
    add("ok", "ok", words.clone());
    add("ok-upper-case-and-space", "ok", spaced);
    add("too-few-words", "invalid", list[..23].join(" "));
    add("too-many-words", "invalid", format!("{words} zoo"));
    add("unknown-word", "invalid", words.replacen(list[0], "vault's", 1));
    add("twelve-words", "invalid", twelve.to_owned());
    add("empty", "invalid", String::new());
    list.swap(0, 1);
    add("words-swapped", "invalid", list.join(" "));
}
