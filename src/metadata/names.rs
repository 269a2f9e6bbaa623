//! User and group names of this machine, from `/etc/passwd` and `/etc/group`. Read once and never changed, so that
//! every thread of a run sees the same names. Ids that the two files don't list have no name.

use std::collections::HashMap;
use std::path::Path;

/// The names of users and groups.
#[derive(Clone, Debug, Default)]
pub struct Names {
    users: Table,
    groups: Table,
}

#[derive(Clone, Debug, Default)]
struct Table {
    names: HashMap<u32, Vec<u8>>,
    ids: HashMap<Vec<u8>, u32>,
}

impl Names {
    /// Reads the two files; a missing one means that nobody has a name.
    pub fn load() -> Self {
        Self { users: Table::load(Path::new("/etc/passwd")), groups: Table::load(Path::new("/etc/group")) }
    }

    /// Name of a user, empty if unknown.
    pub fn user(&self, id: u32) -> &[u8] {
        self.users.name(id)
    }

    /// Name of a group, empty if unknown.
    pub fn group(&self, id: u32) -> &[u8] {
        self.groups.name(id)
    }

    /// Id of a user name.
    pub fn uid(&self, name: &[u8]) -> Option<u32> {
        self.users.ids.get(name).copied()
    }

    /// Id of a group name.
    pub fn gid(&self, name: &[u8]) -> Option<u32> {
        self.groups.ids.get(name).copied()
    }
}

impl Table {
    fn load(path: &Path) -> Self {
        Self::parse(&std::fs::read(path).unwrap_or_default())
    }

    /// Lines of `name:password:id:…`; the first line wins for a name and for an id, as in the C library.
    fn parse(text: &[u8]) -> Self {
        let mut table = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b':');
            let (Some(name), Some(_), Some(id)) = (fields.next(), fields.next(), fields.next()) else { continue };
            let Some(id) = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()) else { continue };
            if name.is_empty() {
                continue;
            }
            table.names.entry(id).or_insert_with(|| name.to_vec());
            table.ids.entry(name.to_vec()).or_insert(id);
        }
        table
    }

    fn name(&self, id: u32) -> &[u8] {
        self.names.get(&id).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn first_line_wins_and_broken_lines_are_ignored() {
        let table = Table::parse(b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0\n\nbad\n:x:7\nodd:x:seven\nanna:x:1000:1000");
        assert_eq!(table.name(0), b"root");
        assert_eq!(table.ids.get(b"toor".as_slice()), Some(&0));
        assert_eq!(table.name(1000), b"anna");
        assert_eq!(table.name(7), b"");
    }
}
