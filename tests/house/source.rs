//! What one source file says, read with `syn`: the names in it, every `use` tree taken apart and the bodies of macros
//! included, and the measures of its functions. What `#[cfg(test)] mod` names is not the product's, and left out.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Block, FnArg, Item, Signature, Type, UseTree};

/// A path in the code; the last word of a macro ends with `!`.
pub struct Name {
    pub path: Vec<String>,
    pub line: usize,
    /// What an import is called here, `*` for a glob.
    pub imported_as: Option<String>,
    /// The inline modules around it.
    pub inside: Vec<String>,
}

/// A function or method, not a closure.
pub struct Function {
    pub name: String,
    pub line: usize,
    /// Lines of its body that hold code.
    pub lines: usize,
    /// None where a trait gives the signature.
    pub parameters: Option<usize>,
    /// Entries of the longest tuple among its parameters.
    pub tuple: usize,
}

/// Every name of a file.
pub fn names(file: &syn::File) -> Vec<Name> {
    let mut names = Names::default();
    names.visit_file(file);
    names.all
}

/// Every function of a file, those of its tests too.
pub fn functions(file: &syn::File, text: &str) -> Vec<Function> {
    let mut functions = Functions { text: text.lines().collect(), by_trait: false, all: Vec::new() };
    functions.visit_file(file);
    functions.all
}

#[derive(Default)]
struct Names {
    all: Vec<Name>,
    inside: Vec<String>,
    /// The words of the item around are there already.
    is_read: bool,
}

impl Names {
    fn add(&mut self, path: Vec<String>, line: usize, imported_as: Option<String>) {
        self.all.push(Name { path, line, imported_as, inside: self.inside.clone() });
    }

    fn imports(&mut self, tree: &UseTree, mut path: Vec<String>) {
        let (word, visible) = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.imports(&tree.tree, path);
            }
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.imports(tree, path.clone())),
            UseTree::Name(name) => (name.ident.clone(), name.ident.clone()),
            UseTree::Rename(name) => (name.ident.clone(), name.rename.clone()),
            UseTree::Glob(glob) => {
                path.push("*".into());
                return self.add(path, glob.star_token.spans[0].start().line, Some("*".into()));
            }
        };
        // `a::{self}` is `a`
        if word != "self" || path.is_empty() {
            path.push(word.to_string());
        }
        let visible = if visible == "self" { path.last().cloned() } else { Some(visible.to_string()) };
        self.add(path, word.span().start().line, visible);
    }

    fn words(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let sign = |at: usize| match tokens.get(at) {
            Some(TokenTree::Punct(sign)) => sign.as_char(),
            _ => ' ',
        };
        let word = |at: usize| match tokens.get(at) {
            Some(TokenTree::Ident(word)) => Some(word.to_string()),
            _ => None,
        };
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            if let TokenTree::Group(group) = token {
                self.words(group.stream());
            }
            let mut path: Vec<String> = word(at).into_iter().collect();
            at += 1;
            while let Some(next) = word(at + 2).filter(|_| !path.is_empty() && (sign(at), sign(at + 1)) == (':', ':')) {
                path.push(next);
                at += 3;
            }
            if let Some(last) = path.last_mut() {
                let body = matches!(tokens.get(at + 1), Some(TokenTree::Group(g)) if g.delimiter() != Delimiter::None);
                if sign(at) == '!' && body {
                    last.push('!');
                }
                self.add(path, token.span().start().line, None);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(module) if module.attrs.iter().any(is_cfg_test) => {}
            Item::Mod(module) => {
                self.inside.push(module.ident.to_string());
                visit::visit_item(self, item);
                self.inside.pop();
            }
            Item::Use(import) => self.imports(&import.tree, Vec::new()),
            _ if self.is_read => visit::visit_item(self, item),
            _ => {
                self.words(item.to_token_stream());
                // once more for what is imported in it
                self.is_read = true;
                visit::visit_item(self, item);
                self.is_read = false;
            }
        }
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.to_token_stream().to_string().replace(' ', "") == "#[cfg(test)]"
}

struct Functions<'a> {
    text: Vec<&'a str>,
    by_trait: bool,
    all: Vec<Function>,
}

impl Functions<'_> {
    fn add(&mut self, signature: &Signature, body: Option<&Block>) {
        let braces = body.map(|body| body.brace_token.span);
        let lines = braces.map_or(0..0, |at| at.open().start().line..at.close().start().line.saturating_sub(1));
        let is_code = |line: &&&str| !line.trim().is_empty() && !line.trim().starts_with("//");
        self.all.push(Function {
            name: signature.ident.to_string(),
            line: signature.ident.span().start().line,
            lines: self.text.get(lines).unwrap_or_default().iter().filter(is_code).count(),
            parameters: (!self.by_trait).then_some(signature.inputs.len()),
            tuple: signature.inputs.iter().map(tuple).max().unwrap_or(0),
        });
    }
}

fn tuple(parameter: &FnArg) -> usize {
    let FnArg::Typed(parameter) = parameter else { return 0 };
    let mut kind = &*parameter.ty;
    while let Type::Reference(inner) = kind {
        kind = &inner.elem;
    }
    if let Type::Tuple(tuple) = kind { tuple.elems.len() } else { 0 }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, Some(&function.block));
        visit::visit_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.add(&function.sig, function.default.as_ref());
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, Some(&function.block));
        let around = std::mem::take(&mut self.by_trait);
        visit::visit_impl_item_fn(self, function);
        self.by_trait = around;
    }

    fn visit_item_impl(&mut self, methods: &'ast syn::ItemImpl) {
        let around = std::mem::replace(&mut self.by_trait, methods.trait_.is_some());
        visit::visit_item_impl(self, methods);
        self.by_trait = around;
    }
}
