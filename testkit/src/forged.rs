//! What somebody makes by hand with a member's key, and no program of ours would: packs whose directories lie about what
//! they hold or who made them, index objects that tell of them, snapshots and records that name what never was. All of it
//! is well formed, and signed with the key of the repository's holder.

use crate::world::noise;
use vault::repository::Repository;
use vault_format::envelope::Wraps;
use vault_format::frame::FrameCodec;
use vault_format::header::{Header, Kind};
use vault_format::id::{Class, ObjectId, WriterId};
use vault_format::index::{self, Index, PackEntry, Sketches};
use vault_format::journal::Record;
use vault_format::name::Name;
use vault_format::object::Author;
use vault_format::pack::{NewFrame, PackBuilder};
use vault_format::snapshot::{self, Body, Head, NewSnapshot};

/// The holder of a key, who lies.
pub struct Liar<'r>(pub &'r Repository);

impl Liar<'_> {
    fn header(&self, kind: Kind) -> Header {
        let keys = self.0.keys();
        Header { kind, repository: self.0.id(), domain: keys.domain(), writer: keys.writer() }
    }

    fn author<T>(&self, make: impl FnOnce(&Author<'_>, [u8; 32]) -> T) -> T {
        let keys = self.0.keys();
        let book = &keys.own_book();
        let author = Author { repository: self.0.id(), domain: keys.domain(), signer: keys.signer(), book };
        make(&author, self.0.runtime().random())
    }

    /// Puts a pack that says that it holds the blobs of another one, and holds noise; its header names `said`.
    pub fn claim(&self, other: &PackEntry, said: WriterId) -> vault::backend::Result<(PackEntry, Wraps)> {
        let (keys, runtime) = (self.0.keys(), self.0.runtime());
        let kind = if other.class == Class::Data { Kind::DataPack } else { Kind::MetadataPack };
        let header = Header { writer: said, ..self.header(kind) };
        let (secret, wraps) = keys.new_run(keys.domain(), true, &header, runtime).unwrap();
        let salt = runtime.random();
        let mut pack = PackBuilder::new(header, salt, secret.pack_key(other.class, &salt)).unwrap();
        let mut blobs = other.directory.blobs.as_slice();
        for frame in &other.directory.frames {
            let (own, rest) = blobs.split_at(frame.blobs as usize);
            blobs = rest;
            let plain: u32 = own.iter().map(|blob| blob.length).sum();
            let bytes = noise(u64::from(salt[0]), plain as usize);
            pack.push(NewFrame::whole(FrameCodec::Raw, &bytes, own)).unwrap();
        }
        let finished = pack.finish(&keys.own_book(), &wraps, keys.signer()).unwrap();
        let (id, size) = (ObjectId::of(&finished.bytes), finished.bytes.len() as u64);
        self.0.backend().put(&Name::Pack(other.class, id).to_string(), &finished.bytes)?;
        let (salt, directory) = (finished.salt, finished.directory);
        Ok((PackEntry { id, class: other.class, size, writer: said, salt, wraps: 0, directory }, wraps))
    }

    /// Puts an index object that tells of one pack, under a source.
    pub fn tell(&self, source: &str, (pack, wraps): (PackEntry, Wraps)) -> vault::backend::Result<()> {
        let opened = vec![pack.id];
        let index = Index { packs: vec![pack], wraps: vec![wraps], opened, ..Index::default() };
        let stored = self.author(|author, salt| index::seal(author, &salt, &index, &Sketches::default()).unwrap());
        let keys = self.0.keys();
        let name = Name::Index(keys.domain(), keys.own_book().source_label(source), ObjectId::of(&stored));
        self.0.backend().put(&name.to_string(), &stored)
    }

    /// Puts a snapshot with a head as it is given.
    pub fn snapshot(&self, head: &Head) -> vault::backend::Result<()> {
        let keys = self.0.keys();
        let (secret, wraps) =
            keys.new_run(keys.domain(), true, &self.header(Kind::Snapshot), self.0.runtime()).unwrap();
        let new = NewSnapshot { secret: &secret, wraps: &wraps, head, body: &Body::default() };
        let stored = self.author(|author, salt| snapshot::seal(author, &salt, &new).unwrap());
        let label = keys.own_book().source_label(&head.source);
        self.0.backend().put(&Name::Snapshot(keys.domain(), label, ObjectId::of(&stored)).to_string(), &stored)
    }

    /// Puts a journal record as it is given.
    pub fn record(&self, record: &Record) -> vault::backend::Result<()> {
        let stored = self.author(|author, salt| record.seal(author, &salt).unwrap());
        let name = Name::Journal(self.0.keys().domain(), 2026, 1, ObjectId::of(&stored));
        self.0.backend().put(&name.to_string(), &stored)
    }
}
