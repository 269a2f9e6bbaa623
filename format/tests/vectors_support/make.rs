//! Collects vectors, and derives the damaged forms that every object has.

use super::run::{Vector, hex};
use std::collections::BTreeMap;
use vault_format::codec::Stored;

pub type Fields = BTreeMap<String, String>;

#[derive(Default)]
pub struct Maker {
    pub vectors: Vec<Vector>,
}

/// The fields of a vector for `decoder`, keys in hex.
pub fn fields(decoder: &str, keys: &[(&str, &[u8])]) -> Fields {
    let keys = keys.iter().map(|(name, bytes)| ((*name).to_owned(), hex(bytes)));
    keys.chain([("decoder".to_owned(), decoder.to_owned())]).collect()
}

/// The bytes of a value whether valid or not.
pub fn raw<T: Stored>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, T::CODEC).unwrap()
}

impl Maker {
    pub fn add(&mut self, path: &str, expect: &str, mut fields: Fields, bytes: Vec<u8>) {
        fields.insert("expect".to_owned(), expect.to_owned());
        assert!(self.vectors.iter().all(|vector| vector.path != path), "{path} twice");
        self.vectors.push(Vector { path: path.to_owned(), fields, bytes });
    }

    /// A good object and its damaged forms.
    pub fn object(&mut self, area: &str, decoder: &str, bytes: &[u8], keys: &[(&str, &[u8])]) {
        let fields = fields(decoder, keys);
        self.add(&format!("{area}/ok"), "ok", fields.clone(), bytes.to_vec());
        self.damage(area, bytes, &fields, "signature");
        let mut other = fields.clone();
        if decoder != "config" {
            other.insert("repository".to_owned(), hex(&[1; 16]));
            self.add(&format!("{area}/open-another-repository"), "repository", other, bytes.to_vec());
        }
        let thief = vault_format::key::Key::new([7; 32]).signing_key().verifying_key().to_bytes();
        let mut stolen = fields.clone();
        stolen.insert("verifying".to_owned(), hex(&thief));
        self.add(&format!("{area}/another-verifying-key"), "origin", stolen, bytes.to_vec());
        let mut first = bytes.to_vec();
        first[bytes.len() / 2] ^= 1;
        self.add(&format!("{area}/content-flipped"), "signature", fields.clone(), first);
        let mut lying = bytes.to_vec();
        lying[96..100].fill(0xFF);
        self.add(&format!("{area}/lying-section-length"), "truncated", fields, lying);
    }

    /// Truncated, extended, its last byte flipped, and with each header field wrong.
    pub fn damage(&mut self, area: &str, bytes: &[u8], fields: &Fields, flipped: &str) {
        let (short, long) = if area == "keyfile" { ("unauthentic", "unauthentic") } else { ("truncated", "trailing") };
        self.add(&format!("{area}/truncated"), short, fields.clone(), bytes[..bytes.len() - 1].to_vec());
        self.add(
            &format!("{area}/header-only"),
            if area == "keyfile" { short } else { "truncated" },
            fields.clone(),
            bytes[..64].to_vec(),
        );
        self.add(&format!("{area}/extended"), long, fields.clone(), [bytes, &[0]].concat());
        let mut last = bytes.to_vec();
        *last.last_mut().unwrap() ^= 1;
        self.add(&format!("{area}/last-byte-flipped"), flipped, fields.clone(), last);
        self.header_damage(area, bytes, fields);
    }

    pub fn header_damage(&mut self, area: &str, bytes: &[u8], fields: &Fields) {
        let cases = [
            ("magic", 0, "magic"),
            ("version", 5, "version"),
            ("suite", 6, "suite"),
            ("kind", 7, "kind"),
            ("epoch", 8, "epoch"),
        ];
        for (name, at, expect) in cases.into_iter().chain([("reserved", 63, "invalid")]) {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 0x40;
            self.add(&format!("{area}/wrong-{name}"), expect, fields.clone(), bytes);
        }
        if fields.contains_key("repository") && area != "config" {
            let mut bytes = bytes.to_vec();
            bytes[12] ^= 1;
            self.add(&format!("{area}/wrong-repository"), "repository", fields.clone(), bytes);
        }
        self.add(&format!("{area}/empty"), "truncated", fields.clone(), Vec::new());
    }
}
