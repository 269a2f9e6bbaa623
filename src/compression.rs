//! Input that is compressed before vault reads it, told by its first bytes. Such a dump shares next to nothing with the
//! one before it: a changed row changes all bytes behind it. Whoever stores it learns here by what it is compressed, and
//! what leaves that out. Nothing is decompressed; what is not clear from the first bytes counts as not compressed.

/// By what an input is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// `gzip`, also as `.tgz`.
    Gzip,
    /// `zstd`.
    Zstd,
    /// `xz`.
    Xz,
    /// `bzip2`.
    Bzip2,
    /// `lz4`.
    Lz4,
    /// `zip`.
    Zip,
    /// `pg_dump --format=custom`, whatever it compresses by.
    PgDump,
}

impl Compression {
    /// Every one.
    pub const ALL: [Self; 7] = [Self::Gzip, Self::Zstd, Self::Xz, Self::Bzip2, Self::Lz4, Self::Zip, Self::PgDump];

    /// That of an input which begins with these bytes: the more there are, the more is recognised.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            // the level, then pi, or the root of pi where nothing follows
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => Some(Self::Bzip2),
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Some(Self::Lz4),
            // a frame to be passed over, in front of those of zstd and lz4
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, rest @ ..] => {
                let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
                Self::of(rest.get(length..)?).filter(|inner| matches!(inner, Self::Zstd | Self::Lz4))
            }
            [b'P', b'K', 3, 4, ..] => is_deflated(head).then_some(Self::Zip),
            [b'P', b'G', b'D', b'M', b'P', rest @ ..] => is_packed_archive(rest).then_some(Self::PgDump),
            _ => None,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
            Self::Zip => "zip",
            Self::PgDump => "pg_dump",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// What to do instead, as the end of a sentence.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Gzip => "dump without gzip (pg_dump -Z0, tar without -z), or at least with gzip --rsyncable",
            Self::Zstd => "dump without zstd, or at least with zstd --rsyncable",
            Self::Xz => "dump without xz (tar without -J)",
            Self::Bzip2 => "dump without bzip2 (tar without -j)",
            Self::Lz4 => "dump without lz4",
            Self::Zip => "give vault the files themselves and no zip of them, or at least one of zip -0",
            Self::PgDump => "dump with pg_dump --compress=0",
        }
    }
}

/// True if an entry of a zip that is told whole is compressed. Folders, and files that were so small, are not.
fn is_deflated(mut entries: &[u8]) -> bool {
    let two = |at: [u8; 2]| usize::from(u16::from_le_bytes(at));
    while let [b'P', b'K', 3, 4, _, _, flags, _, m0, m1, rest @ ..] = entries {
        if (*m0, *m1) != (0, 0) {
            return true;
        }
        // how long it is follows only behind it
        let is_open = flags & 8 != 0;
        let [_, _, _, _, _, _, _, _, s0, s1, s2, s3, _, _, _, _, n0, n1, x0, x1, rest @ ..] = rest else { break };
        let length = u32::from_le_bytes([*s0, *s1, *s2, *s3]) as usize;
        let skipped = length.saturating_add(two([*n0, *n1]) + two([*x0, *x1]));
        let Some(next) = rest.get(skipped..).filter(|_| !is_open || length > 0) else { break };
        entries = next;
    }
    false
}

/// True if an archive of `pg_dump`, told from behind its first word, is of the custom format and compressed. As
/// `ReadHead` of PostgreSQL has it: since its version 1.15 a byte names the way, before that a level stood there as a
/// sign and so many bytes as an integer had.
fn is_packed_archive(head: &[u8]) -> bool {
    const CUSTOM: u8 = 1;
    let [major, minor, _revision, integer, _offset, CUSTOM, rest @ ..] = head else { return false };
    match (major, minor) {
        (1, 7..=14) => {
            let level = rest.get(1..=usize::from(*integer)).unwrap_or_default();
            level.iter().any(|byte| *byte != 0)
        }
        (1, 15..) => rest.first().is_some_and(|way| *way != 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Compression;

    /// As the programs wrote them.
    #[test]
    fn the_first_bytes_tell_by_what_an_input_is_compressed() {
        let heads: [(&[u8], Option<Compression>); 14] = [
            (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", Some(Compression::Gzip)),
            (b"\x28\xb5\x2f\xfd\x04\x58\x00\x00\x10\xfc", Some(Compression::Zstd)),
            (b"\x50\x2a\x4d\x18\x04\x00\x00\x00\x67\x09\x3d\x00\x28\xb5\x2f\xfd\x04", Some(Compression::Zstd)),
            (b"\xfd7zXZ\x00\x00\x04\xe6\xd6", Some(Compression::Xz)),
            (b"BZh91AY&SY\x04\x81\x3a", Some(Compression::Bzip2)),
            (b"\x04\x22\x4d\x18\x64\x70\xb9", Some(Compression::Lz4)),
            (b"\x02\x21\x4c\x18\x48\x46\x3d", Some(Compression::Lz4)),
            (b"PK\x03\x04\x14\x00\x08\x00\x08\x00\x09\x96", Some(Compression::Zip)),
            // of 15 at its default, at no level, and of 18 at both
            (b"PGDMP\x01\x0e\x00\x04\x08\x01\x01\x01\x00\x00\x00\x00", Some(Compression::PgDump)),
            (b"PGDMP\x01\x0e\x00\x04\x08\x01\x00\x00\x00\x00\x00\x00", None),
            (b"PGDMP\x01\x10\x00\x04\x08\x01\x01\x00\x0f", Some(Compression::PgDump)),
            (b"PGDMP\x01\x10\x00\x04\x08\x01\x00\x00\x0f", None),
            // the table of contents of a folder, which is never compressed
            (b"PGDMP\x01\x10\x00\x04\x08\x03\x01\x00\x10", None),
            (b"-- PostgreSQL database dump\n", None),
        ];
        for (head, expected) in heads {
            assert_eq!(Compression::of(head), expected, "{}", head.escape_ascii());
            // what is cut off anywhere is no reason to stop
            let is_sound = |length: usize| [None, expected].contains(&Compression::of(&head[..length]));
            assert!((0..head.len()).all(is_sound), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_zip_is_compressed_if_one_of_its_first_entries_is() {
        let entry = |name: &str, method: u8, content: &[u8], flags: u8| {
            let mut bytes = vec![b'P', b'K', 3, 4, 10, 0, flags, 0, method, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            for length in [content.len(), content.len()] {
                bytes.extend(u32::try_from(length).unwrap().to_le_bytes());
            }
            bytes.extend([u8::try_from(name.len()).unwrap(), 0, 3, 0]);
            [&bytes, name.as_bytes(), b"own", content].concat()
        };
        let of = |entries: &[Vec<u8>]| Compression::of(&entries.concat());
        let folder = entry("folder/", 0, b"", 0);
        assert_eq!(of(&[folder.clone(), entry("folder/a", 8, b"....", 0)]), Some(Compression::Zip));
        assert_eq!(of(&[folder.clone(), entry("folder/a", 0, b"plain", 0), entry("folder/b", 0, b"x", 0)]), None);
        let open = entry("folder/a", 0, b"", 8);
        assert_eq!(of(&[folder, open, entry("folder/b", 8, b"....", 0)]), None);
    }

    #[test]
    fn names_lead_back() {
        assert!(Compression::ALL.into_iter().all(|one| Compression::named(one.name()) == Some(one)));
        assert_eq!(Compression::named("plain"), None);
    }
}
