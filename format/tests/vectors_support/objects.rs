//! Vectors of whole objects: each golden object, and what must be refused of it.

use super::make::{Fields, Maker, fields, raw};
use super::pages::edit;
use crate::support::owner::body;
use crate::support::{EPOCH, Member, PASSWORD, REPOSITORY, Repo, golden, header, owner_keys};
use vault_format::bundle::{Bundle, Role};
use vault_format::codec::Stored;
use vault_format::config::Config;
use vault_format::envelope::{RunSecret, Wraps};
use vault_format::gear::{ChunkProfile, PROFILE_DEFAULT};
use vault_format::header::{Header, Kind};
use vault_format::id::{BlobId, Class, DomainId, ObjectId, OriginMark, RunId, SetId, WriterId};
use vault_format::index::{Index, Sketch, Sketches};
use vault_format::key::Key;
use vault_format::key_file;
use vault_format::mark::Mark;
use vault_format::month::Month;
use vault_format::object::SignedObject;
use vault_format::order::{Action, Order};
use vault_format::section::SectionSeal;
use vault_format::slot::{self, KDF_FLOOR, KdfParams, NewPassword, NewSlot, SlotInfo};
use vault_format::snapshot::{Body, Head, Statistics};
use vault_format::tree::TreeRoot;

const SALT: [u8; 32] = [0x5A; 32];

fn first<'a>(repo: &'a Repo, prefix: &str) -> &'a [u8] {
    repo.files.iter().find(|(name, _)| name.starts_with(prefix)).map(|(_, bytes)| bytes.as_slice()).unwrap()
}

/// An object with any sections, properly signed.
fn signed(member: &Member, kind: Kind, domain: DomainId, sections: &[Vec<u8>]) -> Vec<u8> {
    let header = Header { domain, ..header(member, kind) };
    SignedObject::assemble(&header, &SALT, sections, &member.signer).unwrap()
}

fn sealed<T: Stored>(member: &Member, kind: Kind, number: u8, key: &Key, value: &T) -> Vec<u8> {
    let header = header(member, kind);
    SectionSeal { header: &header, salt: &SALT, number, bound: &[] }.seal(key, &raw(value)).unwrap()
}

pub fn all(maker: &mut Maker) {
    let owner = golden().remove(0).1;
    let member = owner.owner_member();
    let verifying = owner.owner.public().verifying;
    let keys = [("repository", &REPOSITORY.0[..]), ("verifying", &verifying), ("book", member.book.expose())];
    maker.object("config", "config", first(&owner, "config"), &keys);
    maker.object("mark", "mark", first(&owner, "marks/"), &keys);
    maker.object("order", "order", first(&owner, "orders/"), &keys);
    maker.object("journal", "journal", first(&owner, &format!("journal/{}/2025-06/", member.domain)), &keys);
    maker.object("index", "index", first(&owner, "index/"), &keys);
    config(maker, &member, &keys);
    marks_and_orders(maker, &member, &keys);
    months(maker, &owner, &member);
    indexes(maker, &member, &keys);
    snapshots(maker, &owner, &member, &keys);
    slots(maker, &owner);
    key_files(maker);
    packs(maker, &owner, &keys);
}

fn config(maker: &mut Maker, member: &Member, keys: &[(&str, &[u8])]) {
    let good = Config {
        profiles: vec![PROFILE_DEFAULT],
        pack_bytes: 1 << 20,
        required_features: 0,
        owner: member.signer.verifying_key().to_bytes(),
        created: EPOCH,
    };
    let profile = |id, min, average, max| ChunkProfile { id, min, average, max };
    let with = |profiles| Config { profiles, ..good.clone() };
    let bad = [
        ("required-feature", "feature", Config { required_features: 4, ..good.clone() }),
        ("no-profile", "limit", with(Vec::new())),
        ("profiles-out-of-order", "invalid", with(vec![PROFILE_DEFAULT, PROFILE_DEFAULT])),
        ("odd-size", "limit", with(vec![profile(1, 65, 256, 512)])),
        ("average-not-a-power", "limit", with(vec![profile(1, 64, 300, 512)])),
        ("average-without-mask", "limit", with(vec![profile(1, 64, 64, 512)])),
        ("chunk-too-large", "limit", with(vec![profile(1, 64, 256, 2 << 20)])),
        ("tiny-packs", "limit", Config { pack_bytes: 1, ..good.clone() }),
    ];
    for (name, expect, config) in bad {
        let header = Header { domain: DomainId::default(), ..header(member, Kind::Config) };
        let bytes = SignedObject::assemble(&header, &[0; 32], &[raw(&config)], &member.signer).unwrap();
        maker.add(&format!("config/{name}"), expect, fields("config", keys), bytes);
    }
    let salted = signed(member, Kind::Config, DomainId::default(), &[raw(&good)]);
    maker.add("config/with-a-salt", "invalid", fields("config", keys), salted);
    let other = Key::new([9; 32]).signing_key();
    maker.add("config/another-owner", "origin", fields("config", keys), good.seal(REPOSITORY, &other).unwrap());
}

fn marks_and_orders(maker: &mut Maker, member: &Member, keys: &[(&str, &[u8])]) {
    let none = DomainId::default();
    let pack = (Class::Data, ObjectId([1; 32]));
    let twice = Mark::Condemn { packs: vec![pack, pack], snapshots: Vec::new(), grace: 1 };
    maker.add("mark/pack-twice", "invalid", fields("mark", keys), signed(member, Kind::Mark, none, &[raw(&twice)]));
    let swept = Mark::Swept { mark: ObjectId([1; 32]) };
    let placed = signed(member, Kind::Mark, member.domain, &[raw(&swept)]);
    maker.add("mark/in-a-domain", "origin", fields("mark", keys), placed);
    let mut lying = vec![0; 4];
    lying.extend_from_slice(&u64::MAX.to_le_bytes());
    let lying = signed(member, Kind::Mark, none, &[lying]);
    maker.add("mark/lying-count", "limit", fields("mark", keys), lying);
    let unknown = signed(member, Kind::Mark, none, &[vec![7, 0, 0, 0]]);
    maker.add("mark/unknown-choice", "invalid", fields("mark", keys), unknown);

    let order = |number, action| Order { number, time: EPOCH, action, after: Vec::new() };
    for (number, action) in crate::support::owner::actions(&[ObjectId([8; 32])]).into_iter().enumerate() {
        let bytes = order(7, action).seal(&member.author(), &[number as u8; 32]).unwrap();
        maker.add(&format!("order/ok-action-{number}"), "ok", fields("order", keys), bytes);
    }
    let after = Order { after: vec![ObjectId([6; 32]), ObjectId([7; 32])], ..order(8, Action::Hold(Vec::new())) };
    let after = after.seal(&member.author(), &[8; 32]).unwrap();
    maker.add("order/ok-after", "ok", fields("order", keys), after);
    let zero = sealed(member, Kind::Order, 0, &member.book, &order(0, Action::Hold(Vec::new())));
    let zero = signed(member, Kind::Order, member.domain, &[zero]);
    maker.add("order/number-0", "invalid", fields("order", keys), zero);
    let clear = signed(member, Kind::Order, none, &[raw(&order(1, Action::Hold(Vec::new())))]);
    maker.add("order/hold-in-clear", "invalid", fields("order", keys), clear);
    let hidden = sealed(member, Kind::Order, 0, &member.book, &order(1, Action::Require(1)));
    let hidden = signed(member, Kind::Order, member.domain, &[hidden]);
    maker.add("order/require-sealed", "invalid", fields("order", keys), hidden);
    let foreign = sealed(member, Kind::Order, 0, &Key::new([1; 32]), &order(1, Action::Hold(Vec::new())));
    let foreign = signed(member, Kind::Order, member.domain, &[foreign]);
    maker.add("order/another-book-key", "unauthentic", fields("order", keys), foreign);
}

fn months(maker: &mut Maker, owner: &Repo, member: &Member) {
    let verifying = owner.owner.public().verifying;
    let keys = [("repository", &REPOSITORY.0[..]), ("verifying", &verifying), ("domain", &member.domain.0[..])];
    let stored = owner.files.iter().find(|(name, _)| name.starts_with("journal/") && name.matches('/').count() == 2);
    maker.object("month", "month", stored.unwrap().1, &keys);
    let months = |records: &[&[u8]]| {
        let mut text = (records.len() as u64).to_le_bytes().to_vec();
        for record in records {
            text.extend_from_slice(&(record.len() as u64).to_le_bytes());
            text.extend_from_slice(record);
        }
        signed(member, Kind::Month, member.domain, &[text])
    };
    let mut two: [&[u8]; 2] = [b"one", b"two"];
    two.sort_by_key(|bytes| ObjectId::of(bytes));
    let [first, second] = two;
    let cases = [
        ("ok-two", "ok", months(&[first, second])),
        ("out-of-order", "invalid", months(&[second, first])),
        ("twice", "invalid", months(&[first, first])),
        ("no-records", "invalid", months(&[])),
        ("lying-count", "limit", signed(member, Kind::Month, member.domain, &[u64::MAX.to_le_bytes().to_vec()])),
        (
            "another-domain",
            "origin",
            signed(member, Kind::Month, DomainId::default(), &[raw(&Month::of([b"x".to_vec()]))]),
        ),
    ];
    for (name, expect, bytes) in cases {
        maker.add(&format!("month/{name}"), expect, fields("month", &keys), bytes);
    }
}

fn indexes(maker: &mut Maker, member: &Member, keys: &[(&str, &[u8])]) {
    let none = Sketches::default;
    let sketches = |features: Vec<u32>| Sketches(vec![Sketch { blob: BlobId([1; 32]), features }]);
    let cases = [
        ("ok-empty", "ok", Index::default(), Sketches::default()),
        ("wraps-empty", "limit", Index { wraps: vec![Wraps(Vec::new())], ..Index::default() }, Sketches::default()),
        ("vouches-for-strangers", "invalid", Index { opened: vec![ObjectId([1; 32])], ..Index::default() }, none()),
        ("features-out-of-order", "limit", Index::default(), sketches(vec![2, 1])),
        ("features-twice", "limit", Index::default(), sketches(vec![2, 2])),
        ("too-many-features", "limit", Index::default(), sketches((0..9).collect())),
    ];
    for (name, expect, index, sketches) in cases {
        let first = sealed(member, Kind::Index, 0, &member.book, &index);
        let second = sealed(member, Kind::Index, 1, &member.book, &sketches);
        let bytes = signed(member, Kind::Index, member.domain, &[first.clone(), second.clone()]);
        maker.add(&format!("index/{name}"), expect, fields("index", keys), bytes);
        if name == "ok-empty" {
            let swapped = signed(member, Kind::Index, member.domain, &[second, first]);
            maker.add("index/sections-swapped", "unauthentic", fields("index", keys), swapped);
        }
    }
}

fn snapshots(maker: &mut Maker, owner: &Repo, member: &Member, keys: &[(&str, &[u8])]) {
    let secret = RunSecret::new([0x33; 32]);
    let mut keys = keys.to_vec();
    keys.push(("secret", &[0x33; 32]));
    let stored = first(owner, "snapshots/");
    let wraps = vault_format::snapshot::Snapshot::parse(stored, REPOSITORY).unwrap().wraps;
    let head = |source: &str| Head {
        source: source.to_owned(),
        kind: "directory".to_owned(),
        set: Some(SetId([11; 16])),
        time: EPOCH,
        run: RunId([1; 16]),
        root: TreeRoot { id: BlobId([2; 32]), bytes: 3, count: 4 },
        parent: None,
        seen: vec![ObjectId([4; 32])],
        statistics: Statistics::default(),
        profile: 0,
        expires: Some(1),
        original: None,
        place: OriginMark([5; 16]),
        host: OriginMark([6; 16]),
        terms: OriginMark([7; 16]),
        left_of: Some(ObjectId([7; 32])),
        turn: 8,
        taken_by: Some(WriterId([9; 16])),
        orders: vec![ObjectId([10; 32])],
    };
    let mut unsorted = body();
    unsorted.tags = vec!["b".to_owned(), "a".to_owned()];
    let mut mode = body();
    mode.root.as_mut().unwrap().mode = 0o10000;
    let kind = |kind: &str| Head { kind: kind.to_owned(), ..head("home") };
    let cases = [
        ("good", "ok", head("home"), body(), &secret),
        ("kind-in-upper-case", "invalid", kind("Postgres"), body(), &secret),
        ("kind-of-33-bytes", "invalid", kind(&"k".repeat(33)), body(), &secret),
        ("source-latest", "invalid", head("latest"), body(), &secret),
        ("source-with-slash", "invalid", head("a/b"), body(), &secret),
        ("source-empty", "invalid", head(""), body(), &secret),
        ("tags-out-of-order", "invalid", head("home"), unsorted, &secret),
        ("mode-of-13-bits", "invalid", head("home"), mode, &secret),
        ("body-of-another-run", "unauthentic", head("home"), body(), &RunSecret::new([1; 32])),
    ];
    for (name, expect, head, body, secret) in cases {
        let first = sealed(member, Kind::Snapshot, 1, &member.book, &head);
        let second = sealed(member, Kind::Snapshot, 2, &secret.body_key(), &body);
        let bytes = signed(member, Kind::Snapshot, member.domain, &[raw(&wraps), first, second]);
        if expect == "ok" {
            maker.object("snapshot", "snapshot", &bytes, &keys);
        } else {
            maker.add(&format!("snapshot/{name}"), expect, fields("snapshot", &keys), bytes);
        }
    }
    let facts = |edited: Vec<u8>| {
        let header = header(member, Kind::Snapshot);
        let first = sealed(member, Kind::Snapshot, 1, &member.book, &head("home"));
        let second = SectionSeal { header: &header, salt: &SALT, number: 2, bound: &[] };
        let second = second.seal(&secret.body_key(), &edited).unwrap();
        signed(member, Kind::Snapshot, member.domain, &[raw(&wraps), first, second])
    };
    let two = Body { facts: [("fact-a", "1"), ("fact-b", "2")].into_iter().collect(), ..body() };
    for (name, from, to) in [("facts-out-of-order", b"fact-a", b"fact-c"), ("fact-twice", b"fact-a", b"fact-b")] {
        let bytes = facts(edit(&raw(&two), from, to));
        maker.add(&format!("snapshot/{name}"), "invalid", fields("snapshot", &keys), bytes);
    }
    for (name, fact, value) in [("fact-without-a-name", "", 1), ("fact-too-long", "fact", 65537)] {
        let one = Body { facts: [(fact, "x".repeat(value))].into_iter().collect(), ..body() };
        maker.add(&format!("snapshot/{name}"), "limit", fields("snapshot", &keys), facts(raw(&one)));
    }
    let none = signed(member, Kind::Snapshot, member.domain, &[raw(&Wraps(Vec::new())), Vec::new(), Vec::new()]);
    maker.add("snapshot/no-wraps", "limit", fields("snapshot", &keys), none);
}

fn slots(maker: &mut Maker, owner: &Repo) {
    let bytes = first(owner, "keys/");
    let with = |password: &str| {
        let mut out = fields("slot", &[]);
        out.insert("password".to_owned(), password.to_owned());
        out
    };
    maker.add("slot/ok", "ok", with(PASSWORD), bytes.to_vec());
    maker.damage("slot", bytes, &with(PASSWORD), "signature");
    maker.add("slot/wrong-password", "password", with("guess"), bytes.to_vec());
    let member = owner.owner_member();
    let info = |kdf, commitment| SlotInfo {
        role: Role::Owner,
        label: "owner".to_owned(),
        verifying: [1; 32],
        domain: member.domain,
        created: EPOCH,
        kdf,
        commitment,
    };
    let params = |memory_kib, passes, lanes| Some(KdfParams { memory_kib, passes, lanes });
    let none = DomainId::default();
    for (name, expect, info) in [
        ("memory-below-floor", "limit", info(params(64, 1, 1), [0; 32])),
        ("memory-4-tib", "limit", info(params(u32::MAX, 1, 1), [0; 32])),
        ("passes-0", "limit", info(params(8192, 0, 1), [0; 32])),
        ("passes-4-billion", "limit", info(params(8192, u32::MAX, 1), [0; 32])),
        ("lanes-17", "limit", info(params(8192, 1, 17), [0; 32])),
        ("no-password-but-commitment", "invalid", info(None, [1; 32])),
        ("no-password", "noaccess", info(None, [0; 32])),
        ("commitment-of-another-key", "password", info(Some(KDF_FLOOR), [1; 32])),
    ] {
        let bytes = signed(&member, Kind::Slot, none, &[raw(&info), Vec::new()]);
        maker.add(&format!("slot/{name}"), expect, with(PASSWORD), bytes);
    }
    let bundle = owner.owner.bundle(owner.config);
    let new = NewSlot { bundle: &bundle, label: "x".to_owned(), created: 0, domain: none, verifying: [1; 32] };
    let thief = Key::new([7; 32]).signing_key();
    let password = NewPassword { password: PASSWORD.as_bytes(), kdf: KDF_FLOOR };
    let forged = slot::seal(&new, Some(password), &SALT, &thief).unwrap();
    maker.add("slot/forged-by-another-key", "origin", with(PASSWORD), forged);
}

fn key_files(maker: &mut Maker) {
    let roles = golden().remove(1).1;
    for (name, bytes) in roles.beside.iter().filter(|(name, _)| name.ends_with(".key")) {
        maker.add(
            &format!("keyfile/ok-{}", name.trim_end_matches(".key")),
            "ok",
            fields("keyfile", &[]),
            bytes.clone(),
        );
    }
    let good = owner_keys().bundle(roles.config);
    let bytes = key_file::encode(&good).unwrap();
    maker.damage("keyfile", &bytes, &fields("keyfile", &[]), "unauthentic");
    let file = |bundle: &Bundle, writer: WriterId| {
        let header = Header { kind: Kind::KeyFile, repository: REPOSITORY, domain: DomainId::default(), writer };
        let mut out = header.encode().to_vec();
        out.extend_from_slice(&raw(bundle));
        let check = blake3::hash(&out);
        out.extend_from_slice(check.as_bytes());
        out
    };
    let mut other = good.clone();
    other.owner.verifying = [1; 32];
    let mut short = good.clone();
    short.owner.sealing.pop();
    let suite = Bundle { suite: 2, ..good.clone() };
    let elsewhere = vault_format::owner::OwnerKeys::new(Key::new([1; 32]), vault_format::id::RepositoryId([1; 16]));
    let zero = WriterId::default();
    for (name, expect, bytes) in [
        ("root-of-another-owner", "invalid", file(&other, zero)),
        ("short-sealing-key", "invalid", file(&short, zero)),
        ("suite-inside", "suite", file(&suite, zero)),
        ("bundle-of-another-repository", "repository", file(&elsewhere.bundle(roles.config), zero)),
        ("with-a-writer", "origin", file(&good, WriterId([1; 16]))),
    ] {
        maker.add(&format!("keyfile/{name}"), expect, fields("keyfile", &[]), bytes);
    }
}

/// The signature covers all other bytes, of a kind that a directory does not bind too.
fn signatures(maker: &mut Maker, fields: &Fields, bytes: &[u8]) {
    let end = bytes.len();
    let offset = u32::from_le_bytes(bytes[end - 16..end - 12].try_into().unwrap()) as usize;
    let mut put = |name: &str, expect: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.to_vec();
        edit(&mut bytes);
        maker.add(&format!("signed-pack/{name}"), expect, fields.clone(), bytes);
    };
    put("ok", "ok", &|_| {});
    put("frame-flipped", "signature", &|bytes| bytes[70] ^= 1);
    put("signature-flipped", "signature", &|bytes| bytes[offset - 1] ^= 1);
    put("directory-flipped", "signature", &|bytes| bytes[offset] ^= 1);
    put("wraps-flipped", "signature", &|bytes| bytes[end - 60] ^= 1);
    put("salt-flipped", "signature", &|bytes| bytes[end - 20] ^= 1);
    put("of-another-writer", "origin", &|bytes| bytes[50] ^= 1);
    put("other-frames-before-the-end", "signature", &|bytes| bytes[100..offset - 64].reverse());
    put("no-room-for-a-signature", "truncated", &|bytes| bytes.splice(64..offset, []).for_each(drop));
}

fn packs(maker: &mut Maker, owner: &Repo, keys: &[(&str, &[u8])]) {
    for (class, prefix) in [("d", "packs/d/"), ("m", "packs/m/")] {
        let bytes = owner.files.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, bytes)| bytes);
        let bytes = bytes.min_by_key(|bytes| bytes.len()).unwrap().clone();
        let mut fields = fields("pack", keys);
        fields.insert("class".to_owned(), class.to_owned());
        let area = format!("pack-{class}");
        maker.add(&format!("{area}/ok"), "ok", fields.clone(), bytes.clone());
        maker.header_damage(&area, &bytes, &fields);
        let end = bytes.len();
        let mut put = |name: &str, expect: &str, edit: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = bytes.clone();
            edit(&mut bytes);
            maker.add(&format!("{area}/{name}"), expect, fields.clone(), bytes);
        };
        put("truncated", "truncated", &|bytes| bytes.truncate(end - 1));
        put("extended", "limit", &|bytes| bytes.push(0));
        put("directory-flipped", "unauthentic", &|bytes| {
            let at = u32::from_le_bytes(bytes[end - 16..end - 12].try_into().unwrap());
            bytes[at as usize] ^= 1;
        });
        put("wraps-flipped", "unauthentic", &|bytes| bytes[end - 60] ^= 1);
        put("salt-flipped", "unauthentic", &|bytes| bytes[end - 20] ^= 1);
        put("writer-flipped", "unauthentic", &|bytes| bytes[50] ^= 1);
        put("directory-past-the-end", "invalid", &|bytes| bytes[end - 16] ^= 1);
        put("directory-in-the-header", "invalid", &|bytes| bytes[end - 16..end - 12].fill(0));
        put("huge-directory", "limit", &|bytes| bytes[end - 9] = 0xFF);
        put("one-byte-removed-within", "invalid", &|bytes| bytes.splice(100..101, []).for_each(drop));
        if class == "d" {
            signatures(maker, &super::make::fields("signed-pack", keys), &bytes);
        }
    }
}
