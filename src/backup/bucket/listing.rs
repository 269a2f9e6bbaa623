//! The objects of a bucket as files and folders, in the order that trees are stored in. Names are cut at `/`; a name that
//! can't be a path is told with the reason and never altered, so that none is lost in silence and none takes the place of
//! another.

use crate::backend::bucket::{Object, ObjectKind};
use crate::source::Excludes;
use std::collections::VecDeque;
use vault_format::tree::{NAME_BYTES_MAX, is_plain_name};

/// Why an object can't be stored under its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Odd {
    /// Two slashes, or one at the start.
    #[error("its name has an empty part, which no path can have; not stored")]
    EmptyPart,
    /// It would lead elsewhere.
    #[error("its name has `.`, `..` or NUL as a part, which no path can have; not stored")]
    NotPlain,
    /// The client can't ask for it.
    #[error("its name begins or ends with a blank, which the client takes off; not stored")]
    Blank,
    /// Content and other objects below it.
    #[error("is an object and a folder at once: only the folder is stored")]
    AlsoFolder,
    /// The same name again.
    #[error("is listed twice: only the first is stored")]
    Twice,
    /// A link, or the like.
    #[error("neither a file nor a folder; not stored")]
    NoFile,
}

/// One step through the objects.
#[derive(PartialEq, Eq, Debug)]
pub enum Step<'o> {
    /// A folder begins; its path.
    Enter(&'o str),
    /// The folder entered last ends.
    Leave,
    /// A file.
    File(&'o Object),
    /// The folder with this name is stored, and not the bytes that its object may have.
    Marker(&'o str),
    /// A pattern leaves out the file or folder with this path.
    Excluded(&'o str),
    /// An object is left out against the user's wish.
    Odd(&'o str, Odd),
}

/// The path of an object: a slash at the end only says that it is a folder.
fn path(object: &Object) -> &str {
    object.name.strip_suffix('/').unwrap_or(&object.name)
}

fn is_folder(object: &Object) -> bool {
    matches!(object.kind, ObjectKind::Folder | ObjectKind::Marker)
}

/// All objects in order, a file before the folder of the same name.
pub struct Listing {
    objects: Vec<Object>,
}

impl Listing {
    /// Puts objects in order.
    pub fn new(mut objects: Vec<Object>) -> Self {
        objects.sort_unstable_by(|one, other| {
            let parts = path(one).split('/').cmp(path(other).split('/'));
            parts.then_with(|| is_folder(one).cmp(&is_folder(other))).then_with(|| one.name.cmp(&other.name))
        });
        Self { objects }
    }

    /// How many files there seem to be, and their bytes.
    pub fn total(&self) -> Total {
        let files = self.objects.iter().filter(|object| object.kind == ObjectKind::File);
        files.fold(Total::default(), |total, object| Total {
            files: total.files + 1,
            bytes: total.bytes.saturating_add(object.size),
        })
    }

    /// The way through them.
    pub fn steps<'o>(&'o self, excludes: &'o Excludes, is_readable: &'o dyn Fn(&str) -> bool) -> Steps<'o> {
        let (open, coming) = (Vec::new(), VecDeque::new());
        Steps { objects: &self.objects, excludes, is_readable, open, hidden: None, coming, is_over: false }
    }
}

/// Files and bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Total {
    pub files: u64,
    pub bytes: u64,
}

/// Goes through a listing.
pub struct Steps<'o> {
    /// Those still to come.
    objects: &'o [Object],
    excludes: &'o Excludes,
    is_readable: &'o dyn Fn(&str) -> bool,
    /// Paths of the folders that were entered.
    open: Vec<&'o str>,
    /// The folder that was left out last.
    hidden: Option<&'o str>,
    coming: VecDeque<Step<'o>>,
    is_over: bool,
}

impl<'o> Iterator for Steps<'o> {
    type Item = Step<'o>;

    fn next(&mut self) -> Option<Step<'o>> {
        while self.coming.is_empty() && !self.is_over {
            match self.objects.split_first() {
                Some((object, rest)) => {
                    self.objects = rest;
                    self.take(object);
                }
                None => {
                    self.leave_to(0);
                    self.is_over = true;
                }
            }
        }
        self.coming.pop_front()
    }
}

impl<'o> Steps<'o> {
    fn take(&mut self, object: &'o Object) {
        let path = path(object);
        let is_folder = is_folder(object);
        if self.hidden.is_some_and(|hidden| is_in(path, hidden)) {
            return;
        }
        if let Some(odd) = self.odd(object) {
            let excluded = || prefixes(path).any(|above| self.excludes.excludes(above.as_bytes(), true));
            let step = if self.excludes.excludes(path.as_bytes(), is_folder) || excluded() {
                Step::Excluded(path)
            } else {
                Step::Odd(&object.name, odd)
            };
            self.coming.push_back(step);
            return;
        }
        if !self.enter(if is_folder { path } else { above(path) }) {
            return;
        }
        if is_folder {
            if object.kind == ObjectKind::Marker {
                self.coming.push_back(Step::Marker(&object.name));
            }
        } else if self.excludes.excludes(path.as_bytes(), false) {
            self.coming.push_back(Step::Excluded(path));
        } else {
            let step = self.file(object);
            self.coming.extend(step);
        }
    }

    /// Why the name of an object by itself can't be stored.
    fn odd(&self, object: &Object) -> Option<Odd> {
        let path = path(object);
        if object.kind == ObjectKind::Other {
            return Some(Odd::NoFile);
        }
        if path.split('/').any(str::is_empty) {
            return Some(Odd::EmptyPart);
        }
        if !path.split('/').all(|part| is_plain_name(part.as_bytes()) && part.len() <= NAME_BYTES_MAX) {
            return Some(Odd::NotPlain);
        }
        (!(self.is_readable)(&object.name)).then_some(Odd::Blank)
    }

    /// A file, unless something else has its name.
    fn file(&mut self, object: &'o Object) -> Option<Step<'o>> {
        let same = |other: &&Object| other.kind == ObjectKind::File && other.name == object.name;
        let doubles = self.objects.iter().take_while(same).count();
        let (twice, rest) = self.objects.split_at_checked(doubles).unwrap_or((self.objects, &[]));
        self.objects = rest;
        self.coming.extend(twice.iter().map(|other| Step::Odd(&other.name, Odd::Twice)));
        let is_folder = rest.first().is_some_and(|next| is_in(path(next), &object.name));
        match (is_folder, object.size) {
            (false, _) => Some(Step::File(object)),
            // some stores mark a folder so
            (true, 0) => None,
            (true, _) => Some(Step::Odd(&object.name, Odd::AlsoFolder)),
        }
    }

    /// Leaves and enters folders up to this one; false if a pattern leaves one of them out.
    fn enter(&mut self, folder: &'o str) -> bool {
        let wanted: Vec<&'o str> = prefixes(folder).chain((!folder.is_empty()).then_some(folder)).collect();
        let same = self.open.iter().zip(&wanted).take_while(|(open, wanted)| open == wanted).count();
        self.leave_to(same);
        for path in wanted.into_iter().skip(same) {
            if self.excludes.excludes(path.as_bytes(), true) {
                self.hidden = Some(path);
                self.coming.push_back(Step::Excluded(path));
                return false;
            }
            self.open.push(path);
            self.coming.push_back(Step::Enter(path));
        }
        true
    }

    fn leave_to(&mut self, depth: usize) {
        while self.open.len() > depth {
            self.open.pop();
            self.coming.push_back(Step::Leave);
        }
    }
}

/// True for a folder itself, and what lies below it.
pub fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The folders that a path lies in, from the top down.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(move |(slash, _)| path.get(..slash))
}

/// The folder that a path lies in.
fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The last part of a path.
pub fn last(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

#[cfg(test)]
mod tests {
    use super::{Listing, Odd, Step};
    use crate::backend::bucket::{Object, ObjectKind};
    use crate::source::Excludes;

    fn object(name: &str) -> Object {
        let kind = if name.ends_with('/') { ObjectKind::Folder } else { ObjectKind::File };
        Object { name: name.into(), kind, size: u64::from(!name.ends_with('/')), modified: None, etag: None }
    }

    fn steps(objects: Vec<Object>, patterns: &[&str]) -> Vec<String> {
        let patterns: Vec<Vec<u8>> = patterns.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
        let (listing, excludes) = (Listing::new(objects), Excludes::new(&patterns, &[]).unwrap());
        let is_readable = |name: &str| name.trim() == name;
        let told = listing.steps(&excludes, &is_readable).map(|step| match step {
            Step::Enter(path) => format!("> {path}"),
            Step::Leave => "<".to_owned(),
            Step::File(object) => object.name.clone(),
            Step::Marker(name) => format!("? {name}"),
            Step::Excluded(path) => format!("- {path}"),
            Step::Odd(name, odd) => format!("{name}: {odd:?}"),
        });
        told.collect()
    }

    fn named(names: &[&str]) -> Vec<Object> {
        names.iter().map(|name| object(name)).collect()
    }

    #[test]
    fn objects_come_in_the_order_of_trees_whatever_order_the_store_has() {
        let names = ["b", "a-b", "a/z", "a.c", "a/b/c", "a/b-c", "e/", "d/f/"];
        let wanted = [
            "> a", "> a/b", "a/b/c", "<", "a/b-c", "a/z", "<", "a-b", "a.c", "b", "> d", "> d/f", "<", "<", "> e", "<",
        ];
        assert_eq!(steps(named(&names), &[]), wanted);
    }

    #[test]
    fn what_no_path_can_be_is_told() {
        let names = ["/a", "b//c", "d/../e", "./f", "g/.", "h\0", "i ", "ok", "//", "j//"];
        let mut told = steps(named(&names), &[]);
        told.sort();
        let odd = |name: &str, odd: Odd| format!("{name}: {odd:?}");
        let mut wanted = vec![
            odd("/a", Odd::EmptyPart),
            odd("b//c", Odd::EmptyPart),
            odd("d/../e", Odd::NotPlain),
            odd("./f", Odd::NotPlain),
            odd("g/.", Odd::NotPlain),
            odd("h\0", Odd::NotPlain),
            odd("i ", Odd::Blank),
            "ok".to_owned(),
            odd("//", Odd::EmptyPart),
            odd("j//", Odd::EmptyPart),
        ];
        wanted.sort();
        assert_eq!(told, wanted);
        // whoever does not want them says so
        assert_eq!(steps(named(&["b//c", "d/../e"]), &["b/", "d/*/e"]), ["- b//c", "- d/../e"]);
    }

    #[test]
    fn a_name_stands_for_one_thing() {
        assert_eq!(steps(named(&["a", "a-", "a/b"]), &[]), ["a: AlsoFolder", "> a", "a/b", "<", "a-"]);
        assert_eq!(steps(named(&["a", "a/"]), &[]), ["a: AlsoFolder", "> a", "<"]);
        assert_eq!(steps(named(&["a", "a", "b"]), &[]), ["a: Twice", "a", "b"]);
        let empty = Object { size: 0, ..object("a") };
        assert_eq!(steps(vec![object("a/b"), empty], &[]), ["> a", "a/b", "<"]);
        let full = Object { kind: ObjectKind::Marker, ..object("a/") };
        assert_eq!(steps(vec![full, object("a/b")], &[]), ["> a", "? a/", "a/b", "<"]);
        let link = Object { kind: ObjectKind::Other, ..object("l") };
        assert_eq!(steps(vec![link], &[]), ["l: NoFile"]);
    }

    #[test]
    fn patterns_leave_out_files_and_whole_folders() {
        let names = ["a.tmp", "cache/x", "cache/y/z", "keep/cache", "keep/a.tmp", "keep/b"];
        let wanted = ["- a.tmp", "- cache", "> keep", "- keep/a.tmp", "keep/b", "keep/cache", "<"];
        assert_eq!(steps(named(&names), &["*.tmp", "cache/"]), wanted);
    }
}
