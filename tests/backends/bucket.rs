//! A place that is only read: what is listed there, and what tells that an object is another by now.

use crate::servers::{azurite, moto, s3s, sshd, webdav};
use crate::{create, open, runtime};
use vault::backend::bucket::{Object, ObjectKind};
use vault::backend::{BackendOptions, Bucket, ErrorKind, Location};

fn bucket(location: &str) -> vault::backend::Result<Bucket> {
    Bucket::open(&Location::parse(location).unwrap(), &BackendOptions::default(), &runtime())
}

fn files(bucket: &Bucket, prefix: &str) -> Vec<Object> {
    let mut files = bucket.list(prefix).unwrap();
    files.retain(|object| object.kind == ObjectKind::File);
    files.sort_by(|one, other| one.name.cmp(&other.name));
    files
}

fn names(files: &[Object]) -> Vec<&str> {
    files.iter().map(|object| object.name.as_str()).collect()
}

/// The same of every kind of place.
fn is_read(location: &str) {
    let backend = open(location, &create()).unwrap();
    let long = vec![b'x'; 9 << 20];
    for (name, bytes) in [("in/one", b"first".as_slice()), ("in/two words", &long), ("inner/b%c", b"b"), ("top", b"")] {
        backend.put(name, bytes).unwrap();
    }
    let bucket = bucket(location).unwrap();
    assert!(!bucket.place().contains("SECRET"));
    bucket.check().unwrap();
    let all = files(&bucket, "");
    assert_eq!(names(&all), ["in/one", "in/two words", "inner/b%c", "top"]);
    assert_eq!(names(&files(&bucket, "in")), ["in/one", "in/two words", "inner/b%c"]);
    assert_eq!(names(&files(&bucket, "in/")), ["in/one", "in/two words"]);
    assert_eq!(names(&files(&bucket, "in/t")), ["in/two words"]);
    assert_eq!(names(&files(&bucket, "none/")), [""; 0]);
    assert!(all.iter().all(|object| object.modified.is_some()));
    assert_eq!(all[1].size, 9 << 20);
    assert_eq!(bucket.read(&all[0], 0..5).unwrap(), b"first");
    assert_eq!(bucket.read(&all[1], (8 << 20)..(9 << 20)).unwrap(), long[..1 << 20]);
    assert_eq!(bucket.read(&all[2], 0..1).unwrap(), b"b");
    assert!(all.iter().all(|object| bucket.is_unchanged(object).unwrap()));
    // another one by now: asked with its tag, or looked at again
    backend.delete("in/one").unwrap();
    backend.put("in/one", b"second").unwrap();
    if bucket.is_conditional(&all[0]) {
        assert_eq!(bucket.read(&all[0], 0..5).unwrap_err().kind, ErrorKind::Exists);
    }
    assert!(!bucket.is_unchanged(&all[0]).unwrap());
    backend.delete("inner/b%c").unwrap();
    // asked with its tag, Azure says of what is gone only that it is not that one
    let gone = bucket.read(&all[2], 0..1).unwrap_err().kind;
    assert!(gone == ErrorKind::NotFound || (gone == ErrorKind::Exists && bucket.is_conditional(&all[2])), "{gone:?}");
    assert_eq!(bucket.is_unchanged(&all[2]).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!((bucket.counts().put, bucket.counts().delete), (0, 0));
}

#[test]
fn buckets_of_s3_are_read() {
    if let Some(server) = moto() {
        is_read(&server.location);
        let gone = bucket(&server.location.replace("/bucket/", "/no-such-bucket/")).unwrap();
        assert_eq!(gone.list("").unwrap_err().kind, ErrorKind::NoPlace);
    }
}

#[test]
fn buckets_of_another_s3_are_read() {
    is_read(&s3s().location);
}

#[test]
fn containers_of_azure_are_read() {
    if let Some(server) = azurite() {
        is_read(&server.location);
    }
}

#[test]
fn folders_over_sftp_are_read() {
    let Some(server) = sshd() else { return };
    let missing = bucket(&server.location).unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NoPlace);
    assert!(missing.to_string().contains("the folder is missing"), "{missing}");
    is_read(&server.location);
    // what others keep in a folder of this name is theirs, however old
    std::fs::create_dir_all(server.data().join("tmp")).unwrap();
    let old = std::fs::File::create(server.data().join("tmp/old")).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(names(&files(&bucket(&server.location).unwrap(), "tmp/")), ["tmp/old"]);
}

#[test]
fn folders_over_webdav_are_read() {
    if let Some(server) = webdav() {
        is_read(&server.location);
    }
}

#[test]
fn a_folder_of_this_machine_is_no_bucket() {
    assert_eq!(bucket("/srv").unwrap_err().kind, ErrorKind::Unsupported);
}

/// Where a repository lies in what is backed up.
#[test]
fn a_repository_in_the_bucket_is_known() {
    let options = "?region=us-east-1&endpoint=https://a.example&disable_config_load=true&access_key_id=a";
    let other = "?region=us-east-1&endpoint=https://b.example&access_key_id=a";
    for (place, repository, overlap) in [
        ("s3://b", format!("s3://b/vault/x{options}"), Some("vault/x")),
        ("s3://b/in", format!("s3://b/in/vault{options}"), Some("vault")),
        ("s3://b/in", format!("s3://b/in{options}"), Some("")),
        ("s3://b/in/vault", format!("s3://b/in{options}"), Some("")),
        ("s3://b/in", format!("s3://b/inner{options}"), None),
        ("s3://b", format!("s3://c{options}"), None),
        ("s3://b", format!("s3://b/vault{other}"), None),
        ("s3://b", "/srv/vault".to_owned(), None),
    ] {
        let bucket = bucket(&format!("{place}{options}")).unwrap();
        let described = Location::parse(&repository).unwrap().to_string();
        assert_eq!(bucket.overlap(&described).as_deref(), overlap, "{place} and {repository}");
    }
}
