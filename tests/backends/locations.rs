//! Locations: what is accepted, what is refused, and that no secret is ever shown.

use std::path::PathBuf;
use vault::backend::location::Scheme;
use vault::backend::{ErrorKind, Location};

fn remote(text: &str) -> vault::backend::location::Remote {
    match Location::parse(text).unwrap() {
        Location::Remote(remote) => remote,
        Location::Local(path) => panic!("{text} became the path {path:?}"),
    }
}

#[test]
fn paths_and_file_urls_are_local() {
    for (text, path) in
        [("/srv/backup", "/srv/backup"), ("backup", "backup"), ("./a:b", "./a:b"), ("file:///srv/b%20c", "/srv/b c")]
    {
        assert_eq!(Location::parse(text).unwrap(), Location::Local(PathBuf::from(path)), "{text}");
    }
}

#[test]
fn urls_are_taken_apart() {
    let s3 = remote("s3://bucket/some/folder/?region=eu-west-1&endpoint=http://127.0.0.1:9000");
    assert_eq!((s3.scheme, s3.authority.as_str(), s3.root.as_str()), (Scheme::S3, "bucket", "some/folder"));
    assert_eq!(s3.options["endpoint"], "http://127.0.0.1:9000");
    let sftp = remote("sftp://me@host:2222/srv/backup?key=/home/me/.ssh/id");
    assert_eq!((sftp.authority.as_str(), sftp.root.as_str()), ("me@host:2222", "srv/backup"));
    assert_eq!(Location::Remote(sftp).to_string(), "sftp://me@host:2222/srv/backup?key=/home/me/.ssh/id");
    assert_eq!(remote("azblob://container/prefix%20x").root, "prefix x");
    assert_eq!(remote("gcs://bucket").root, "");
    assert_eq!(remote("S3://bucket").scheme, Scheme::S3);
    assert_eq!(remote("webdavs://me:pw@host/dav").options["password"], "pw");
    assert_eq!(remote("memory://").scheme, Scheme::Memory);
}

#[test]
fn secrets_are_never_shown() {
    let secret = "SECRET123";
    for text in [
        "s3://b/p?access_key_id=SECRET123&secret_access_key=SECRET123&session_token=SECRET123",
        "azblob://c/p?account_key=SECRET123&sas_token=SECRET123",
        "gcs://b?credential=SECRET123&token=SECRET123",
        "b2://b?application_key=SECRET123&application_key_id=SECRET123",
        "webdav://me:SECRET123@host/dav",
        "webdav://host/dav?password=SECRET123",
        "s3://b/p?endpoint=https://me:SECRET123@host",
        "azblob://c/p?endpoint=https://host/?sig=SECRET123",
    ] {
        let location = Location::parse(text).unwrap();
        assert!(!format!("{location} {location:?}").contains(secret), "{location}");
    }
    for text in
        ["s3://SECRET123:SECRET123@bucket", "sftp://me:SECRET123@host/x", "nope://SECRET123", "s3://b#SECRET123"]
    {
        let error = Location::parse(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for text in ["", "s3://", "s3://bucket/a//b", "file://host/path", "sftp:///path", "s3://bucket?regoin=x", "s3://["]
    {
        assert_eq!(Location::parse(text).unwrap_err().kind, ErrorKind::Other, "{text}");
    }
    let unknown = Location::parse("ftp://host/x").unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::Unsupported);
    assert!(unknown.to_string().contains("known: a path, file, memory, s3"), "{unknown}");
    let typo = Location::parse("s3://bucket?regoin=x").unwrap_err().to_string();
    assert!(typo.contains("unknown option regoin") && typo.contains("region"), "{typo}");
}

/// A folder of such a name here would be a backup that nobody finds.
#[test]
fn forms_of_other_tools_make_no_folder() {
    for text in
        ["sftp:u@h:/p", "u@h:/p", "h:p", "s3:s3.example/bucket", "b2:bucket:dir", "rclone:remote:dir", "local:/p"]
    {
        let error = Location::parse(text).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{text}: {error}");
    }
    let said = Location::parse("s3:s3.example/bucket").unwrap_err().to_string();
    assert!(said.contains("s3://bucket?region=us-east-1&endpoint=https://s3.example"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a:b");
    assert_eq!(Location::parse(&deep.display().to_string()).unwrap(), Location::Local(deep));
}
