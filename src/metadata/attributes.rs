//! Extended attributes of one entry, POSIX ACLs included, read and set through directory handles. Regular files are
//! not opened for it: the entry is reached as a name below its directory's handle. A file system without attributes
//! has none.

use super::{At, Fault};
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsRawFd;
use vault_format::tree::Xattr;

/// Most bytes of a list of names, and of one value: limits of the kernel.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// Most bytes of all names and values of one entry together, so that a page of a tree has room for it.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// Where the kernel finds an entry by path without a longer path than one name. `/proc` resolves the handle itself.
fn path_of(at: At<'_>) -> Vec<u8> {
    match at {
        At::Open(handle) => format!("/proc/self/fd/{}", handle.as_raw_fd()).into_bytes(),
        At::Below(directory, name) => {
            let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
            path.extend_from_slice(name);
            path
        }
    }
}

fn list(at: At<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    match at {
        At::Open(handle) => rustix::fs::flistxattr(handle, buffer),
        At::Below(..) => rustix::fs::llistxattr(path_of(at), buffer),
    }
}

fn get(at: At<'_>, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
    match at {
        At::Open(handle) => rustix::fs::fgetxattr(handle, name, buffer),
        At::Below(..) => rustix::fs::lgetxattr(path_of(at), name, buffer),
    }
}

/// Calls with a small buffer first, and once more with the largest that the kernel fills.
fn filled(mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0u8; 512];
    match call(&mut small) {
        Ok(length) => Ok(small.get(..length).unwrap_or_default().to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0u8; ATTRIBUTE_BYTES_MAX];
            let length = call(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}

/// All attributes, sorted by name, and what of them could not be read. What lies on a file system without attributes
/// has none.
pub fn read(at: At<'_>) -> (Vec<Xattr>, Option<Fault>) {
    let names = match filled(|buffer| list(at, buffer)) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return (Vec::new(), None),
        // Without /proc the path leads nowhere: the file is opened after all.
        Err(error @ (Errno::NOENT | Errno::NOTDIR)) => match at {
            At::Below(directory, name) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
                return match rustix::fs::openat(directory, name, flags, Mode::empty()) {
                    Ok(handle) => read(At::Open(std::os::fd::AsFd::as_fd(&handle))),
                    // gone, or not ours to read: whoever wants its content will say so
                    Err(_) => (Vec::new(), None),
                };
            }
            At::Open(_) => return (Vec::new(), Some(Fault::new("read the attributes", error))),
        },
        Err(error) => return (Vec::new(), Some(Fault::new("read the attributes", error))),
    };
    let mut names: Vec<&[u8]> = names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let mut lost = Lost::default();
    let mut out = Vec::new();
    let mut bytes = 0;
    for name in names {
        match filled(|buffer| get(at, name, buffer)) {
            Ok(value) if bytes + name.len() + value.len() <= ENTRY_BYTES_MAX => {
                bytes += name.len() + value.len();
                out.push(Xattr { name: name.to_vec(), value });
            }
            Ok(_) => lost.add(name, io::Error::other("all of them together are larger than 1 MiB")),
            // gone in between
            Err(Errno::NODATA) => {}
            Err(error) => lost.add(name, error.into()),
        }
    }
    (out, lost.fault())
}

/// The attributes of one entry that could not be read.
#[derive(Default)]
struct Lost {
    first: Option<(String, io::Error)>,
    more: usize,
}

impl Lost {
    fn add(&mut self, name: &[u8], error: io::Error) {
        if self.first.is_some() {
            self.more += 1;
        } else {
            self.first = Some((String::from_utf8_lossy(name).into_owned(), error));
        }
    }

    fn fault(self) -> Option<Fault> {
        let (name, error) = self.first?;
        let more = if self.more == 0 { String::new() } else { format!(" and {} more", self.more) };
        Some(Fault::new(format!("read attribute {name}{more}"), error))
    }
}

/// Sets the attributes, and removes what the entry inherited or kept and should not have.
pub fn apply(at: At<'_>, xattrs: &[Xattr], faults: &mut Vec<Fault>) {
    let wanted = |name: &[u8]| xattrs.iter().any(|xattr| xattr.name == name);
    if let Ok(names) = filled(|buffer| list(at, buffer)) {
        let extra = names.split(|byte| *byte == 0).filter(|name| is_owned(name) && !wanted(name));
        for name in extra {
            let done = match at {
                At::Open(handle) => rustix::fs::fremovexattr(handle, name),
                At::Below(..) => rustix::fs::lremovexattr(path_of(at), name),
            };
            if let Err(error) = done {
                faults.push(Fault::new(format!("remove attribute {}", String::from_utf8_lossy(name)), error));
            }
        }
    }
    for xattr in xattrs {
        let (name, value) = (xattr.name.as_slice(), xattr.value.as_slice());
        let done = match at {
            At::Open(handle) => rustix::fs::fsetxattr(handle, name, value, XattrFlags::empty()),
            At::Below(..) => rustix::fs::lsetxattr(path_of(at), name, value, XattrFlags::empty()),
        };
        if let Err(error) = done {
            faults.push(Fault::new(format!("set attribute {}", String::from_utf8_lossy(name)), error));
        }
    }
}

/// The first attribute that `apply` would set or remove.
pub fn difference(at: At<'_>, xattrs: &[Xattr]) -> Option<Vec<u8>> {
    let there = read(at).0;
    let missing = xattrs.iter().find(|xattr| !there.contains(xattr));
    let extra = || there.iter().find(|xattr| is_owned(&xattr.name) && !xattrs.iter().any(|one| one.name == xattr.name));
    missing.or_else(extra).map(|xattr| xattr.name.clone())
}

/// Attributes that belong to the user of the file; labels of security modules are the machine's.
fn is_owned(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_")
}
