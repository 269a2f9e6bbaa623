//! A tar archive: what GNU tar makes of it again, links and times, long names, and holes, which take no room in it.

use crate::copy::{directory, file};
use crate::promises::{metadata, pair};
use std::ffi::OsStr;
use std::fs;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use vault::target::TarWriter;
use vault_format::tree::{Extent, Metadata, Node, NodeKind, Time};

#[test]
fn tar_unpacks_to_the_same_tree() {
    let (_place, _, unpacked) = pair();
    let mut with_link = metadata();
    with_link.link_group = 9;
    let long = "n".repeat(150);
    let mut tar = TarWriter::new(Vec::new());
    tar.enter(&directory(long.as_bytes(), Metadata { mode: 0o755, ..metadata() })).unwrap();
    tar.place(&file(b"one", 5, with_link.clone()), &mut Cursor::new(b"hello")).unwrap();
    assert!(!tar.wants_content(&file(b"two", 5, with_link.clone())));
    tar.place(&file(b"two", 5, with_link), &mut std::io::empty()).unwrap();
    tar.leave();
    let mut sparse = file(b"sparse", 3, Metadata { mtime: Time { seconds: -9, nanoseconds: 5 }, ..metadata() });
    if let NodeKind::File { size, holes, .. } = &mut sparse.kind {
        *size = 10_003;
        holes.push(Extent { offset: 1, length: 10_000 });
    }
    let bytes = [b"a".as_slice(), &[0; 10_000], b"bc"].concat();
    tar.place(&sparse, &mut Cursor::new(&bytes)).unwrap();
    assert!(tar.place(&file(b"short", 5, metadata()), &mut Cursor::new(b"abc")).is_err());
    let mut tar = {
        let mut again = TarWriter::new(Vec::new());
        again.enter(&directory(long.as_bytes(), Metadata { mode: 0o755, ..metadata() })).unwrap();
        again.place(&file(b"one", 5, Metadata { link_group: 9, ..metadata() }), &mut Cursor::new(b"hello")).unwrap();
        again.place(&file(b"two", 5, Metadata { link_group: 9, ..metadata() }), &mut std::io::empty()).unwrap();
        again.leave();
        again.place(&sparse, &mut Cursor::new(&bytes)).unwrap();
        again.finish().unwrap()
    };
    let path = unpacked.join("archive");
    fs::write(&path, std::mem::take(&mut tar)).unwrap();
    let status = std::process::Command::new("tar").arg("-C").arg(&unpacked).arg("-xpf").arg(&path).status().unwrap();
    assert!(status.success());
    let one = fs::metadata(unpacked.join(&long).join("one")).unwrap();
    let two = fs::metadata(unpacked.join(&long).join("two")).unwrap();
    assert_eq!((one.ino(), one.mtime(), one.mtime_nsec()), (two.ino(), 5, 6));
    let sparse = fs::metadata(unpacked.join("sparse")).unwrap();
    assert_eq!((sparse.len(), sparse.mtime(), sparse.mtime_nsec()), (10_003, -9, 5));
    let bytes = fs::read(unpacked.join("sparse")).unwrap();
    assert!(bytes.starts_with(b"a\0") && bytes.ends_with(b"\0bc"));
}

/// Pieces of a file, each with its place.
type Pieces<'d> = &'d [(u64, &'d [u8])];

/// A file with data here and there, and holes between and behind.
fn holey(name: &[u8], size: u64, data: Pieces<'_>) -> Node {
    let stored = data.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let mut node = file(name, stored as u64, metadata());
    if let NodeKind::File { size: of, holes, .. } = &mut node.kind {
        *of = size;
        let starts = data.iter().map(|(at, _)| *at).chain([size]);
        let ends = [0].into_iter().chain(data.iter().map(|(at, bytes)| at + bytes.len() as u64));
        let between = ends.zip(starts).filter(|(end, start)| end < start);
        holes.extend(between.map(|(end, start)| Extent { offset: end, length: start - end }));
    }
    node
}

/// Gives what lies at a place, and zeros elsewhere, of a file of any size.
struct Holey<'d>(u64, Pieces<'d>);

impl Read for Holey<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(0);
        for (at, bytes) in self.1 {
            for (number, byte) in (*at..).zip(*bytes) {
                if let Some(to) = number.checked_sub(self.0).and_then(|to| buffer.get_mut(to as usize)) {
                    *to = *byte;
                }
            }
        }
        self.0 += buffer.len() as u64;
        Ok(buffer.len())
    }
}

impl Seek for Holey<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let SeekFrom::Start(at) = to else { panic!("it knows where") };
        self.0 = at;
        Ok(at)
    }
}

#[test]
fn holes_take_no_room_in_a_tar_archive_and_come_back() {
    let (_place, _, unpacked) = pair();
    let long = "l".repeat(150);
    let middle: Pieces<'_> = &[(0, b"begin"), (5 << 20, b"middle"), (9 << 20, b"end")];
    let files: [(&[u8], u64, Pieces<'_>); 4] = [
        (b"ends-in-data", (9 << 20) + 3, middle),
        ("ends in a h\u{f6}le".as_bytes(), 20 << 20, middle),
        (long.as_bytes(), 7 << 20, &[]),
        (b"endless", 1 << 62, &[(1 << 61, b"x")]),
    ];
    let mut tar = TarWriter::new(Vec::new());
    for (name, size, data) in files {
        tar.place(&holey(name, size, data), &mut Holey(0, data)).unwrap();
    }
    let bytes = tar.finish().unwrap();
    assert!(bytes.len() < 20_000, "{}", bytes.len());
    let path = unpacked.join("archive");
    fs::write(&path, bytes).unwrap();
    let tar = |words: &[&str]| {
        let mut command = std::process::Command::new("tar");
        command.arg("-C").arg(&unpacked).arg("-f").arg(&path).args(words).output().unwrap()
    };
    let listed = String::from_utf8(tar(&["-tv"]).stdout).unwrap();
    assert!(listed.contains("4611686018427387904") && listed.contains("endless"), "{listed}");
    assert!(tar(&["-xp", "--exclude", "endless"]).status.success());
    for (name, size, data) in files.into_iter().filter(|(_, size, _)| *size < 1 << 62) {
        let path = unpacked.join(OsStr::from_bytes(name));
        let found = fs::metadata(&path).unwrap();
        assert!(found.len() == size && found.blocks() < 1000, "{}: {} blocks", path.display(), found.blocks());
        let mut expected = vec![0; size as usize];
        Holey(0, data).read_exact(&mut expected).unwrap();
        assert!(fs::read(&path).unwrap() == expected, "{}", path.display());
    }
}
