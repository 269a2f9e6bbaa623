//! A vector as a file, and what each decoder does with it.

use std::collections::BTreeMap;
use vault_format::compress::decompress_delta;
use vault_format::config::Config;
use vault_format::directory::Directory;
use vault_format::envelope::RunSecret;
use vault_format::error::Error;
use vault_format::frame::{FrameCodec, FrameSeal};
use vault_format::header::{Header, Kind};
use vault_format::id::{Class, DomainId, RepositoryId};
use vault_format::index;
use vault_format::journal::Record;
use vault_format::key::Key;
use vault_format::key_file;
use vault_format::list::ListPage;
use vault_format::mark::Mark;
use vault_format::month::Month;
use vault_format::name::Name;
use vault_format::order::Order;
use vault_format::pack::{self, PackEnd};
use vault_format::recovery;
use vault_format::slot::Slot;
use vault_format::snapshot::Snapshot;
use vault_format::tree::TreePage;

/// One vector.
#[derive(Clone)]
pub struct Vector {
    /// Path below `vectors`, without the suffix.
    pub path: String,
    /// `expect`, `decoder` and the keys it needs.
    pub fields: BTreeMap<String, String>,
    /// What is decoded.
    pub bytes: Vec<u8>,
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

impl Vector {
    pub fn text(&self) -> String {
        let mut out: String = self.fields.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        out.push_str("---\n");
        for line in hex(&self.bytes).as_bytes().chunks(96) {
            out.push_str(std::str::from_utf8(line).unwrap());
            out.push('\n');
        }
        out
    }

    pub fn parse(path: &str, text: &str) -> Self {
        let (head, body) = text.split_once("---\n").unwrap_or_else(|| panic!("{path} has no ---"));
        let fields = head.lines().map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{path}: {line}")));
        let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { path: path.to_owned(), fields, bytes: unhex(body) }
    }

    fn array<const N: usize>(&self, field: &str) -> [u8; N] {
        let value = self.fields.get(field).unwrap_or_else(|| panic!("{} needs {field}", self.path));
        unhex(value).try_into().unwrap()
    }

    fn key(&self, field: &str) -> Key {
        Key::new(self.array(field))
    }

    fn number(&self, field: &str) -> u32 {
        self.fields[field].parse().unwrap()
    }

    fn repository(&self) -> RepositoryId {
        RepositoryId(self.array("repository"))
    }

    /// The class of the error, or `ok`.
    pub fn outcome(&self) -> &'static str {
        match self.run() {
            Ok(()) => "ok",
            Err(error) => class(&error),
        }
    }

    fn run(&self) -> Result<(), Error> {
        let bytes = self.bytes.as_slice();
        match self.fields["decoder"].as_str() {
            "tree" => TreePage::decode(bytes).map(drop),
            "list" => ListPage::decode(bytes).map(drop),
            "directory" => Directory::decode(bytes).map(drop),
            "pack" => self.pack(),
            "signed-pack" => self.signed_pack(),
            "frame" => self.frame(),
            "delta" => decompress_delta(bytes, &unhex(&self.fields["prefix"]), self.number("plain") as usize).map(drop),
            "index" => {
                let object = index::parse(bytes, self.repository())?;
                object.verify(&self.array("verifying"))?;
                index::open(&object, &self.key("book"))?;
                index::open_sketches(&object, &self.key("book")).map(drop)
            }
            "snapshot" => {
                let snapshot = Snapshot::parse(bytes, self.repository())?;
                snapshot.verify(&self.array("verifying"))?;
                snapshot.head(&self.key("book"))?;
                snapshot.body(&RunSecret::new(self.array("secret"))).map(drop)
            }
            "order" => {
                let object = Order::parse(bytes, self.repository(), &self.array("verifying"))?;
                Order::open(&object, Some(&self.key("book"))).map(drop)
            }
            "mark" => Mark::open(bytes, self.repository(), &self.array("verifying")).map(drop),
            "month" => {
                let place = (self.repository(), DomainId(self.array("domain")));
                Month::open(bytes, place, &self.array("verifying")).map(drop)
            }
            "journal" => {
                let object = Record::parse(bytes, self.repository())?;
                object.verify(&self.array("verifying"))?;
                Record::open(&object, &self.key("book")).map(drop)
            }
            "slot" => Slot::parse(bytes)?.open(self.fields["password"].as_bytes()).map(drop),
            "config" => Config::open(bytes, Some(&self.array("verifying"))).map(drop),
            "keyfile" => key_file::decode(bytes).map(drop),
            "recovery" => recovery::root(&String::from_utf8_lossy(bytes)).map(|root| {
                assert_eq!(root.expose(), &self.array::<32>("root"), "{}", self.path);
            }),
            "name" => {
                let name = std::str::from_utf8(bytes).ok().and_then(Name::parse);
                name.map(drop).ok_or(Error::Invalid("not a name of vault's"))
            }
            other => panic!("{}: unknown decoder {other}", self.path),
        }
    }

    fn pack(&self) -> Result<(), Error> {
        let kind = match self.fields["class"].as_str() {
            "d" => Kind::DataPack,
            _ => Kind::MetadataPack,
        };
        let header = Header::decode(&self.bytes, kind, self.repository())?;
        assert_ne!(header.domain, DomainId::default());
        let end = PackEnd::parse(&self.bytes, self.bytes.len() as u64)?;
        end.directory(&header, &self.key("book")).map(drop)
    }

    fn signed_pack(&self) -> Result<(), Error> {
        let header = Header::decode(&self.bytes, Kind::DataPack, self.repository())?;
        pack::verify(&self.bytes, &header, &self.array("verifying"))
    }

    fn frame(&self) -> Result<(), Error> {
        let codec = match self.fields["codec"].as_str() {
            "raw" => FrameCodec::Raw,
            "zstd" => FrameCodec::Zstd,
            _ => FrameCodec::Delta,
        };
        let class = if self.fields["class"] == "d" { Class::Data } else { Class::Metadata };
        let (ordinal, plain) = (self.number("ordinal"), self.number("plain"));
        let seal = FrameSeal { repository: self.repository(), class, ordinal, codec, plain };
        let encoded = seal.open(&self.key("key"), &self.bytes)?;
        let prefix = self.fields.get("prefix").map(|prefix| unhex(prefix)).unwrap_or_default();
        let out = seal.decode(encoded, &prefix)?;
        assert_eq!(hex(blake3::hash(&out).as_bytes()), self.fields["blake3"], "{}", self.path);
        Ok(())
    }
}

fn class(error: &Error) -> &'static str {
    match error {
        Error::Truncated(_) => "truncated",
        Error::Trailing(_) => "trailing",
        Error::BadMagic => "magic",
        Error::UnsupportedVersion(_) => "version",
        Error::UnsupportedSuite(_) => "suite",
        Error::UnsupportedEpoch(_) => "epoch",
        Error::UnsupportedFeature(_) => "feature",
        Error::WrongRepository => "repository",
        Error::WrongKind => "kind",
        Error::WrongOrigin => "origin",
        Error::Unauthentic(_) => "unauthentic",
        Error::BadSignature(_) => "signature",
        Error::WrongPassword => "password",
        Error::Limit(_) => "limit",
        Error::Invalid(_) => "invalid",
        Error::BadFrame => "frame",
        Error::WrongBlob => "blob",
        Error::NoAccess => "noaccess",
    }
}
