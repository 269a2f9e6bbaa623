//! `v1-roles`: an owner, a client and a writer, each with a domain of its own and one snapshot in it.

use super::owner::body;
use super::tree::metadata;
use super::{EPOCH, Member, Repo, Run, text};
use vault_format::bundle::{BundleKeys, Role};
use vault_format::id::{ObjectId, OriginMark};
use vault_format::key::Key;
use vault_format::key_file;
use vault_format::name::Name;
use vault_format::slot::{self, NewSlot};
use vault_format::snapshot::{Head, Statistics};

/// Builds the repository.
pub fn build() -> Repo {
    let mut repo = Repo::new(2);
    let owner = repo.owner_member();
    let client = member(&mut repo, "laptop", "client", Role::Client);
    let writer = member(&mut repo, "server", "writer", Role::Writer);
    snapshot(&mut repo, &owner, "owner-home", 1);
    snapshot(&mut repo, &client, "laptop-home", 2);
    snapshot(&mut repo, &writer, "server-etc", 3);
    repo
}

/// Adds a member: a slot that announces it, and its key file beside the repository.
fn member(repo: &mut Repo, name: &str, file: &str, role: Role) -> Member {
    let domain = repo.owner.domain(name);
    let signing = Key::new(repo.random());
    let bundle = repo.owner.member_bundle(repo.config, domain, signing.clone(), role).unwrap();
    let signer = signing.signing_key();
    let verifying = signer.verifying_key().to_bytes();
    let new = NewSlot { bundle: &bundle, label: name.to_owned(), created: EPOCH, domain, verifying };
    let salt = repo.random();
    let stored = slot::seal(&new, None, &salt, &repo.owner.signing().signing_key()).unwrap();
    repo.put(stored, Name::Slot);
    repo.beside.insert(format!("{file}.key"), key_file::encode(&bundle).unwrap().to_vec());
    let BundleKeys::Member { book, read, .. } = &bundle.keys else { panic!("a member's bundle") };
    Member { domain, signer, book: book.clone(), read: read.clone() }
}

fn snapshot(repo: &mut Repo, member: &Member, source: &str, seed: u64) -> ObjectId {
    let mut run = Run::new(repo, member);
    let bytes = text(seed, 30);
    let file = run.small_file(b"folder/data.txt", &[&bytes[..500], &bytes[500..]], metadata(seed));
    let root = run.tree(vec![file], 8);
    let folder = run.directory(b"folder", root, metadata(seed + 1));
    let link = run.symlink(b"latest", b"folder/data.txt", metadata(seed + 2));
    let root = run.tree(vec![folder, link], 8);
    let head = Head {
        source: source.to_owned(),
        kind: String::new(),
        set: None,
        time: EPOCH + seed as i64,
        run: run.id,
        root,
        parent: None,
        seen: Vec::new(),
        statistics: Statistics::default(),
        profile: 2,
        expires: None,
        original: None,
        place: OriginMark([7; 16]),
        host: OriginMark([8; 16]),
        terms: OriginMark([9; 16]),
        left_of: None,
        turn: 0,
        taken_by: None,
        orders: Vec::new(),
    };
    run.commit(&head, &body())
}
