//! Replays the corpora of the fuzz targets. `VAULT_WRITE_CORPUS=1 cargo test -p vault-format corpus` adds what
//! the golden repositories and the vectors hold.

#[path = "../../fuzz/src/decoders.rs"]
mod decoders;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use vault_format::codec;
use vault_format::compress::{compress, compress_delta};
use vault_format::directory::Directory;
use vault_format::envelope::RunSecret;
use vault_format::header::{Header, Kind};
use vault_format::id::{BlobKind, Class};
use vault_format::index;
use vault_format::pack::PackEnd;
use vault_format::recovery;
use vault_format::snapshot::Snapshot;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// Plain and sealed bytes by target; few, since the fuzzer finds the rest.
fn seeds() -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    let mut out: BTreeMap<&'static str, Vec<Vec<u8>>> = BTreeMap::new();
    let owner = crate::support::owner::build();
    let prefixes = [
        ("config", "config.copy"),
        ("slot", "keys/"),
        ("pack", "wal/"),
        ("index", "index/"),
        ("snapshot", "snapshots/"),
        ("order", "orders/"),
        ("mark", "marks/"),
        ("journal", "journal/"),
        ("month", "journal/"),
    ];
    for (target, prefix) in prefixes {
        let found = owner.files.iter().filter(|(name, _)| name.starts_with(prefix)).take(2);
        out.entry(target).or_default().extend(found.map(|(_, bytes)| bytes.clone()));
    }
    for name in owner.files.keys() {
        out.entry("name").or_default().push(name.clone().into_bytes());
    }
    let roles = crate::support::roles::build();
    let files = roles.beside.iter().filter(|(name, _)| name.ends_with(".key")).map(|(_, bytes)| bytes.clone());
    out.entry("keyfile").or_default().extend(files);
    let words = recovery::words(owner.owner.root()).unwrap().to_string();
    out.entry("recovery").or_default().push(words.into_bytes());
    inner(&owner, &mut out);
    let (plain, base) = (crate::support::text(3, 30), crate::support::noise(3, 400));
    let zstd = compress(&plain, 3).unwrap().unwrap();
    out.entry("frame").or_default().push([&(plain.len() as u32).to_le_bytes(), zstd.as_slice()].concat());
    let changed = crate::support::noise(3, 400).split_off(10);
    let delta = compress_delta(&changed, &base, 3).unwrap().unwrap();
    out.entry("delta").or_default().push([&[0x90, 1, 0x86, 1], base.as_slice(), &delta].concat());
    out
}

/// What lies inside the seals: pages, directories, heads and bodies.
fn inner(owner: &crate::support::Repo, out: &mut BTreeMap<&'static str, Vec<Vec<u8>>>) {
    let book = owner.owner_member().book;
    for (name, bytes) in &owner.files {
        if name.starts_with("packs/m/") {
            let header = Header::decode(bytes, Kind::MetadataPack, crate::support::REPOSITORY).unwrap();
            let end = PackEnd::parse(bytes, bytes.len() as u64).unwrap();
            let directory: Directory = end.directory(&header, &book).unwrap();
            out.entry("pack").or_default().push(directory.encode().unwrap());
            let secret = RunSecret::open_as_owner(&end.wraps, &owner.owner.sealing(), &header.scope()).unwrap();
            let key = secret.pack_key(Class::Metadata, &end.salt);
            for place in directory.places() {
                let entry = &directory.frames[place.frame as usize];
                let sealed = &bytes[place.offset as usize..][..entry.stored as usize];
                let seal = entry.seal(&header, Class::Metadata, place.plain);
                let plain = seal.decode(seal.open(&key, sealed).unwrap(), &[]).unwrap();
                let target = if place.blob.kind == BlobKind::Tree { "tree" } else { "list" };
                out.entry(target).or_default().push(plain);
            }
        } else if name.starts_with("snapshots/") {
            let snapshot = Snapshot::parse(bytes, crate::support::REPOSITORY).unwrap();
            let scope = snapshot.header().scope();
            let secret = RunSecret::open_as_owner(&snapshot.wraps, &owner.owner.sealing(), &scope).unwrap();
            let entry = out.entry("snapshot").or_default();
            entry.push(codec::encode(&snapshot.head(&book).unwrap()).unwrap());
            entry.push(codec::encode(&snapshot.body(&secret).unwrap()).unwrap());
        } else if name.starts_with("index/") {
            let object = index::parse(bytes, crate::support::REPOSITORY).unwrap();
            let entry = out.entry("index").or_default();
            entry.push(codec::encode(&index::open_sketches(&object, &book).unwrap()).unwrap());
            entry.push(codec::encode(&index::open(&object, &book).unwrap()).unwrap());
        }
    }
}

#[test]
fn corpora_replay() {
    if std::env::var_os("VAULT_WRITE_CORPUS").is_some() {
        for (target, inputs) in seeds() {
            fs::create_dir_all(folder().join(target)).unwrap();
            for bytes in inputs {
                let name = blake3::hash(&bytes).to_hex()[..16].to_owned();
                fs::write(folder().join(target).join(name), bytes).unwrap();
            }
        }
    }
    for (target, run) in decoders::TARGETS {
        let folder = folder().join(target);
        let mut count = 0;
        for file in fs::read_dir(&folder).unwrap_or_else(|_| panic!("no corpus for {target}")) {
            run(&fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "the corpus of {target} is empty");
    }
}
