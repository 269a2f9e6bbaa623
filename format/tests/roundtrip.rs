//! Decoding is total and injective: what is encoded decodes to itself, bytes that decode are the encoding of what they
//! decode to, and no bytes at all make a decoder panic.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use vault_format::bundle::Bundle;
use vault_format::codec::{self, Stored};
use vault_format::config::Config;
use vault_format::directory::{BlobEntry, Directory, FrameEntry};
use vault_format::envelope::{Wrap, Wraps};
use vault_format::facts::Facts;
use vault_format::frame::FrameCodec;
use vault_format::id::{BlobId, BlobKind, Class, DomainId, ObjectId, OriginMark, RunId, SetId, SourceLabel, WriterId};
use vault_format::index::{Index, PackEntry, Sketch, Sketches};
use vault_format::journal::{Record, RunOutcome};
use vault_format::key_file;
use vault_format::list::{ChunkRef, Content, ListPage, ListRoot};
use vault_format::mark::{Mark, SnapshotPlace};
use vault_format::name::Name;
use vault_format::order::{Action, Order};
use vault_format::pack::PackEnd;
use vault_format::slot::{Slot, SlotInfo};
use vault_format::snapshot::{Body, Gaps, Head, LeftOut, Statistics};
use vault_format::tree::{Extent, Metadata, Node, NodeKind, Time, TreeChild, TreePage, TreeRoot, Xattr};

type Mutations = Vec<(prop::sample::Index, u8, u8)>;

fn mutations() -> impl Strategy<Value = Mutations> {
    vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..4)
}

/// Changes, removes, inserts or copies single bytes.
fn mutate(bytes: &[u8], mutations: &Mutations) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for (index, value, how) in mutations {
        if out.is_empty() {
            break;
        }
        let at = index.index(out.len());
        match how {
            0 => out[at] = *value,
            1 => out[at] = out[at].wrapping_add(1),
            2 => drop(out.splice(at..=at, [])),
            _ => out.insert(at, *value),
        }
    }
    out
}

fn check<T: Stored + PartialEq + std::fmt::Debug>(value: &T, mutations: &Mutations) {
    let bytes = codec::encode(value).unwrap();
    assert_eq!(&codec::decode::<T>(&bytes).unwrap(), value);
    let other = mutate(&bytes, mutations);
    if let Ok(decoded) = codec::decode::<T>(&other) {
        assert_eq!(codec::encode(&decoded).unwrap(), other);
    }
}

fn blob() -> impl Strategy<Value = BlobId> {
    any::<[u8; 32]>().prop_map(BlobId)
}

fn objects() -> impl Strategy<Value = Vec<ObjectId>> {
    vec(any::<[u8; 32]>().prop_map(ObjectId), 0..4)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..12)
}

fn time() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanoseconds)| Time { seconds, nanoseconds })
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let names = btree_set(vec(1u8.., 1..6), 0..3);
    let times = (time(), time());
    ((0u32..0o10000, any::<u32>(), any::<u32>()), (bytes(), bytes()), times, (any::<u64>(), any::<u64>()), names)
        .prop_map(|((mode, uid, gid), (user, group), (mtime, ctime), (inode, link_group), names)| {
            let xattrs = names.into_iter().map(|name| Xattr { value: name.clone(), name }).collect();
            Metadata { mode, uid, gid, user, group, mtime, ctime, inode, link_group, xattrs }
        })
}

fn tree_root() -> impl Strategy<Value = TreeRoot> {
    (blob(), any::<u64>(), any::<u64>()).prop_map(|(id, bytes, count)| TreeRoot { id, bytes, count })
}

fn chunks(most: usize) -> impl Strategy<Value = Vec<ChunkRef>> {
    vec((blob(), 1u32..=1 << 20).prop_map(|(id, length)| ChunkRef { id, length }), 1..most)
}

fn list_root() -> impl Strategy<Value = ListRoot> {
    (blob(), 1u64..1 << 40, any::<u64>()).prop_map(|(id, bytes, count)| ListRoot { id, bytes, count })
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![chunks(5).prop_map(Content::Inline), list_root().prop_map(Content::List)]
}

fn kind() -> impl Strategy<Value = NodeKind> {
    let file = (content(), vec((0u64..50, 1u64..50), 0..3)).prop_map(|(content, gaps)| {
        let mut size = content.bytes().unwrap();
        let (mut end, mut holes) = (0, Vec::new());
        for (gap, length) in gaps {
            if end + gap <= size {
                holes.push(Extent { offset: end + gap, length });
                size += length;
                end += gap + length;
            }
        }
        NodeKind::File { size, content, holes }
    });
    prop_oneof![
        file,
        tree_root().prop_map(NodeKind::Directory),
        vec(1u8.., 1..20).prop_map(NodeKind::Symlink),
        Just(NodeKind::Fifo),
        any::<(u32, u32)>().prop_map(|(major, minor)| NodeKind::CharDevice(major, minor)),
        any::<(u32, u32)>().prop_map(|(major, minor)| NodeKind::BlockDevice(major, minor)),
    ]
}

fn names(least: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    btree_set(vec(48u8.., 1..8), least..6).prop_map(|names| names.into_iter().collect())
}

fn tree_page() -> impl Strategy<Value = TreePage> {
    let leaf = (names(0), vec((kind(), metadata()), 6)).prop_map(|(names, rest)| {
        let nodes = names.into_iter().zip(rest);
        TreePage::Leaf(nodes.map(|(name, (kind, metadata))| Node { name, kind, metadata }).collect())
    });
    let branch = (1u8..=8, names(2), vec(tree_root(), 6)).prop_map(|(height, names, roots)| {
        let children = names.into_iter().zip(roots).map(|(last_name, root)| TreeChild { last_name, root }).collect();
        TreePage::Branch { height, children }
    });
    prop_oneof![leaf, branch]
}

fn list_page() -> impl Strategy<Value = ListPage> {
    let branch = (1u8..=8, vec(list_root(), 2..5)).prop_map(|(height, children)| ListPage::Branch { height, children });
    prop_oneof![chunks(6).prop_map(ListPage::Leaf), branch]
}

fn directory(class: Class) -> impl Strategy<Value = Directory> {
    let kind = if class == Class::Data { BlobKind::Chunk } else { BlobKind::Tree };
    let frame = (vec((blob(), 1u32..1000), 1..4), vec(blob(), 0..=4), 1u8..=8, any::<u32>(), 16u32..5000);
    vec(frame, 1..5).prop_map(move |parts| {
        let mut out = Directory::default();
        for (ordinal, (mut blobs, bases, depth, generation, stored)) in parts.into_iter().enumerate() {
            let delta = !bases.is_empty();
            if delta {
                blobs.truncate(1);
            }
            out.frames.push(FrameEntry {
                ordinal: ordinal as u32 * 7,
                stored,
                codec: if delta { FrameCodec::Delta } else { FrameCodec::Zstd },
                depth: if delta { depth } else { 0 },
                generation,
                bases,
                blobs: blobs.len() as u32,
            });
            out.blobs.extend(blobs.into_iter().map(|(id, length)| BlobEntry { id, kind, length }));
        }
        out
    })
}

fn wraps() -> impl Strategy<Value = Wraps> {
    let owner = any::<[u8; 16]>().prop_map(|seal| Wrap::Owner { encapsulation: vec![3; 1120], sealed: [seal[0]; 48] });
    let domain = any::<([u8; 16], [u8; 32])>().prop_map(|(id, salt)| Wrap::Domain {
        domain: DomainId(id),
        salt,
        sealed: [id[0]; 48],
    });
    vec(prop_oneof![owner, domain], 1..4).prop_map(Wraps)
}

fn index() -> impl Strategy<Value = Index> {
    let pack =
        (any::<[u8; 32]>(), directory(Class::Metadata), 0u64..1 << 26).prop_map(|(id, directory, size)| PackEntry {
            id: ObjectId(id),
            class: Class::Metadata,
            size,
            writer: WriterId([id[1]; 16]),
            salt: id,
            wraps: 0,
            directory,
        });
    (vec((pack, any::<bool>()), 0..3), vec(wraps(), 1..3), objects()).prop_map(|(packs, wraps, supersedes)| {
        let mut opened: Vec<ObjectId> =
            packs.iter().filter(|(_, is_opened)| *is_opened).map(|(pack, _)| pack.id).collect();
        opened.sort_unstable();
        Index { packs: packs.into_iter().map(|(pack, _)| pack).collect(), wraps, supersedes, opened }
    })
}

fn sketches() -> impl Strategy<Value = Sketches> {
    let one = (blob(), btree_set(any::<u32>(), 0..=8))
        .prop_map(|(blob, features)| Sketch { blob, features: features.into_iter().collect() });
    vec(one, 0..5).prop_map(Sketches)
}

fn head() -> impl Strategy<Value = Head> {
    let ids = (any::<[u8; 16]>(), any::<Option<[u8; 32]>>(), any::<Option<[u8; 32]>>(), objects());
    ("[a-zA-Z0-9_-]{1,20}x", tree_root(), ids, any::<(i64, u8, Option<i64>, u64)>()).prop_map(
        |(source, root, (run, parent, original, seen), (time, profile, expires, files))| Head {
            kind: source.to_ascii_lowercase().replace('_', "-"),
            source,
            set: expires.map(|_| SetId(run)),
            time,
            run: RunId(run),
            root,
            parent: parent.map(ObjectId),
            seen,
            statistics: Statistics { files, ..Statistics::default() },
            profile,
            expires,
            original: original.map(ObjectId),
            place: OriginMark(run),
            host: OriginMark(run),
            terms: OriginMark(run),
            left_of: original.map(ObjectId).filter(|_| profile > 100),
            turn: files,
            taken_by: original.map(|id| WriterId([id[0]; 16])),
            orders: parent.map(ObjectId).into_iter().collect(),
        },
    )
}

fn body() -> impl Strategy<Value = Body> {
    let text = || ".{0,8}";
    let lists = (vec(bytes(), 0..3), btree_set(text(), 0..3), vec(bytes(), 0..3));
    let parts = (left_out(), gaps(), bytes(), bytes(), facts());
    (prop::option::of(metadata()), lists, (text(), text(), text(), text()), parts).prop_map(
        |(
            root,
            (paths, tags, command),
            (host, user, description, program),
            (left_out, gaps, base, messages, facts),
        )| {
            let tags = tags.into_iter().collect();
            #[rustfmt::skip]
            let body = Body {
                root, base, paths, host, user, tags, description, command, left_out, gaps, messages, facts, program,
            };
            body
        },
    )
}

fn facts() -> impl Strategy<Value = Facts> {
    vec(("[a-z]{1,3}", ".{0,8}"), 0..4).prop_map(Facts::from_iter)
}

fn left_out() -> impl Strategy<Value = LeftOut> {
    let lists = (vec(bytes(), 0..3), vec(bytes(), 0..3), vec(bytes(), 0..3));
    (lists, any::<(Option<u64>, bool, bool, bool)>()).prop_map(
        |((patterns, any_case, markers), (larger_than, caches, nodump, other_file_systems))| LeftOut {
            patterns,
            any_case,
            markers,
            larger_than,
            caches,
            nodump,
            other_file_systems,
        },
    )
}

fn gaps() -> impl Strategy<Value = Gaps> {
    (vec(bytes(), 0..3), vec(bytes(), 0..3), any::<bool>()).prop_map(|(unread, not_entered, more)| Gaps {
        unread,
        not_entered,
        more,
    })
}

fn record() -> impl Strategy<Value = Record> {
    let outcome = prop::sample::select(RunOutcome::ALL.to_vec()).prop_map(|(_, outcome)| outcome);
    let told = (vec((".{0,8}", any::<u64>()), 0..3), facts());
    (any::<[u8; 16]>(), "[a-z]{1,9}", outcome, told, objects(), any::<(i64, u64)>()).prop_map(
        |(run, operation, outcome, (figures, facts), heads, (started, duration))| Record {
            run: RunId(run),
            operation,
            source: String::new(),
            started,
            duration,
            outcome,
            message: "message".to_owned(),
            reason: String::new(),
            actor: "a@b".to_owned(),
            figures,
            facts,
            snapshot: heads.first().copied(),
            verified: heads.clone(),
            orders: heads.iter().skip(1).copied().collect(),
            after: heads.iter().skip(2).copied().collect(),
            heads,
        },
    )
}

fn order() -> impl Strategy<Value = Order> {
    let texts = || vec(".{0,6}", 0..3);
    let action = prop_oneof![
        objects().prop_map(Action::Forget),
        objects().prop_map(Action::Undelete),
        objects().prop_map(Action::Hold),
        objects().prop_map(Action::Release),
        objects().prop_map(Action::Quarantine),
        objects().prop_map(Action::Decline),
        (any::<[u8; 16]>(), ".{0,6}").prop_map(|(id, label)| Action::Call { domain: DomainId(id), label }),
        (objects(), any::<i64>())
            .prop_map(|(snapshots, at)| Action::Arrived(snapshots.into_iter().map(|id| (id, at)).collect())),
        (objects(), texts(), texts()).prop_map(|(snapshots, add, remove)| Action::Tag { snapshots, add, remove }),
        (objects(), any::<Option<i64>>()).prop_map(|(snapshots, time)| Action::Expire(snapshots, time)),
        objects().prop_map(|accepted| Action::Revoke { writer: WriterId([4; 16]), accepted }),
        any::<u64>().prop_map(Action::Require),
    ];
    let order = (1u64.., any::<i64>(), action, objects());
    order.prop_map(|(number, time, action, after)| Order { number, time, action, after })
}

fn mark() -> impl Strategy<Value = Mark> {
    let class = prop::sample::select(vec![Class::Data, Class::Metadata]);
    let packs = btree_set((class, any::<[u8; 32]>().prop_map(ObjectId)), 0..4);
    let places = btree_set(any::<([u8; 16], [u8; 8], [u8; 32])>(), 0..4);
    let condemn = (packs, places, any::<u64>()).prop_map(|(packs, places, grace)| {
        let place = |(domain, label, id)| SnapshotPlace {
            domain: DomainId(domain),
            label: SourceLabel(label),
            id: ObjectId(id),
        };
        Mark::Condemn { packs: packs.into_iter().collect(), snapshots: places.into_iter().map(place).collect(), grace }
    });
    prop_oneof![condemn, any::<[u8; 32]>().prop_map(|id| Mark::Swept { mark: ObjectId(id) })]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tree_pages(page in tree_page(), mutations in mutations()) {
        let bytes = page.encode().unwrap();
        prop_assert_eq!(TreePage::decode(&bytes).unwrap(), page);
        let other = mutate(&bytes, &mutations);
        if let Ok(decoded) = TreePage::decode(&other) {
            prop_assert_eq!(decoded.encode().unwrap(), other);
        }
    }

    #[test]
    fn list_pages(page in list_page(), mutations in mutations()) { check(&page, &mutations); }

    #[test]
    fn directories(value in directory(Class::Data), mutations in mutations()) { check(&value, &mutations); }

    #[test]
    fn indexes(value in index(), sketches in sketches(), mutations in mutations()) {
        check(&value, &mutations);
        check(&sketches, &mutations);
    }

    #[test]
    fn snapshots(head in head(), body in body(), mutations in mutations()) {
        check(&head, &mutations);
        check(&body, &mutations);
    }

    #[test]
    fn records(value in record(), mutations in mutations()) { check(&value, &mutations); }

    #[test]
    fn orders(value in order(), mutations in mutations()) { check(&value, &mutations); }

    #[test]
    fn marks(value in mark(), mutations in mutations()) { check(&value, &mutations); }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300), small in vec(0u8..3, 0..300)) {
        for bytes in [&bytes, &small] {
            let _ = (TreePage::decode(bytes), ListPage::decode(bytes), Directory::decode(bytes), Wraps::decode(bytes));
            let _ = (codec::decode::<Index>(bytes), codec::decode::<Sketches>(bytes), codec::decode::<Head>(bytes));
            let _ = (codec::decode::<Body>(bytes), codec::decode::<Record>(bytes), codec::decode::<Order>(bytes));
            let _ = (codec::decode::<Mark>(bytes), codec::decode::<Config>(bytes), codec::decode::<SlotInfo>(bytes));
            let _ = (Bundle::decode(bytes), key_file::decode(bytes), Slot::parse(bytes).map(|slot| slot.info));
            let _ = (Config::open(bytes, None), PackEnd::parse(bytes, bytes.len() as u64).map(|end| end.salt));
            let _ = Name::parse(&String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn golden_objects_with_changed_bytes(which in any::<prop::sample::Index>(), mutations in mutations()) {
        let repo = crate::support::roles::build();
        let files: Vec<(&String, &Vec<u8>)> = repo.files.iter().collect();
        let (name, bytes) = files[which.index(files.len())];
        let other = mutate(bytes, &mutations);
        if &other != bytes && name.starts_with("config") {
            prop_assert!(Config::open(&other, Some(&repo.owner.public().verifying)).is_err());
        }
    }
}

/// A tail that is there and empty would be a second form of a value that has none.
#[test]
fn tails_have_one_form() {
    let bare = codec::encode(&Body::default()).unwrap();
    let full = codec::encode(&Body { base: b"/".to_vec(), ..Body::default() }).unwrap();
    assert!(full.starts_with(&bare) && codec::decode::<Body>(&full).unwrap().base == b"/");
    let mut empty = full.clone();
    empty.splice(bare.len().., std::iter::repeat_n(0, full.len() - bare.len() - 1));
    assert!(codec::decode::<Body>(&empty).is_err());
    assert!(codec::decode::<Body>(&full[..full.len() - 1]).is_err());
}
