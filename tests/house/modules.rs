//! The tree of our modules, and what a path in the code means in it. A re-export hides nothing: a path is followed
//! through every import on its way, to the module that owns what it names.

use crate::source::Name;
use std::collections::{BTreeMap, BTreeSet};

/// A path from the crates down, the crate first.
pub type Module = Vec<String>;

/// Where the crates have their sources.
const CRATES: &[(&str, &str)] = &[("src/", "vault"), ("format/src/", "vault_format"), ("testkit/src/", "testkit")];

/// The module of a file that belongs to one of our crates and not to its tests: `src/repository/writer.rs` is
/// `vault::repository::writer`.
pub fn module_of(file: &str) -> Option<Module> {
    let (inner, name) = CRATES.iter().find_map(|(folder, name)| Some((file.strip_prefix(folder)?, name)))?;
    let parts = inner.trim_end_matches(".rs").split('/').filter(|part| !matches!(*part, "lib" | "mod"));
    let is_test = inner == "tests.rs" || inner.ends_with("/tests.rs");
    (!is_test).then(|| [name].into_iter().copied().chain(parts).map(String::from).collect())
}

#[derive(Default)]
pub struct Modules {
    known: BTreeSet<Module>,
    imports: BTreeMap<Module, Module>,
}

impl Modules {
    pub fn new<'a>(files: impl Iterator<Item = (&'a Module, &'a [Name])> + Clone) -> Self {
        let known = files.clone().map(|(module, _)| module.clone()).collect();
        let mut modules = Self { known, imports: BTreeMap::new() };
        for (module, name) in files.flat_map(|(module, names)| names.iter().map(move |name| (module, name))) {
            if let (Some(visible), Some(target)) = (&name.imported_as, modules.absolute(name, module)) {
                let here = module.iter().chain(&name.inside).chain([visible]).cloned().collect();
                modules.imports.insert(here, target);
            }
        }
        modules
    }

    pub fn is_known(&self, module: &[String]) -> bool {
        self.known.contains(module)
    }

    /// What a name in a module means, None if it is somebody else's.
    pub fn resolve(&self, name: &Name, module: &Module) -> Option<Module> {
        let mut target = self.absolute(name, module)?;
        // an import that leads in a circle is no program
        for _ in 0..8 {
            let imported = (1..=target.len()).find_map(|end| {
                let (first, rest) = target.split_at(end);
                let owner = self.imports.get(first).filter(|owner| !self.is_known(first) && *owner != first)?;
                Some([owner.as_slice(), rest].concat())
            });
            let Some(imported) = imported else { break };
            target = imported;
        }
        Some(target)
    }

    fn absolute(&self, name: &Name, module: &Module) -> Option<Module> {
        // the program's root lies beside the library's
        let module = if module[1..] == ["main"] { &module[..1] } else { module };
        let mut base = [module, &name.inside].concat();
        let (first, mut rest) = name.path.split_first().filter(|(_, rest)| !rest.is_empty())?;
        match first.as_str() {
            "crate" => base.truncate(1),
            "self" => {}
            "super" => drop(base.pop()),
            krate if CRATES.iter().any(|(_, name)| *name == krate) => return Some(name.path.clone()),
            _ if self.is_known(&[base.as_slice(), std::slice::from_ref(first)].concat()) => rest = &name.path,
            _ => return None,
        }
        while let Some((_, more)) = rest.split_first().filter(|(word, _)| *word == "super") {
            base.pop();
            rest = more;
        }
        base.extend_from_slice(rest);
        Some(base)
    }
}
