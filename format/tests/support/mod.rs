//! A test-only writer of whole repositories, on the format crate alone: fixed seeds, fixed ids, no store. What it makes
//! is committed under `tests/golden`, so that any change of the format shows as a change of bytes.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod owner;
pub mod roles;
pub mod tree;

use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vault_format::compress::{LEVEL_DEFAULT, compress, compress_delta};
use vault_format::config::Config;
use vault_format::directory::{BlobEntry, Descent};
use vault_format::envelope::{RunSecret, Wraps};
use vault_format::frame::FrameCodec;
use vault_format::gear::{PROFILE_DEFAULT, PROFILE_INCOMPRESSIBLE};
use vault_format::header::{Header, Kind};
use vault_format::id::{BlobId, BlobKind, Class, DomainId, ObjectId, RepositoryId, RunId};
use vault_format::index::{Index, PackEntry, Sketch, Sketches};
use vault_format::key::Key;
use vault_format::name::Name;
use vault_format::object::Author;
use vault_format::owner::{OWNER_DOMAIN, OwnerKeys};
use vault_format::pack::{NewFrame, PackBuilder};
use vault_format::slot::{self, KDF_FLOOR, NewPassword, NewSlot};
use vault_format::snapshot::{self, Body, Head, NewSnapshot};

/// Root of every golden repository.
pub const ROOT: [u8; 32] = [0x42; 32];
/// Id of every golden repository.
pub const REPOSITORY: RepositoryId = RepositoryId([0xA7; 16]);
/// Password of the owner's slot.
pub const PASSWORD: &str = "correct horse battery staple";
/// Time of the first event, nanoseconds since 1970.
pub const EPOCH: i64 = 1_750_000_000_000_000_000;

/// The owner's keys of the golden repositories.
pub fn owner_keys() -> OwnerKeys {
    OwnerKeys::new(Key::new(ROOT), REPOSITORY)
}

/// One that writes: the owner or a member of a domain.
pub struct Member {
    pub domain: DomainId,
    pub signer: SigningKey,
    pub book: Key,
    pub read: Option<Key>,
}

impl Member {
    pub fn author(&self) -> Author<'_> {
        Author { repository: REPOSITORY, domain: self.domain, signer: &self.signer, book: &self.book }
    }
}

/// A golden repository in memory.
pub struct Repo {
    pub files: BTreeMap<String, Vec<u8>>,
    pub beside: BTreeMap<String, Vec<u8>>,
    pub rng: ChaCha20Rng,
    pub owner: OwnerKeys,
    pub config: ObjectId,
    expected: Vec<String>,
}

impl Repo {
    /// Config, its copy and the owner's slot.
    pub fn new(seed: u64) -> Self {
        let owner = owner_keys();
        let config = Config {
            profiles: vec![PROFILE_DEFAULT, PROFILE_INCOMPRESSIBLE],
            pack_bytes: 16 << 20,
            required_features: 0,
            owner: owner.public().verifying,
            created: EPOCH,
        };
        let signer = owner.signing().signing_key();
        let stored = config.seal(REPOSITORY, &signer).unwrap();
        let mut repo = Self {
            files: BTreeMap::new(),
            beside: BTreeMap::new(),
            rng: ChaCha20Rng::seed_from_u64(seed),
            config: ObjectId::of(&stored),
            owner,
            expected: Vec::new(),
        };
        repo.files.insert(Name::Config.to_string(), stored.clone());
        repo.files.insert(Name::ConfigCopy.to_string(), stored);
        let bundle = repo.owner.bundle(repo.config);
        let new = NewSlot {
            bundle: &bundle,
            label: "owner".to_owned(),
            created: EPOCH,
            domain: repo.owner.domain(OWNER_DOMAIN),
            verifying: bundle.owner.verifying,
        };
        let salt = repo.random();
        let stored =
            slot::seal(&new, Some(NewPassword { password: PASSWORD.as_bytes(), kdf: KDF_FLOOR }), &salt, &signer)
                .unwrap();
        repo.put(stored, Name::Slot);
        repo.beside.insert("password".to_owned(), format!("{PASSWORD}\n").into_bytes());
        repo
    }

    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0u8; N];
        self.rng.fill_bytes(&mut out);
        out
    }

    /// The owner as a writer of its own domain.
    pub fn owner_member(&self) -> Member {
        let domain = self.owner.domain(OWNER_DOMAIN);
        let signer = self.owner.signing().signing_key();
        Member { domain, signer, book: self.owner.book(domain), read: None }
    }

    /// Files an object under its name.
    pub fn put(&mut self, stored: Vec<u8>, name: impl Fn(ObjectId) -> Name) -> ObjectId {
        let id = ObjectId::of(&stored);
        let name = name(id).to_string();
        assert!(Name::parse(&name).is_some(), "{name}");
        self.files.insert(name, stored);
        id
    }

    /// The listing that a reader must arrive at.
    pub fn expected_json(&self) -> String {
        format!("{{\"snapshots\": [\n{}\n]}}\n", self.expected.join(",\n"))
    }

    /// Everything to commit: path below the golden folder and bytes.
    pub fn all(&self) -> BTreeMap<String, Vec<u8>> {
        let stored = self.files.iter().map(|(name, bytes)| (format!("repository/{name}"), bytes.clone()));
        let beside = self.beside.iter().map(|(name, bytes)| (name.clone(), bytes.clone()));
        let expected = ("expected.json".to_owned(), self.expected_json().into_bytes());
        stored.chain(beside).chain([expected]).collect()
    }
}

/// Where the golden repositories lie.
pub fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// All golden repositories by name.
pub fn golden() -> Vec<(&'static str, Repo)> {
    vec![("v1-owner", owner::build()), ("v1-roles", roles::build())]
}

/// One run of a writer: collects frames, packs and what the index and the snapshot say.
pub struct Run<'a> {
    pub repo: &'a mut Repo,
    pub member: &'a Member,
    pub id: RunId,
    pub secret: RunSecret,
    pub wraps: Wraps,
    packs: BTreeMap<Class, PackBuilder>,
    index: Index,
    sketches: Sketches,
    pub nodes: Vec<String>,
}

impl<'a> Run<'a> {
    pub fn new(repo: &'a mut Repo, member: &'a Member) -> Self {
        let secret = RunSecret::new(repo.random());
        let id = RunId(repo.random());
        let scope = header(member, Kind::DataPack).scope();
        let sealing = repo.owner.public().sealing;
        let mut wraps = vec![secret.wrap_for_owner(&sealing, &scope, &mut repo.rng).unwrap()];
        if let Some(read) = &member.read {
            let salt = repo.random();
            wraps.push(secret.wrap_for_domain(member.domain, read, &scope, &salt).unwrap());
        }
        let wraps = Wraps(wraps);
        let index = Index { wraps: vec![wraps.clone()], ..Index::default() };
        Self {
            repo,
            member,
            id,
            secret,
            wraps,
            packs: BTreeMap::new(),
            index,
            sketches: Sketches::default(),
            nodes: Vec::new(),
        }
    }

    fn pack(&mut self, class: Class) -> &mut PackBuilder {
        let kind = if class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
        let salt = self.repo.random();
        let key = self.secret.pack_key(class, &salt);
        let header = header(self.member, kind);
        self.packs.entry(class).or_insert_with(|| PackBuilder::new(header, salt, key).unwrap())
    }

    /// Stores blobs of one kind in one frame, compressed if that helps.
    pub fn frame(&mut self, kind: BlobKind, blobs: &[&[u8]]) -> Vec<BlobId> {
        let id_key = self.repo.owner.id_key();
        let entries: Vec<BlobEntry> = blobs
            .iter()
            .map(|blob| BlobEntry { id: id_key.blob_id(kind, blob), kind, length: blob.len() as u32 })
            .collect();
        let plain = blobs.concat();
        let (codec, encoded) = match compress(&plain, LEVEL_DEFAULT).unwrap() {
            Some(smaller) => (FrameCodec::Zstd, smaller),
            None => (FrameCodec::Raw, plain),
        };
        self.pack(kind.class()).push(NewFrame::whole(codec, &encoded, &entries)).unwrap();
        entries.iter().map(|entry| entry.id).collect()
    }

    /// Stores one chunk as a delta to others.
    pub fn delta(&mut self, plain: &[u8], bases: &[(BlobId, &[u8])], depth: u8) -> BlobId {
        let kind = BlobKind::Chunk;
        let id = self.repo.owner.id_key().blob_id(kind, plain);
        let prefix: Vec<u8> = bases.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let encoded = compress_delta(plain, &prefix, LEVEL_DEFAULT).unwrap().unwrap();
        let entry = BlobEntry { id, kind, length: plain.len() as u32 };
        let bases = bases.iter().map(|(id, _)| *id).collect();
        let descent = Descent { depth, generation: depth.into() };
        let frame = NewFrame { codec: FrameCodec::Delta, encoded: &encoded, blobs: &[entry], bases, descent };
        self.pack(Class::Data).push(frame).unwrap();
        id
    }

    pub fn sketch(&mut self, blob: BlobId, features: &[u32]) {
        self.sketches.0.push(Sketch { blob, features: features.to_vec() });
    }

    /// Ends the open pack of a class.
    pub fn close(&mut self, class: Class) {
        let Some(pack) = self.packs.remove(&class) else { return };
        let done = pack.finish(&self.member.book, &self.wraps, &self.member.signer).unwrap();
        let size = done.bytes.len() as u64;
        let id = self.repo.put(done.bytes, |id| Name::Pack(class, id));
        let writer = header(self.member, Kind::DataPack).writer;
        let entry = PackEntry { id, class, size, writer, salt: done.salt, wraps: 0, directory: done.directory };
        self.index.packs.push(entry);
    }

    /// Ends all packs, then writes index and snapshot in the order of the protocol.
    pub fn commit(mut self, head: &Head, body: &Body) -> ObjectId {
        self.close(Class::Data);
        self.close(Class::Metadata);
        let Member { domain, book, .. } = self.member;
        let label = book.source_label(&head.source);
        let author = self.member.author();
        let salt = self.repo.random();
        let stored = vault_format::index::seal(&author, &salt, &self.index, &self.sketches).unwrap();
        self.repo.put(stored, |id| Name::Index(*domain, label, id));
        let salt = self.repo.random();
        let new = NewSnapshot { secret: &self.secret, wraps: &self.wraps, head, body };
        let stored = snapshot::seal(&author, &salt, &new).unwrap();
        let id = self.repo.put(stored, |id| Name::Snapshot(*domain, label, id));
        let nodes = self.nodes.join(",\n   ");
        let facts: Vec<String> = body.facts.iter().map(|(name, value)| format!("\"{name}\": \"{value}\"")).collect();
        self.repo.expected.push(format!(
            " {{\"id\": \"{id}\", \"domain\": \"{domain}\", \"source\": \"{}\", \"kind\": \"{}\", \
             \"facts\": {{{}}}, \"nodes\": [\n   {nodes}\n ]}}",
            head.source,
            head.kind,
            facts.join(", ")
        ));
        id
    }
}

/// The header of an object by `member`.
pub fn header(member: &Member, kind: Kind) -> Header {
    let writer = vault_format::id::WriterId::of(&member.signer.verifying_key().to_bytes());
    Header { kind, repository: REPOSITORY, domain: member.domain, writer }
}

/// Reproducible bytes that do not compress.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0u8; length];
    ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut out);
    out
}

/// Reproducible text that compresses.
pub fn text(seed: u64, lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|line| format!("{seed}: line {line} of a file, {}\n", line * line % 97).into_bytes()).collect()
}
