//! What each fuzz target does, as plain functions, so that a test replays the corpora without a fuzzer. Sealed objects
//! are opened with the keys of the golden repositories, and what lies inside the seals is decoded directly too.
//! Whatever decodes must encode to the same bytes.
#![allow(dead_code, clippy::panic, clippy::unwrap_used)]

use std::sync::OnceLock;
use vault_format::bundle::Bundle;
use vault_format::codec::{self, Stored};
use vault_format::compress::decompress_delta;
use vault_format::config::Config;
use vault_format::directory::Directory;
use vault_format::envelope::{RunSecret, Wraps};
use vault_format::frame::{FrameCodec, FrameSeal};
use vault_format::header::{Header, Kind};
use vault_format::id::{Class, DomainId, RepositoryId};
use vault_format::index::{self, Index, Sketches};
use vault_format::journal::Record;
use vault_format::key::Key;
use vault_format::key_file;
use vault_format::list::ListPage;
use vault_format::mark::Mark;
use vault_format::month::Month;
use vault_format::name::Name;
use vault_format::order::Order;
use vault_format::owner::{OWNER_DOMAIN, OwnerKeys};
use vault_format::pack::PackEnd;
use vault_format::recovery::{self, Sheet};
use vault_format::slot::{Slot, SlotInfo};
use vault_format::snapshot::{Body, Head, Snapshot};
use vault_format::tree::TreePage;

const REPOSITORY: RepositoryId = RepositoryId([0xA7; 16]);

struct Keys {
    owner: OwnerKeys,
    domain: DomainId,
    verifying: [u8; 32],
    book: Key,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let owner = OwnerKeys::new(Key::new([0x42; 32]), REPOSITORY);
        let domain = owner.domain(OWNER_DOMAIN);
        Keys { verifying: owner.public().verifying, book: owner.book(domain), domain, owner }
    })
}

/// A name and what it decodes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets by name.
pub const TARGETS: [Target; 16] = [
    ("config", config),
    ("slot", slot),
    ("pack", pack),
    ("index", index_object),
    ("tree", tree),
    ("list", list),
    ("snapshot", snapshot),
    ("order", order),
    ("mark", mark),
    ("journal", journal),
    ("month", month),
    ("frame", frame_target),
    ("delta", delta),
    ("name", name),
    ("recovery", recovery_words),
    ("keyfile", keyfile),
];

fn plain<T: Stored>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>(bytes) {
        assert_eq!(codec::encode(&value).unwrap(), bytes, "{} has two encodings", T::WHAT);
    }
}

pub fn config(bytes: &[u8]) {
    let _ = Config::open(bytes, None);
    let _ = Config::open(bytes, Some(&keys().verifying));
    plain::<Config>(bytes);
}

/// Takes slots apart; the password is not tried, since Argon2 is what would be measured.
pub fn slot(bytes: &[u8]) {
    if let Ok(slot) = Slot::parse(bytes) {
        let _ = slot.verify(&keys().verifying);
    }
    plain::<SlotInfo>(bytes);
}

pub fn pack(bytes: &[u8]) {
    plain::<Directory>(bytes);
    plain::<Wraps>(bytes);
    if let Ok(directory) = Directory::decode(bytes) {
        assert_eq!(directory.places().len(), directory.blobs.len());
    }
    for (kind, class) in
        [(Kind::DataPack, Class::Data), (Kind::MetadataPack, Class::Metadata), (Kind::Wal, Class::Data)]
    {
        let Ok(header) = Header::decode(bytes, kind, REPOSITORY) else { continue };
        let Ok(end) = PackEnd::parse(bytes, bytes.len() as u64) else { continue };
        let Ok(directory) = end.directory(&header, &keys().owner.book(header.domain)) else { continue };
        let Ok(secret) = RunSecret::open_as_owner(&end.wraps, &keys().owner.sealing(), &header.scope()) else {
            continue;
        };
        let key = secret.pack_key(class, &end.salt);
        for place in directory.places() {
            let Some(frame) = directory.frames.get(place.frame as usize) else { panic!("a place without a frame") };
            let (start, stored) = (place.offset as usize, frame.stored as usize);
            let Some(sealed) = bytes.get(start..start.saturating_add(stored)) else {
                panic!("a frame outside of its pack")
            };
            let seal = frame.seal(&header, class, place.plain);
            if let Ok(encoded) = seal.open(&key, sealed) {
                let _ = seal.decode(encoded, &[]);
            }
        }
    }
}

pub fn index_object(bytes: &[u8]) {
    plain::<Index>(bytes);
    plain::<Sketches>(bytes);
    if let Ok(object) = index::parse(bytes, REPOSITORY) {
        let _ = object.verify(&keys().verifying);
        let book = keys().owner.book(object.header.domain);
        let _ = (index::open(&object, &book), index::open_sketches(&object, &book));
    }
}

pub fn tree(bytes: &[u8]) {
    if let Ok(page) = TreePage::decode(bytes) {
        assert_eq!(page.encode().unwrap(), bytes, "a tree page has two encodings");
    }
}

pub fn list(bytes: &[u8]) {
    plain::<ListPage>(bytes);
    if let Ok(page) = ListPage::decode(bytes) {
        page.bytes().unwrap();
    }
}

pub fn snapshot(bytes: &[u8]) {
    plain::<Head>(bytes);
    plain::<Body>(bytes);
    plain::<Wraps>(bytes);
    if let Ok(snapshot) = Snapshot::parse(bytes, REPOSITORY) {
        let _ = snapshot.verify(&keys().verifying);
        let header = *snapshot.header();
        let _ = snapshot.head(&keys().owner.book(header.domain));
        if let Ok(secret) = RunSecret::open_as_owner(&snapshot.wraps, &keys().owner.sealing(), &header.scope()) {
            let _ = snapshot.body(&secret);
        }
    }
}

pub fn order(bytes: &[u8]) {
    plain::<Order>(bytes);
    if let Ok(object) = Order::parse(bytes, REPOSITORY, &keys().verifying) {
        let _ = Order::open(&object, Some(&keys().book));
    }
}

pub fn mark(bytes: &[u8]) {
    plain::<Mark>(bytes);
    let _ = Mark::open(bytes, REPOSITORY, &keys().verifying);
}

pub fn journal(bytes: &[u8]) {
    plain::<Record>(bytes);
    if let Ok(object) = Record::parse(bytes, REPOSITORY) {
        let _ = object.verify(&keys().verifying);
        let _ = Record::open(&object, &keys().owner.book(object.header.domain));
    }
}

pub fn month(bytes: &[u8]) {
    plain::<Month>(bytes);
    let _ = Month::open(bytes, (REPOSITORY, keys().domain), &keys().verifying);
}

/// The first four bytes promise a length; the rest is zstd.
pub fn frame_target(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return };
    let plain = u32::from_le_bytes(*length);
    for codec in [FrameCodec::Raw, FrameCodec::Zstd] {
        let seal = FrameSeal { repository: REPOSITORY, class: Class::Data, ordinal: 0, codec, plain };
        if let Ok(out) = seal.decode(rest.to_vec(), &[]) {
            assert_eq!(out.len(), plain as usize);
        }
        let _ = seal.open(&keys().book, rest);
    }
}

/// Two bytes of prefix length, two of plain length, the prefix, zstd.
pub fn delta(bytes: &[u8]) {
    let Some((&[a, b, c, d], rest)) = bytes.split_first_chunk::<4>() else { return };
    let (prefix, plain) = (usize::from(u16::from_le_bytes([a, b])), usize::from(u16::from_le_bytes([c, d])));
    let Some((prefix, encoded)) = rest.split_at_checked(prefix) else { return };
    if let Ok(out) = decompress_delta(encoded, prefix, plain) {
        assert_eq!(out.len(), plain);
    }
}

pub fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(name) = Name::parse(text) {
        assert_eq!(name.to_string(), text, "an object with two names");
        assert!(!text.split('/').any(|part| matches!(part, "" | "." | "..")), "{text}");
    }
}

pub fn recovery_words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(sheet) = recovery::read(text) {
        let repository = sheet.repository.unwrap_or(REPOSITORY);
        let printed = recovery::sheet(&sheet.root, repository, "a place").unwrap();
        assert_eq!(recovery::read(&printed).unwrap(), Sheet { repository: Some(repository), ..sheet });
    }
    if let Ok(root) = recovery::root(text) {
        assert_eq!(recovery::root(&recovery::words(&root).unwrap()).unwrap(), root);
    }
}

pub fn keyfile(bytes: &[u8]) {
    plain::<Bundle>(bytes);
    if let Ok(bundle) = key_file::decode(bytes) {
        assert_eq!(key_file::encode(&bundle).unwrap().as_slice(), bytes, "a key file has two encodings");
    }
}
