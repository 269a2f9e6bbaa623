//! Every rule over every file. A fault names the file or the folder, the rule, and the line as it is written there.

use crate::circle::{self, Edges};
use crate::modules::{Module, Modules, module_of};
use crate::rules::{
    EMPTY_NAMES, FILE_LINES_MAX, FUNCTION_LINES_MAX, ORDERS, PARAMETERS_MAX, RESERVED, TUPLE_MAX, UNBOUND,
};
use crate::source::{self, Function, Name};
use std::collections::BTreeMap;
use std::fmt;

/// Source text by path relative to the repository.
pub type Files = BTreeMap<String, String>;

/// A rule that is not kept.
pub struct Fault {
    /// A file, or a folder of modules.
    pub place: String,
    pub what: String,
    /// Where, and what is written there.
    lines: Vec<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        self.lines.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// One source file, read.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
    /// None for a test.
    module: Option<Module>,
    names: Vec<Name>,
    functions: Vec<Function>,
}

impl<'a> Source<'a> {
    fn read(file: &'a str, text: &'a str) -> Result<Self, Fault> {
        let parsed = syn::parse_file(text);
        let parsed =
            parsed.map_err(|error| Fault { place: file.into(), what: error.to_string(), lines: Vec::new() })?;
        let (names, functions) = (source::names(&parsed), source::functions(&parsed, text));
        Ok(Self { file, text, module: module_of(file), names, functions })
    }

    fn line(&self, line: usize) -> String {
        format!("{}:{line}: {}", self.file, self.text.lines().nth(line - 1).unwrap_or_default().trim())
    }

    fn fault(&self, line: usize, what: impl Into<String>) -> Fault {
        Fault { place: self.file.into(), what: what.into(), lines: vec![self.line(line)] }
    }
}

/// The faults of these files.
pub fn check(files: &Files) -> Vec<Fault> {
    let (mut faults, mut sources, mut edges) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (file, text) in files {
        match Source::read(file, text) {
            Ok(source) => sources.push(source),
            Err(fault) => faults.push(fault),
        }
    }
    let product = sources.iter().filter_map(|source| Some((source, source.module.as_ref()?)));
    let modules = Modules::new(product.clone().map(|(source, module)| (module, source.names.as_slice())));
    sources.iter().for_each(|source| measure(source, &mut faults));
    for (source, module) in product {
        reserve(source, &module.join("::"), &mut faults);
        place(source, module, &mut faults);
        relate(source, module, &modules, &mut edges, &mut faults);
    }
    for (folder, edges) in edges {
        let circle = circle::shortest(&edges);
        if !circle.is_empty() {
            let lines = circle.into_iter().map(|((from, to), line)| format!("{from} -> {to}: {line}")).collect();
            faults.push(Fault { place: folder.join("::"), what: "circle among its children".into(), lines });
        }
    }
    faults
}

/// What a file is called, and how large it and its functions are.
fn measure(source: &Source<'_>, faults: &mut Vec<Fault>) {
    if source.file.trim_end_matches(".rs").split('/').any(|part| EMPTY_NAMES.contains(&part)) {
        faults.push(source.fault(1, "a name that says nothing"));
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        faults.push(source.fault(lines, format!("{lines} lines")));
    }
    for Function { name, line, lines, parameters, tuple } in &source.functions {
        if *lines > FUNCTION_LINES_MAX {
            faults.push(source.fault(*line, format!("fn {name} has {lines} lines")));
        }
        if let Some(parameters) = parameters.filter(|parameters| *parameters > PARAMETERS_MAX) {
            faults.push(source.fault(*line, format!("fn {name} has {parameters} parameters")));
        }
        if *tuple > TUPLE_MAX {
            faults.push(source.fault(*line, format!("fn {name} takes a tuple of {tuple}")));
        }
    }
}

/// Names that this module may not use.
fn reserve(source: &Source<'_>, module: &str, faults: &mut Vec<Fault>) {
    let is_in =
        |owner: &&str| module == *owner || module.strip_prefix(owner).is_some_and(|rest| rest.starts_with("::"));
    for Name { path, line, imported_as, .. } in &source.names {
        let prelude = path.iter().rev().nth(1).is_some_and(|parent| parent == "prelude");
        if imported_as.as_ref().is_some_and(|name| name == "*") && !prelude {
            faults.push(source.fault(*line, format!("glob import {}", path.join("::"))));
        }
        for (name, owners) in RESERVED.iter().filter(|(name, _)| is_named(path, name)) {
            let is_bound = owners.is_empty() || !UNBOUND.iter().any(is_in);
            if is_bound && !owners.iter().any(is_in) {
                faults.push(source.fault(*line, format!("{name} outside its module")));
            }
        }
    }
}

fn is_named(path: &[String], reserved: &str) -> bool {
    let reserved: Vec<&str> = reserved.split("::").collect();
    // a crate stands first in a path: `backend::opendal` is a module of ours
    let is_crate = reserved.len() == 1 && reserved[0].chars().all(|c| c.is_lowercase() || c == '_');
    let mut parts = path.windows(reserved.len()).take(if is_crate { 1 } else { usize::MAX });
    parts.any(|part| part.iter().zip(&reserved).all(|(word, name)| word == name))
}

/// The order of a folder's children, if it has one.
fn order(folder: &[String]) -> Option<&'static [&'static [&'static str]]> {
    ORDERS.iter().find(|(name, _)| *name == folder.join("::")).map(|(_, rows)| *rows)
}

fn row(folder: &[String], child: &str) -> Option<usize> {
    order(folder)?.iter().position(|row| row.contains(&child))
}

/// Each module above this one, and itself, has its place in the order of its folder.
fn place(source: &Source<'_>, module: &Module, faults: &mut Vec<Fault>) {
    for (depth, child) in module.iter().enumerate() {
        let folder = &module[..depth];
        if order(folder).is_some() && row(folder, child).is_none() {
            faults.push(source.fault(1, format!("{} is not in the layer table", module[..=depth].join("::"))));
        }
    }
}

/// Which siblings this module uses, noted by the folder that both lie in, and whether it may.
fn relate(
    source: &Source<'_>,
    module: &Module,
    modules: &Modules,
    edges: &mut BTreeMap<Module, Edges<String>>,
    faults: &mut Vec<Fault>,
) {
    for name in &source.names {
        let Some(target) = modules.resolve(name, module) else { continue };
        let depth = module.iter().zip(&target).take_while(|(own, other)| own == other).count();
        let (folder, Some(from), Some(to)) = (&module[..depth], module.get(depth), target.get(depth)) else { continue };
        let (own, other) = (row(folder, from), row(folder, to));
        if other.is_none() && !modules.is_known(&target[..=depth]) {
            // what a folder itself defines is for all of its children, but the root defines nothing
            if *folder == ["vault"] {
                faults.push(source.fault(name.line, format!("{to} is in no layer: name the module that owns it")));
            }
            continue;
        }
        let siblings = edges.entry(folder.to_vec()).or_default();
        siblings.entry((from.clone(), to.clone())).or_insert_with(|| source.line(name.line));
        let Some((own, other)) = own.zip(other).filter(|(own, other)| other >= own) else { continue };
        let how = if other > own { "climbs" } else { "goes to a stranger" };
        faults.push(source.fault(name.line, format!("{from} (row {own}) {how}: {to} (row {other})")));
    }
}
