//! Names put together to the path of an entry below the root of its tree, with slashes between them and none at the front.
//! No path is longer than a reader has to bear: they grow with every level, and would be most of what a deep tree costs.

use crate::repository::{Result, of_object};
use vault_format::tree::PATH_BYTES_MAX;

/// Bytes of a path that a message tells.
const BEGINNING_BYTES: usize = 200;

/// The path of a name in a directory.
pub fn join(above: &[u8], name: &[u8]) -> Vec<u8> {
    match (above, name) {
        ([], name) => name.to_vec(),
        (above, []) => above.to_vec(),
        (above, name) => [above, b"/", name].concat(),
    }
}

/// Makes the path of a directory that of a name in it. Fails if it is longer than any may be, and stays then: paths that
/// grow with every level would be most of what a deep tree costs.
pub fn extend(path: &mut Vec<u8>, name: &[u8]) -> Result<()> {
    let slash = usize::from(!path.is_empty() && !name.is_empty());
    if path.len() + slash + name.len() > PATH_BYTES_MAX {
        let object = format!("what is below {}", beginning(path));
        return of_object(object, Err(vault_format::Error::Limit("the length of its path")));
    }
    path.extend_from_slice(b"/".get(..slash).unwrap_or_default());
    path.extend_from_slice(name);
    Ok(())
}

/// A path as a message tells it: only the beginning of one that would fill the screen.
pub fn beginning(path: &[u8]) -> String {
    match path.get(..BEGINNING_BYTES) {
        Some(short) if short.len() < path.len() => format!("{}...", String::from_utf8_lossy(short)),
        _ => String::from_utf8_lossy(path).into_owned(),
    }
}
