//! File systems that say what is not so: sizes that are none, attributes that can't be read, files without an end. The
//! content is stored all the same, and what is lost is named.

use crate::program::{init, program, text, vault};
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use testkit::world::PASSWORD;
use vault::source::{Directory, Event, FileEnd, Options};
use vault_format::tree::Extent;

/// A named file as a walk reads it.
fn read(path: &Path) -> (Vec<u8>, FileEnd) {
    let mut walk = Directory::open(&[path.to_owned()], &Options::default()).unwrap();
    let mut entry = loop {
        match walk.next().unwrap() {
            Event::Entry(entry) => break entry,
            Event::Lacking { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    let mut file = entry.open().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    (bytes, file.finish().unwrap())
}

#[test]
fn a_file_is_as_long_as_what_it_gives() {
    // the first says 0, the second a page
    for path in ["/proc/self/cmdline", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/profiling"] {
        let Ok(expected) = fs::read(path) else { continue };
        let size = fs::metadata(path).unwrap().len();
        assert_ne!(size, expected.len() as u64, "{path} is no example");
        let (bytes, end) = read(Path::new(path));
        assert_eq!(bytes, expected, "{path}");
        assert_eq!(
            end,
            FileEnd { size: expected.len() as u64, holes: vec![], changed: false, is_cut: false },
            "{path}"
        );
    }
}

#[test]
fn what_the_kernel_makes_up_without_an_end_is_cut() {
    let (bytes, end) = read(Path::new("/proc/self/pagemap"));
    assert_eq!((bytes.len() as u64, end.is_cut), (end.size, true));
    assert!(end.size >= 64 << 20 && end.size < 80 << 20, "{}", end.size);
}

#[test]
fn a_file_of_unknown_size_goes_through_a_repository_and_is_read_at_each_run() {
    let place = tempfile::tempdir().unwrap();
    init(place.path());
    let source = PathBuf::from("/proc/version");
    let sysctl = PathBuf::from("/proc/sys/kernel/ostype");
    for _ in 0..2 {
        let taken = vault(place.path(), &["snapshot", "--json", "--name", "version"], &[&source, &sysctl]);
        assert_eq!(taken.status.code(), Some(0), "{}", text(&taken));
        assert!(text(&taken).contains("\"unchanged_files\":0"), "{}", text(&taken));
    }
    for (address, path) in [("version:version", source), ("version:sys/kernel/ostype", sysctl)] {
        let restored = vault(place.path(), &["restore", address, "--stdout"], &[]);
        assert_eq!(restored.stdout, fs::read(&path).unwrap());
        let compared = vault(place.path(), &["diff", address], &[&path]);
        assert!(text(&compared).contains("no difference") || compared.stdout.is_empty(), "{}", text(&compared));
    }
}

#[test]
fn of_many_holes_the_largest_are_kept_and_the_rest_is_zeros() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("sparse");
    let block = 4096u64;
    {
        let mut file = fs::File::create(&path).unwrap();
        for number in 0..9000u64 {
            use std::os::unix::fs::FileExt;
            // every hundredth hole is twice as large
            let at = number * 3 * block + if number % 100 == 0 { block } else { 0 };
            file.write_all_at(b"data", at + block).unwrap();
        }
        file.flush().unwrap();
    }
    let size = fs::metadata(&path).unwrap().len();
    let (dense, end) = read(&path);
    if end.holes.is_empty() {
        return println!("SKIPPED: this file system has no holes");
    }
    assert_eq!((end.holes.len(), end.size, end.changed), (8192, size, false));
    let mut apparent = Vec::new();
    let mut rest = dense.as_slice();
    for Extent { offset, length } in &end.holes {
        let (data, after) = rest.split_at(usize::try_from(*offset).unwrap() - apparent.len());
        apparent.extend_from_slice(data);
        apparent.resize(apparent.len() + usize::try_from(*length).unwrap(), 0);
        rest = after;
    }
    apparent.extend_from_slice(rest);
    assert!(apparent == fs::read(&path).unwrap());
    assert!(end.holes.iter().filter(|hole| hole.length == 2 * block).count() >= 89, "the largest are kept");
}

/// Runs a snapshot in which calls fail; `None` without strace.
fn snapshot_with(place: &Path, calls: &str, errno: &str, source: &Path) -> Option<Output> {
    let inject = format!("inject={calls}:error={errno}");
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &inject]);
    command.arg(program()).arg("snapshot").args(["--name", "s"]).arg(source);
    command.env("VAULT_REPOSITORY", place.join("repository")).env("VAULT_PASSWORD", OsStr::from_bytes(PASSWORD));
    command.env("VAULT_CACHE_DIR", place.join("cache")).env_remove("VAULT_PASSWORD_FILE");
    match command.output() {
        Ok(output) => Some(output),
        Err(_) => {
            assert!(std::env::var_os("CI").is_none(), "strace is not installed");
            drop(writeln!(std::io::stderr(), "SKIPPED: strace is not installed (apt-get install strace)"));
            None
        }
    }
}

#[test]
fn an_attribute_that_cannot_be_read_costs_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::write(source.join("file"), "body").unwrap();
    fs::write(source.join("sub/deep"), "deep").unwrap();
    std::os::unix::fs::symlink("file", source.join("link")).unwrap();
    for path in ["", "file", "sub"] {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(source.join(path), "user.colour", b"blue", flags).unwrap();
    }
    init(place.path());
    let lists = "flistxattr,llistxattr,listxattr";
    let gets = "fgetxattr,lgetxattr,getxattr";
    for (calls, errno) in [(lists, "EIO"), (lists, "E2BIG"), (lists, "EPERM"), (gets, "EIO"), (gets, "EOPNOTSUPP")] {
        let Some(taken) = snapshot_with(place.path(), calls, errno, &source) else { return };
        assert_eq!(taken.status.code(), Some(3), "{calls} {errno}: {}", text(&taken));
        for name in ["source: could not", "source/file: could not", "source/sub: could not"] {
            assert!(text(&taken).contains(name), "{calls} {errno}: {name} is not named: {}", text(&taken));
        }
        for (path, content) in [("s:file", "body"), ("s:sub/deep", "deep")] {
            let got = vault(place.path(), &["restore", path, "--stdout"], &[]);
            assert_eq!(got.stdout, content.as_bytes(), "{calls} {errno}: {path}");
        }
    }
    // nothing is taken over from a snapshot that lacks some, however old the file is
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    let Some(taken) = snapshot_with(place.path(), lists, "EIO", &source) else { return };
    assert_eq!(taken.status.code(), Some(3), "{}", text(&taken));
    let taken = vault(place.path(), &["snapshot", "--name", "s", source.to_str().unwrap()], &[]);
    assert_eq!(taken.status.code(), Some(0), "{}", text(&taken));
    let target = place.path().join("target");
    let restored = vault(place.path(), &["restore", "s", "--target", target.to_str().unwrap()], &[]);
    assert_eq!(restored.status.code(), Some(0), "{}", text(&restored));
    let mut colour = [0; 16];
    assert_eq!(rustix::fs::getxattr(target.join("file"), "user.colour", &mut colour), Ok(4));
    // a file system without attributes has lost none
    let Some(taken) = snapshot_with(place.path(), lists, "EOPNOTSUPP", &source) else { return };
    assert_eq!(taken.status.code(), Some(0), "{}", text(&taken));
}

#[test]
fn a_link_or_a_name_that_cannot_be_read_costs_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "body").unwrap();
    std::os::unix::fs::symlink("file", source.join("link")).unwrap();
    init(place.path());
    let Some(taken) = snapshot_with(place.path(), "readlinkat", "EIO", &source) else { return };
    assert_eq!(taken.status.code(), Some(3), "{}", text(&taken));
    assert!(text(&taken).contains("source/link: "), "{}", text(&taken));
    assert_eq!(vault(place.path(), &["restore", "s:file", "--stdout"], &[]).stdout, b"body");
}
