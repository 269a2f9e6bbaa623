//! Locations as other tools write them: `sftp:user@host:/path`, `user@host:/path`, `s3:https://host/bucket`. Taken for
//! paths they would make a folder of that name here, so `Location::parse` asks here first and answers with the form to
//! use. Invariant: what is proposed shows no password.

use super::Scheme;
use std::path::Path;

/// A location that is not ours.
pub(super) struct Foreign {
    /// What may be shown of it.
    pub shown: String,
    /// What to write instead.
    pub advice: String,
}

/// What another tool would mean by this; `None` for our own forms, and for paths.
pub(super) fn of(text: &str) -> Option<Foreign> {
    let (word, rest) = text.split_once(':')?;
    // a colon further down is a part of a path, as in ./a:b
    if word.contains('/') {
        return None;
    }
    let name = word.to_ascii_lowercase();
    let url = rest.strip_prefix("//");
    let is_ours = name == "file" || Scheme::ALL.iter().any(|scheme| scheme.name() == name);
    if url.is_some() && is_ours || url.is_none() && Path::new(text).symlink_metadata().is_ok() {
        return None;
    }
    let advice = match (name.as_str(), url) {
        ("ssh" | "scp" | "rsync" | "sftp", place) => format!("write {}", sftp(place.unwrap_or(rest))),
        ("s3" | "s3a" | "s3n", place) => format!("write {}", s3(place.unwrap_or(rest), place.is_some())),
        ("b2", None) => format!("write b2://{} with its options", bucket(rest)),
        ("gs" | "gcs" | "gcp", place) => format!("write gcs://{}", bucket(place.unwrap_or(rest))),
        ("azure" | "az" | "azblob" | "abfs" | "wasb", place) => {
            let place = bucket(place.unwrap_or(rest));
            format!("write azblob://{place}?endpoint=https://ACCOUNT.blob.core.windows.net")
        }
        ("local" | "file", place) => format!("write the path alone: {}", place.unwrap_or(rest)),
        ("http" | "dav", Some(place)) => format!("if it speaks WebDAV, write webdav://{}", without_password(place)),
        ("https" | "davs", Some(place)) => format!("if it speaks WebDAV, write webdavs://{}", without_password(place)),
        ("rest", _) => "there is no support for a rest-server: use its folder by sftp://, or a bucket".to_owned(),
        ("rclone", _) => "run `rclone serve webdav REMOTE:FOLDER`, and write webdav://127.0.0.1:8080".to_owned(),
        ("swift" | "opendal" | "ftp" | "ftps" | "smb" | "cifs" | "nfs" | "drive" | "gdrive" | "onedrive", None) => {
            "there is no support for it: mount it and write its path, or use a place of another kind".to_owned()
        }
        (_, None) => format!("for another machine write {}; for a folder here, ./ and its name", sftp(text)),
        // the answer for unknown words lists what there is
        (_, Some(_)) => return None,
    };
    Some(Foreign { shown: format!("{word}:…"), advice })
}

/// What is meant by a host with something behind its colon that is no port.
pub(super) fn no_port(text: &str) -> String {
    let place = text.split_once("://").map_or(text, |(_, place)| place);
    format!("what follows the host's colon is no port: for a folder, write {}", sftp(place))
}

/// `user@host:/path`, `user@host:path` or `user@host:port/path`.
fn sftp(place: &str) -> String {
    let (account, rest) = place.rsplit_once('@').unwrap_or(("", place));
    let (host, folder) = rest.split_once([':', '/']).unwrap_or((rest, ""));
    let user = account.split(':').next().unwrap_or_default();
    let at = if user.is_empty() { String::new() } else { format!("{user}@") };
    let has_colon = rest.get(host.len()..).is_some_and(|rest| rest.starts_with(':'));
    let (port, path) = folder.split_once('/').unwrap_or((folder, ""));
    let is_port = has_colon && port.parse::<u16>().is_ok();
    match (folder, has_colon) {
        ("", _) => format!("sftp://{at}{host}/FOLDER"),
        (_, true) if is_port => format!("sftp://{at}{host}:{port}/{}", path.trim_start_matches('/')),
        (_, false) => format!("sftp://{at}{host}/{}", folder.trim_start_matches("./")),
        (absolute, true) if absolute.starts_with('/') => format!("sftp://{at}{host}{absolute}"),
        (home, true) => format!("sftp://{at}{host}/~/{}", home.trim_start_matches("~/").trim_start_matches("./")),
    }
}

/// `host/bucket/folder`, `https://host/bucket/folder` or `bucket/folder`.
fn s3(place: &str, is_bucket: bool) -> String {
    let (scheme, rest) = place.split_once("://").unwrap_or(("https", place));
    let rest = without_password(rest.trim_start_matches('/'));
    let (host, folder) = rest.split_once('/').unwrap_or((&rest, ""));
    let is_host = !is_bucket && (host.contains(['.', ':']) || host == "localhost");
    if !is_host {
        return format!("s3://{}?region=REGION", rest.trim_end_matches('/'));
    }
    let folder = if folder.is_empty() { "BUCKET" } else { folder.trim_end_matches('/') };
    match host.strip_suffix(".amazonaws.com") {
        Some(amazon) => {
            let region = amazon.trim_start_matches("s3").trim_start_matches(['.', '-']);
            format!("s3://{folder}?region={}", if region.is_empty() { "us-east-1" } else { region })
        }
        None => format!("s3://{folder}?region=us-east-1&endpoint={scheme}://{host}"),
    }
}

/// `bucket:folder`, `bucket:/folder` or `bucket/folder`.
fn bucket(place: &str) -> String {
    let place = without_password(place);
    match place.split_once(':') {
        Some((bucket, folder)) => {
            format!("{bucket}/{}", folder.trim_start_matches('/')).trim_end_matches('/').to_owned()
        }
        None => place.trim_matches('/').to_owned(),
    }
}

fn without_password(place: &str) -> String {
    let (host, folder) = place.split_once('/').unwrap_or((place, ""));
    let host = host.rsplit('@').next().unwrap_or(host);
    let folder = folder.split('?').next().unwrap_or_default();
    if folder.is_empty() { host.to_owned() } else { format!("{host}/{folder}") }
}

#[cfg(test)]
mod tests {
    use super::{no_port, of};

    fn advice(text: &str) -> String {
        of(text).unwrap_or_else(|| panic!("{text} is taken as ours")).advice
    }

    #[test]
    fn each_form_is_answered_with_ours() {
        for (text, wanted) in [
            ("sftp:user@host.example:/srv/backup", "sftp://user@host.example/srv/backup"),
            ("sftp:user@host.example:backup", "sftp://user@host.example/~/backup"),
            ("sftp:host", "sftp://host/FOLDER"),
            ("user@host.example:/srv/backup", "sftp://user@host.example/srv/backup"),
            ("host:backup", "sftp://host/~/backup"),
            ("ssh://user@host:2222/srv/b", "sftp://user@host:2222/srv/b"),
            ("ssh://host/~/b", "sftp://host/~/b"),
            ("SFTP:user@host:/b", "sftp://user@host/b"),
            ("s3:s3.example/bucket/folder", "s3://bucket/folder?region=us-east-1&endpoint=https://s3.example"),
            ("s3:http://localhost:9000/bucket", "s3://bucket?region=us-east-1&endpoint=http://localhost:9000"),
            ("s3:s3.eu-west-1.amazonaws.com/bucket", "s3://bucket?region=eu-west-1"),
            ("s3:bucket/folder", "s3://bucket/folder?region=REGION"),
            ("b2:bucket:dir", "b2://bucket/dir"),
            ("azure:container:/", "azblob://container?endpoint="),
            ("gs:bucket:/dir", "gcs://bucket/dir"),
            ("gs://bucket/dir", "gcs://bucket/dir"),
            ("local:/srv/backup", "the path alone: /srv/backup"),
            ("file:/srv/backup", "the path alone: /srv/backup"),
            ("https://dav.example/b", "webdavs://dav.example/b"),
            ("rclone:remote:dir", "rclone serve webdav"),
            ("rest:https://host:8000/", "no support"),
            ("swift:container:/dir", "no support"),
        ] {
            assert!(advice(text).contains(wanted), "{text}: {}", advice(text));
        }
        assert!(no_port("sftp://user@host:srv/b").contains("sftp://user@host/~/srv/b"));
    }

    #[test]
    fn ours_and_paths_are_left_alone() {
        for text in [
            "/srv/a:b",
            "./a:b",
            "../sftp:x",
            "plain",
            "s3://bucket/a:b",
            "sftp://me@h:22/p",
            "file:///srv",
            "nope://x",
        ] {
            assert!(of(text).is_none(), "{text}");
        }
    }

    #[test]
    fn no_password_is_proposed() {
        for text in [
            "sftp:me:SECRET@host:/b",
            "ssh://me:SECRET@host/b",
            "s3:https://me:SECRET@host/b",
            "https://me:SECRET@host/b",
            "rest:https://me:SECRET@host/",
            "me:SECRET@host:/b",
            "gs://me:SECRET@b",
            "https://host/b?sig=SECRET",
        ] {
            let found = of(text).unwrap_or_else(|| panic!("{text}"));
            assert!(!format!("{} {}", found.shown, found.advice).contains("SECRET"), "{text}: {}", found.advice);
        }
    }
}
