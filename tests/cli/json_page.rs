//! docs/json.md, made from the structs that the commands print: a field's name and type are those of the code, and what
//! it tells is its comment. The page fails when it is stale; `VAULT_WRITE_DOCS=1` writes it anew. Structs stand in
//! `printed!`, each field with its value, and a command's own has a comment that begins "What `vault COMMAND` prints".

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Expr, GenericArgument, Generics, Ident, Item, Lit, Meta, PathArguments, Token, Type, Visibility};

/// A struct by the file that it stands in, without `.rs`, and its name.
type Key = (String, String);

/// One field as it is printed.
struct Field {
    name: String,
    tells: String,
    ty: Type,
    /// It may be left out.
    optional: bool,
    /// Its own fields stand in its place.
    flat: bool,
}

/// A struct that is printed.
struct Printed {
    tells: String,
    fields: Vec<Field>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text of the comments above something, in one line without its last dot.
fn comment(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(lit) => match &lit.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

/// The words in all attributes of a name, like `derive` or `serde`.
fn words(attributes: &[Attribute], name: &str) -> String {
    let own = attributes.iter().filter(|attribute| attribute.path().is_ident(name));
    own.filter_map(|attribute| attribute.meta.require_list().ok()).map(|list| list.tokens.to_string()).collect()
}

impl Parse for Field {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let (ident, _, ty) = (input.call(Ident::parse_any)?, input.parse::<Token![:]>()?, input.parse()?);
        let (_, _value, _) = (input.parse::<Token![=]>()?, input.parse::<Expr>()?, input.parse::<Token![,]>()?);
        let serde = words(&attributes, "serde");
        let renamed = serde.split_once("rename = \"").and_then(|(_, rest)| Some(rest.split_once('"')?.0.to_owned()));
        let name = renamed.unwrap_or_else(|| ident.to_string());
        let (optional, flat) = (serde.contains("skip_serializing_if"), serde.contains("flatten"));
        Ok(Self { name, tells: comment(&attributes), ty, optional, flat })
    }
}

/// The structs of a `printed!`, by their names.
struct Structs(Vec<(String, Printed)>);

impl Parse for Structs {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut structs = Vec::new();
        while !input.is_empty() {
            let tells = comment(&input.call(Attribute::parse_outer)?);
            let (_, _) = (input.parse::<Visibility>()?, input.parse::<Token![struct]>()?);
            let (name, _) = (input.parse::<Ident>()?.to_string(), input.parse::<Generics>()?);
            let (from, body);
            syn::parenthesized!(from in input);
            from.parse::<proc_macro2::TokenStream>()?;
            syn::braced!(body in input);
            let mut fields = Vec::new();
            while !body.is_empty() {
                fields.push(body.parse()?);
            }
            structs.push((name, Printed { tells, fields }));
        }
        Ok(Self(structs))
    }
}

/// All structs of the command line that are printed.
fn printed() -> BTreeMap<Key, Printed> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("src/cli")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let (Some(stem), true) = (path.file_stem(), path.extension().is_some_and(|end| end == "rs")) else { continue };
        let file = syn::parse_file(&fs::read_to_string(&path).expect("a file")).expect("code");
        for item in file.items {
            if let Item::Macro(item) = item
                && item.mac.path.is_ident("printed")
            {
                let Structs(structs) = item.mac.parse_body().expect("structs with values");
                let stem = stem.to_string_lossy();
                found.extend(structs.into_iter().map(|(name, printed)| ((stem.clone().into_owned(), name), printed)));
            }
        }
    }
    found
}

/// What a type is called in the page, and the struct that it holds.
fn name_of(ty: &Type, file: &str) -> (String, Option<Key>) {
    let listed = |(name, key): (String, Option<Key>)| (format!("list of {name}s"), key);
    match ty {
        Type::Reference(reference) => name_of(&reference.elem, file),
        Type::Slice(slice) => listed(name_of(&slice.elem, file)),
        Type::Path(path) => {
            let segments: Vec<String> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let last = path.path.segments.last().expect("a type");
            // of a map only its values: its keys are names
            let inner = || match &last.arguments {
                PathArguments::AngleBracketed(inner) => inner.args.iter().rev().find_map(|argument| match argument {
                    GenericArgument::Type(ty) => Some(name_of(ty, file)),
                    _ => None,
                }),
                _ => None,
            };
            match last.ident.to_string().as_str() {
                "String" | "str" => ("text".to_owned(), None),
                "bool" => ("true or false".to_owned(), None),
                "u32" | "u64" | "f64" => ("number".to_owned(), None),
                "BTreeMap" => (format!("object of {}s", inner().expect("what is in the map").0), None),
                "Vec" => listed(inner().expect("what is in the list")),
                "Option" => {
                    let (name, key) = inner().expect("what there may be");
                    (format!("{name} or null"), key)
                }
                own => {
                    let file = segments.iter().rev().nth(1).map_or(file, String::as_str);
                    ("object".to_owned(), Some((file.to_owned(), own.to_owned())))
                }
            }
        }
        _ => panic!("a type that this page has no word for, in {file}.rs"),
    }
}

fn rows(all: &BTreeMap<Key, Printed>, key: &Key, above: &str, page: &mut String) {
    let printed = all.get(key).unwrap_or_else(|| panic!("{key:?} is not printed"));
    for field in &printed.fields {
        let (mut name, inner) = name_of(&field.ty, &key.0);
        if field.flat {
            rows(all, &inner.expect("a struct"), above, page);
            continue;
        }
        assert!(!field.tells.is_empty(), "{key:?}: {} has no comment", field.name);
        if field.optional {
            name = name.replace(" or null", ", or left out");
        }
        let path = format!("{above}{}", field.name);
        page.push_str(&format!("| `{path}` | {name} | {} |\n", field.tells));
        if let Some(inner) = inner {
            rows(all, &inner, &format!("{path}."), page);
        }
    }
}

/// The part of the page behind its introduction.
fn page() -> String {
    let all = printed();
    let mut sections = BTreeMap::new();
    for (key, printed) in &all {
        let Some((command, _)) = printed.tells.strip_prefix("What `").and_then(|rest| rest.split_once("` prints"))
        else {
            continue;
        };
        let mut section = format!("\n{}.\n\n| field | is | tells |\n|---|---|---|\n", printed.tells);
        rows(&all, key, "", &mut section);
        // what stands for a value is no part of the heading
        let words =
            command.split(' ').filter(|word| *word != "vault" && !word.bytes().all(|sign| sign.is_ascii_uppercase()));
        sections.insert(words.collect::<Vec<_>>().join(" "), section);
    }
    sections.into_iter().map(|(command, section)| format!("\n## `{command}`\n{section}")).collect()
}

#[test]
fn the_page_is_made_from_what_is_printed() {
    let path = root().join("docs/json.md");
    let stored = fs::read_to_string(&path).expect("the page");
    let introduction = stored.split("\n## ").next().unwrap_or_default();
    let made = format!("{}\n{}", introduction.trim_end(), page());
    if std::env::var_os("VAULT_WRITE_DOCS").is_some() {
        fs::write(&path, &made).expect("a page");
    } else {
        assert!(made == stored, "docs/json.md is stale: run this test with VAULT_WRITE_DOCS=1");
    }
}
