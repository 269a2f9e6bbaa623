//! `v1-owner`: one owner, two snapshots, and every kind of object, codec and node.

use super::tree::{inline, metadata, with_xattr};
use super::{EPOCH, Member, REPOSITORY, Repo, Run, header, noise, text};
use vault_format::directory::BlobEntry;
use vault_format::facts::Facts;
use vault_format::header::Kind;
use vault_format::id::{BlobId, BlobKind, Class, ObjectId, OriginMark, SetId, WriterId};
use vault_format::journal::{Record, RunOutcome};
use vault_format::list::ChunkRef;
use vault_format::mark::{Mark, SnapshotPlace};
use vault_format::month::Month;
use vault_format::name::Name;
use vault_format::order::{Action, Order};
use vault_format::pack::{NewFrame, PackBuilder};
use vault_format::snapshot::{Body, Gaps, Head, LeftOut, Statistics};
use vault_format::tree::{Extent, Node, NodeKind, TreeRoot};

/// Builds the repository.
pub fn build() -> Repo {
    let mut repo = Repo::new(1);
    let member = repo.owner_member();
    let first = first(&mut repo, &member);
    let second = second(&mut repo, &member, first);
    wal(&mut repo, &member);
    orders(&mut repo, &member, &[first, second]);
    marks(&mut repo, &member, first);
    journal(&mut repo, &member, &[first, second]);
    repo
}

fn head(run: &Run<'_>, source: &str, root: TreeRoot, parent: Option<ObjectId>) -> Head {
    Head {
        source: source.to_owned(),
        kind: if parent.is_some() { "postgres".to_owned() } else { String::new() },
        set: parent.map(|_| SetId([13; 16])),
        time: EPOCH + 1_000_000_000,
        run: run.id,
        root,
        parent,
        seen: parent.into_iter().collect(),
        statistics: Statistics { files: 3, directories: 1, bytes: root.bytes, duration: 42, ..Statistics::default() },
        profile: 1,
        expires: parent.map(|_| EPOCH * 2),
        original: None,
        place: OriginMark([5; 16]),
        host: OriginMark([6; 16]),
        terms: OriginMark([7; 16]),
        left_of: None,
        turn: parent.map_or(0, |_| 1),
        taken_by: None,
        orders: parent.map(|_| ObjectId([11; 32])).into_iter().collect(),
    }
}

/// Facts as a dump of a database tells them.
fn facts() -> Facts {
    [("server_version", "16.4"), ("table:public.zürich", "3"), ("table:public.users", "12")].into_iter().collect()
}

/// A body with every field in use.
pub fn body() -> Body {
    Body {
        root: Some(metadata(0)),
        base: b"/".to_vec(),
        paths: vec![b"/home/anna".to_vec(), b"/srv/\xFF".to_vec()],
        host: "host".to_owned(),
        user: "anna".to_owned(),
        tags: vec!["daily".to_owned(), "zürich".to_owned()],
        description: "a golden snapshot".to_owned(),
        command: vec![b"vault".to_vec(), b"snapshot".to_vec()],
        left_out: LeftOut {
            patterns: vec![b"*.tmp".to_vec(), b"caf\xE9".to_vec()],
            any_case: vec![b"*.bak".to_vec()],
            markers: vec![b".nobackup".to_vec()],
            larger_than: Some(1 << 30),
            caches: true,
            nodump: false,
            other_file_systems: true,
        },
        gaps: Gaps { unread: vec![b"secret".to_vec()], not_entered: vec![b"mnt".to_vec()], more: false },
        messages: b"warning: none".to_vec(),
        facts: facts(),
        program: "vault 0.1.0".to_owned(),
    }
}

fn first(repo: &mut Repo, member: &Member) -> ObjectId {
    let mut run = Run::new(repo, member);
    let mut nodes = plain_files(&mut run);
    nodes.push(many_small(&mut run));
    nodes.push(long_file(&mut run));
    nodes.push(sparse_file(&mut run));
    nodes.extend(delta_files(&mut run));
    run.close(Class::Metadata);
    let root = run.tree(nodes, 64);
    let head = head(&run, "home", root, None);
    run.commit(&head, &body())
}

fn plain_files(run: &mut Run<'_>) -> Vec<Node> {
    let note = text(1, 40);
    let mut linked = metadata(4);
    linked.link_group = 1004;
    linked.inode = 1004;
    let empty = run.tree(Vec::new(), 8);
    let random = noise(1, 3000);
    vec![
        run.small_file(b"note.txt", &[&note], with_xattr(metadata(1))),
        run.small_file(b"random.bin", &[&random], metadata(2)),
        run.small_file(b"empty", &[], metadata(3)),
        run.small_file(b"link-a", &[b"two names, one file\n"], linked.clone()),
        run.small_file(b"link-b", &[b"two names, one file\n"], linked),
        run.small_file(b"caf\xE9", &[b"a name in Latin-1\n"], metadata(5)),
        run.symlink(b"shortcut", b"../elsewhere/\xFE", metadata(6)),
        run.symlink(b"absolute", b"/etc/passwd", metadata(7)),
        run.special(b"queue", NodeKind::Fifo, metadata(8)),
        run.special(b"null", NodeKind::CharDevice(1, 3), metadata(9)),
        run.special(b"loop", NodeKind::BlockDevice(7, 0), metadata(10)),
        run.directory(b"nothing", empty, metadata(11)),
    ]
}

/// A directory of many files that share one frame, in a tree of several pages.
fn many_small(run: &mut Run<'_>) -> Node {
    let contents: Vec<Vec<u8>> = (0..40).map(|number| text(100 + number, 3)).collect();
    let parts: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let ids = run.frame(BlobKind::Chunk, &parts);
    let mut nodes = Vec::new();
    for (number, (id, part)) in ids.iter().zip(&parts).enumerate() {
        let path = format!("many/file-{number:02}");
        let content = inline(&[*id], &[*part]);
        nodes.push(run.file(path.as_bytes(), content, part, metadata(100 + number as u64)));
    }
    let root = run.tree(nodes, 16);
    run.directory(b"many", root, metadata(99))
}

/// A file with more chunks than a node holds.
fn long_file(run: &mut Run<'_>) -> Node {
    let bytes = text(7, 200);
    let parts: Vec<&[u8]> = bytes.chunks(100).collect();
    let mut chunks = Vec::new();
    for group in parts.chunks(30) {
        for (id, part) in run.frame(BlobKind::Chunk, group).into_iter().zip(group) {
            chunks.push(ChunkRef { id, length: part.len() as u32 });
        }
    }
    let content = run.list(&chunks, 32);
    run.file(b"long.log", content, &bytes, metadata(12))
}

fn sparse_file(run: &mut Run<'_>) -> Node {
    let (begin, end) = (noise(2, 500), noise(3, 700));
    let ids = run.frame(BlobKind::Chunk, &[&begin, &end]);
    let holes = vec![Extent { offset: 500, length: 100_000 }, Extent { offset: 101_200, length: 50_000 }];
    let content = inline(&ids, &[&begin, &end]);
    let bytes = [begin, vec![0; 100_000], end, vec![0; 50_000]].concat();
    let file = run.file(b"sparse.img", content.clone(), &bytes, metadata(13));
    Node { kind: NodeKind::File { size: bytes.len() as u64, content, holes }, ..file }
}

/// Versions of one content: a chain of depth 3, and deltas with 1 to 4 bases.
fn delta_files(run: &mut Run<'_>) -> Vec<Node> {
    let mut versions = vec![noise(10, 4000)];
    for number in 1..=3 {
        let mut next = versions.last().unwrap().clone();
        next.splice(1000..1000 + 10 * number, noise(20 + number as u64, 30));
        versions.push(next);
    }
    let mut ids: Vec<BlobId> = run.frame(BlobKind::Chunk, &[&versions[0]]);
    for depth in 1..=3usize {
        let base = (ids[depth - 1], versions[depth - 1].as_slice());
        ids.push(run.delta(&versions[depth], &[base], depth as u8));
    }
    run.sketch(ids[0], &[1, 5, 900]);
    run.sketch(ids[1], &[1, 5, 901, u32::MAX]);
    let others: Vec<Vec<u8>> = (0..4).map(|number| noise(40 + number, 1500)).collect();
    let parts: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
    let others_ids = run.frame(BlobKind::Chunk, &parts);
    let mut nodes = Vec::new();
    for (number, (id, bytes)) in ids.clone().into_iter().zip(versions.clone()).enumerate() {
        let path = format!("version-{number}");
        let content = inline(&[id], &[&bytes]);
        nodes.push(run.file(path.as_bytes(), content, &bytes, metadata(20 + number as u64)));
    }
    for count in 2..=4usize {
        let mixed: Vec<u8> = others[..count].iter().rev().flat_map(|part| part[200..].to_vec()).collect();
        let bases: Vec<(BlobId, &[u8])> = others_ids.iter().copied().zip(parts.iter().copied()).take(count).collect();
        let id = run.delta(&mixed, &bases, 1);
        let path = format!("mixed-{count}");
        let content = inline(&[id], &[&mixed]);
        nodes.push(run.file(path.as_bytes(), content, &mixed, metadata(30 + count as u64)));
    }
    nodes
}

fn second(repo: &mut Repo, member: &Member, parent: ObjectId) -> ObjectId {
    let mut run = Run::new(repo, member);
    let deep = run.small_file(b"a/b/deep.txt", &[b"far below\n"], metadata(1));
    let root = run.tree(vec![deep], 8);
    let directory = run.directory(b"a/b", root, metadata(2));
    let root = run.tree(vec![directory], 8);
    let directory = run.directory(b"a", root, metadata(3));
    let file = run.small_file(b"parts", &[b"first ", b"second ", b"third"], metadata(4));
    let root = run.tree(vec![directory, file], 8);
    let head = head(&run, "home", root, Some(parent));
    run.commit(&head, &Body::default())
}

fn wal(repo: &mut Repo, member: &Member) {
    let run = Run::new(repo, member);
    let segment = text(50, 100);
    let blob = BlobEntry {
        id: run.repo.owner.id_key().blob_id(BlobKind::Chunk, &segment),
        kind: BlobKind::Chunk,
        length: segment.len() as u32,
    };
    let salt = run.repo.random();
    let key = run.secret.pack_key(Class::Data, &salt);
    let mut pack = PackBuilder::new(header(member, Kind::Wal), salt, key).unwrap();
    let encoded = vault_format::compress::compress(&segment, 3).unwrap().unwrap();
    pack.push(NewFrame::whole(vault_format::frame::FrameCodec::Zstd, &encoded, &[blob])).unwrap();
    let done = pack.finish(&member.book, &run.wraps, &member.signer).unwrap();
    run.repo.put(done.bytes, |id| Name::Wal("main".to_owned(), 1, "000000010000000000000003".to_owned(), id));
}

/// One order of each kind.
pub fn actions(snapshots: &[ObjectId]) -> Vec<Action> {
    let one = snapshots[..1].to_vec();
    vec![
        Action::Forget(one.clone()),
        Action::Undelete(one.clone()),
        Action::Tag { snapshots: snapshots.to_vec(), add: vec!["kept".to_owned()], remove: vec!["daily".to_owned()] },
        Action::Hold(one.clone()),
        Action::Release(one.clone()),
        Action::Expire(one.clone(), Some(EPOCH * 2)),
        Action::Expire(one.clone(), None),
        Action::Revoke { writer: WriterId([9; 16]), accepted: one.clone() },
        Action::Require(0),
        Action::Quarantine(vec![ObjectId([3; 32])]),
        Action::Decline(vec![ObjectId([4; 32])]),
        Action::Arrived(vec![(snapshots[0], EPOCH + 4)]),
        Action::Call { domain: vault_format::id::DomainId([5; 16]), label: "web-1".to_owned() },
    ]
}

fn orders(repo: &mut Repo, member: &Member, snapshots: &[ObjectId]) {
    let mut after = Vec::new();
    for (number, action) in actions(snapshots).into_iter().enumerate() {
        let order = Order { number: 1 + number as u64, time: EPOCH + 5, action, after };
        let salt = repo.random();
        let stored = order.seal(&member.author(), &salt).unwrap();
        after = vec![repo.put(stored, Name::Order)];
    }
}

fn marks(repo: &mut Repo, member: &Member, snapshot: ObjectId) {
    let packs = vec![(Class::Data, ObjectId([1; 32])), (Class::Metadata, ObjectId([0; 32]))];
    let place = SnapshotPlace { domain: member.domain, label: member.book.source_label("gone"), id: snapshot };
    let mark = Mark::Condemn { packs, snapshots: vec![place], grace: 86_400_000_000_000 };
    let salt = repo.random();
    let id = repo.put(mark.seal(REPOSITORY, &member.signer, &salt).unwrap(), Name::Mark);
    let salt = repo.random();
    repo.put(Mark::Swept { mark: id }.seal(REPOSITORY, &member.signer, &salt).unwrap(), Name::Mark);
}

fn journal(repo: &mut Repo, member: &Member, heads: &[ObjectId]) {
    let record = Record {
        run: vault_format::id::RunId([5; 16]),
        operation: "snapshot".to_owned(),
        source: "home".to_owned(),
        started: EPOCH,
        duration: 9_000_000_000,
        outcome: RunOutcome::Done,
        message: "2 snapshots".to_owned(),
        reason: "golden".to_owned(),
        actor: "anna@host".to_owned(),
        figures: vec![("new bytes".to_owned(), 12_345)],
        facts: [("verdict", "passed")].into_iter().collect(),
        snapshot: heads.last().copied(),
        heads: heads.to_vec(),
        verified: Vec::new(),
        orders: vec![ObjectId([12; 32])],
        after: vec![ObjectId([14; 32])],
    };
    let salt = repo.random();
    let stored = record.seal(&member.author(), &salt).unwrap();
    repo.put(stored, |id| Name::Journal(member.domain, 2025, 6, id));
    // two of the month before, of which prune has made one object
    let older = |number: u8| Record {
        run: vault_format::id::RunId([number; 16]),
        started: EPOCH - 30 * 86_400_000_000_000 + i64::from(number),
        after: Vec::new(),
        ..record.clone()
    };
    let older: Vec<Vec<u8>> = [6, 7]
        .into_iter()
        .map(|number| {
            let salt = repo.random();
            older(number).seal(&member.author(), &salt).unwrap()
        })
        .collect();
    let salt = repo.random();
    let month = Month::of(older).seal((REPOSITORY, member.domain), &member.signer, &salt).unwrap();
    repo.put(month, |id| Name::Month(member.domain, 2025, 5, id));
}
