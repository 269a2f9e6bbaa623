//! The committed golden repositories are what this crate writes today, and every object of them opens.
//! `VAULT_WRITE_GOLDEN=1 cargo test -p vault-format golden` writes them anew.

use crate::support::{Repo, golden, golden_folder};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use vault_format::config::Config;
use vault_format::directory::Directory;
use vault_format::envelope::{RunSecret, Wraps};
use vault_format::header::{Header, Kind};
use vault_format::id::{Class, DomainId, ObjectId};
use vault_format::index;
use vault_format::journal::Record;
use vault_format::key_file;
use vault_format::mark::Mark;
use vault_format::month::Month;
use vault_format::name::Name;
use vault_format::order::Order;
use vault_format::pack::PackEnd;
use vault_format::slot::Slot;
use vault_format::snapshot::Snapshot;

fn files_below(folder: &Path, prefix: &str, out: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            files_below(&entry.path(), &format!("{name}/"), out);
        } else {
            out.insert(name, fs::read(entry.path()).unwrap());
        }
    }
}

#[test]
fn committed_repositories_are_what_is_written_today() {
    for (name, repo) in golden() {
        let folder = golden_folder().join(name);
        let made = repo.all();
        if std::env::var_os("VAULT_WRITE_GOLDEN").is_some() {
            let _ = fs::remove_dir_all(&folder);
            for (path, bytes) in &made {
                let path = folder.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
        }
        let mut found = BTreeMap::new();
        files_below(&folder, "", &mut found);
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&made), "{name}: other objects than are committed: did the format change?");
        assert!(found == made, "{name}: an object has other bytes than are committed: did the format change?");
        assert!(made.values().map(Vec::len).sum::<usize>() < 200_000, "{name} is too large to commit");
    }
}

#[test]
fn every_object_opens() {
    for (_, repo) in golden() {
        let keys = verifying_keys(&repo);
        for (path, bytes) in &repo.files {
            let name = Name::parse(path).unwrap();
            assert!(name.id().is_none_or(|id| id == ObjectId::of(bytes)), "{path}");
            open(&repo, &keys, &name, bytes);
        }
    }
}

/// Verifying keys by domain, out of the slots: each golden domain has one writer.
fn verifying_keys(repo: &Repo) -> BTreeMap<DomainId, [u8; 32]> {
    let slots = repo.files.iter().filter(|(path, _)| path.starts_with("keys/"));
    slots.map(|(_, bytes)| Slot::parse(bytes).unwrap().info).map(|info| (info.domain, info.verifying)).collect()
}

fn open(repo: &Repo, keys: &BTreeMap<DomainId, [u8; 32]>, name: &Name, bytes: &[u8]) {
    let owner = repo.owner.public().verifying;
    let repository = crate::support::REPOSITORY;
    match name {
        Name::Config | Name::ConfigCopy => drop(Config::open(bytes, Some(&owner)).unwrap()),
        Name::Slot(_) => {
            let slot = Slot::parse(bytes).unwrap();
            slot.verify(&owner).unwrap();
            if slot.info.kdf.is_some() {
                assert_eq!(slot.open(crate::support::PASSWORD.as_bytes()).unwrap().config, repo.config);
            }
        }
        Name::Pack(Class::Data, _) => drop(open_pack(repo, bytes, Kind::DataPack)),
        Name::Pack(Class::Metadata, _) => drop(open_pack(repo, bytes, Kind::MetadataPack)),
        Name::Wal(..) => assert_eq!(open_pack(repo, bytes, Kind::Wal).frames.len(), 1),
        Name::Index(domain, _, _) => {
            let object = index::parse(bytes, repository).unwrap();
            object.verify(&keys[domain]).unwrap();
            let book = repo.owner.book(*domain);
            for pack in index::open(&object, &book).unwrap().packs {
                let stored = &repo.files[&Name::Pack(pack.class, pack.id).to_string()];
                assert_eq!(stored.len() as u64, pack.size);
                let kind = if pack.class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
                assert_eq!(open_pack(repo, stored, kind), pack.directory);
            }
            index::open_sketches(&object, &book).unwrap();
        }
        Name::Snapshot(domain, label, _) => {
            let snapshot = Snapshot::parse(bytes, repository).unwrap();
            snapshot.verify(&keys[domain]).unwrap();
            let book = repo.owner.book(*domain);
            assert_eq!(book.source_label(&snapshot.head(&book).unwrap().source), *label);
            snapshot.body(&secret(repo, &snapshot.wraps, snapshot.header())).unwrap();
        }
        Name::Order(_) => {
            let object = Order::parse(bytes, repository, &owner).unwrap();
            let book = repo.owner.book(object.header.domain);
            Order::open(&object, Some(&book)).unwrap();
        }
        Name::Mark(_) => drop(Mark::open(bytes, repository, &owner).unwrap()),
        Name::Journal(domain, ..) => {
            let object = Record::parse(bytes, repository).unwrap();
            object.verify(&keys[domain]).unwrap();
            Record::open(&object, &repo.owner.book(*domain)).unwrap();
        }
        Name::Month(domain, ..) => {
            for (_, bytes) in Month::open(bytes, (repository, *domain), &owner).unwrap().into_records() {
                let object = Record::parse(&bytes, repository).unwrap();
                object.verify(&keys[domain]).unwrap();
                Record::open(&object, &repo.owner.book(*domain)).unwrap();
            }
        }
    }
}

/// The secret as the owner opens it, and, where a domain's wrap exists, as a member does.
fn secret(repo: &Repo, wraps: &Wraps, header: &Header) -> RunSecret {
    let scope = header.scope();
    let secret = RunSecret::open_as_owner(wraps, &repo.owner.sealing(), &scope).unwrap();
    if wraps.reaches(header.domain) {
        let read = repo.owner.read(header.domain);
        let again = RunSecret::open_as_member(wraps, header.domain, &read, &scope).unwrap();
        assert_eq!(again.body_key(), secret.body_key());
    }
    secret
}

fn open_pack(repo: &Repo, bytes: &[u8], kind: Kind) -> Directory {
    let header = Header::decode(bytes, kind, crate::support::REPOSITORY).unwrap();
    let end = PackEnd::parse(bytes, bytes.len() as u64).unwrap();
    let directory = end.directory(&header, &repo.owner.book(header.domain)).unwrap();
    let class = if kind == Kind::MetadataPack { Class::Metadata } else { Class::Data };
    let key = secret(repo, &end.wraps, &header).pack_key(class, &end.salt);
    for place in directory.places() {
        let frame = &directory.frames[place.frame as usize];
        let sealed = &bytes[place.offset as usize..place.offset as usize + frame.stored as usize];
        let seal = frame.seal(&header, class, place.plain);
        let encoded = seal.open(&key, sealed).unwrap();
        if frame.bases.is_empty() {
            let plain = seal.decode(encoded, &[]).unwrap();
            let blob = &plain[place.at as usize..(place.at + place.blob.length) as usize];
            assert_eq!(repo.owner.id_key().blob_id(place.blob.kind, blob), place.blob.id);
        }
    }
    directory
}

#[test]
fn key_files_open() {
    for (_, repo) in golden() {
        for (name, bytes) in repo.beside.iter().filter(|(name, _)| name.ends_with(".key")) {
            assert_eq!(key_file::decode(bytes).unwrap().config, repo.config, "{name}");
        }
    }
}
