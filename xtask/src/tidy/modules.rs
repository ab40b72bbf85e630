//! Import graph: which file of a crate's `src` imports from which other file of it.
//!
//! An import is a path to an item of the same crate: `crate::…`, `super::…`, `self::…`, a child
//! module's name, or a name that a `use` has bound to a module. The rules:
//!
//! - **The edge leads to the file that defines the item.** Re-exports are looked through:
//!   `use crate::net::Token` is an import of `net/token.rs`, although it names `net.rs`.
//! - **A re-export is no import**, nor is `mod child;`: neither file then needs to be understood
//!   for the other. A file that re-exports a name *and* uses it elsewhere does import it.
//! - **A module named alone is no import**: a path through it is.
//! - **Tests do not count**: what stands under `#[cfg(test)]` may import whatever it tests. Nor does
//!   a `main.rs` beside a `lib.rs`, which is a crate of its own.
//!
//! So a parent that calls into its child, whose child imports a type that the parent defines, is a
//! circle; a parent that only declares and re-exports its children is none. Methods and fields
//! need no import, and are not seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::text::{code_only, words};
use crate::tidy::tree::Tree;

/// Path of a module from its crate's root.
type Module = Vec<String>;

/// Imports between the files of one crate.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Files, relative to `src`.
    pub(crate) files: BTreeSet<String>,
    /// Importing file, imported file, and the names imported.
    pub(crate) edges: BTreeMap<(String, String), BTreeSet<String>>,
}

/// One file of a crate.
#[derive(Debug, Default)]
struct SourceFile {
    file: String,
    module: Module,
    code: String,
    uses: Vec<Use>,
    /// Names of items that it defines.
    items: BTreeSet<String>,
    /// Paths outside of `use`.
    paths: Vec<Module>,
    /// Names that `use` declarations bring in.
    bound: BTreeMap<String, Module>,
}

/// One name of a `use` declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Use {
    path: Module,
    name: String,
    /// True for a `pub use` of what the file does not use itself.
    is_reexport: bool,
}

/// Name of a glob import.
const GLOB: &str = "*";

impl Graph {
    /// Reads the crate in this folder.
    pub(crate) fn of(tree: &Tree, folder: &str) -> Graph {
        let sources = Sources::read(tree, folder);
        let mut graph = Graph::default();
        for source in sources.0.values() {
            graph.files.insert(source.file.clone());
            for path in source.imports() {
                let Some(target) = sources.definition(source, &path, 0) else { continue };
                if target.file != source.file {
                    let edge = (source.file.clone(), target.file.clone());
                    let name = path.last().expect("a path has a name").clone();
                    graph.edges.entry(edge).or_default().insert(name);
                }
            }
        }
        graph
    }
}

/// Files of one crate by module.
struct Sources(BTreeMap<Module, SourceFile>);

impl Sources {
    fn read(tree: &Tree, folder: &str) -> Sources {
        let start = format!("{folder}/src/");
        let files =
            tree.ending(".rs").filter_map(|(path, text)| Some((path.strip_prefix(&start)?, text)));
        let has_library = tree.contains(&format!("{start}lib.rs"));
        let files = files.filter(|(file, _)| !(has_library && *file == "main.rs"));
        let mut sources = BTreeMap::new();
        let mut tests = Vec::new();
        for (file, text) in files {
            let module = module_of(file);
            let (code, test_modules) = without_tests(&code_only(text));
            tests.extend(test_modules.into_iter().map(|name| child(&module, &name)));
            sources.insert(
                module.clone(),
                SourceFile { file: file.into(), module, code, ..SourceFile::default() },
            );
        }
        sources.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        let modules: Vec<Module> = sources.keys().cloned().collect();
        for source in sources.values_mut() {
            let children = modules.iter().filter(|module| module.starts_with(&source.module));
            let children = children.filter_map(|module| module.get(source.module.len()).cloned());
            source.parse(&children.collect());
        }
        Sources(sources)
    }

    /// File that defines the item at the end of a path; `None` for other crates and bare modules.
    fn definition(&self, from: &SourceFile, path: &[String], depth: usize) -> Option<&SourceFile> {
        let mut rest = path;
        let mut module = from.module.clone();
        let mut is_rooted = false;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => module.clear(),
                "self" => {}
                "super" => drop(module.pop()),
                _ => break,
            }
            (rest, is_rooted) = (after, true);
        }
        while let Some((first, after)) = rest.split_first()
            && self.0.contains_key(&child(&module, first))
        {
            module.push(first.clone());
            (rest, is_rooted) = (after, true);
        }
        let source = self.0.get(&module)?;
        let (name, after) = rest.split_first()?;
        if name == GLOB {
            return is_rooted.then_some(source);
        }
        if depth < 8
            && let Some(target) = source.bound.get(name)
        {
            let whole = [target.as_slice(), after].concat();
            return self.definition(source, &whole, depth + 1);
        }
        if !is_rooted {
            return None;
        }
        if !source.items.contains(name) {
            let globs = source.uses.iter().filter(|used| used.name == GLOB);
            for glob in globs.filter(|_| depth < 8) {
                let path = [&glob.path[..glob.path.len() - 1], rest].concat();
                let found = self.definition(source, &path, depth + 1);
                if found.is_some_and(|found| found.items.contains(name)) {
                    return found;
                }
            }
        }
        Some(source)
    }
}

impl SourceFile {
    /// Paths that this file needs: all but re-exports of what it does not use itself.
    fn imports(&self) -> Vec<Module> {
        let uses = self.uses.iter().filter(|used| !used.is_reexport).map(|used| used.path.clone());
        uses.chain(self.paths.iter().cloned()).collect()
    }

    fn parse(&mut self, children: &BTreeSet<String>) {
        const ITEMS: [&str; 10] = [
            "struct",
            "enum",
            "trait",
            "fn",
            "const",
            "static",
            "type",
            "union",
            "mod",
            "macro_rules",
        ];
        let (declarations, body) = without_uses(&self.code);
        let all: Vec<&str> = words(&body).collect();
        let pairs = || all.windows(2).map(|pair| (pair[0], pair[1]));
        let items = pairs().filter(|(kind, _)| ITEMS.contains(kind));
        self.items = items.map(|(_, name)| name.into()).collect();
        let used: BTreeSet<&str> =
            pairs().filter(|(before, _)| *before != "mod").map(|(_, word)| word).collect();
        for (tree, is_public) in declarations {
            for (path, name) in expanded(&tree).iter().filter_map(|text| imported(text)) {
                let is_reexport = is_public && !used.contains(name.as_str());
                // What is bound under its own name without a path is another crate.
                if name != GLOB && (path.len() > 1 || children.contains(&path[0])) {
                    self.bound.insert(name.clone(), path.clone());
                }
                self.uses.push(Use { path, name, is_reexport });
            }
        }
        let begins = |word: &str| {
            ["crate", "super", "self"].contains(&word)
                || children.contains(word)
                || self.bound.contains_key(word)
        };
        let is_path = |c: char| c.is_alphanumeric() || "_:".contains(c);
        let paths = body.split(|c| !is_path(c)).map(parts);
        self.paths = paths.filter(|path| path.len() > 1 && begins(&path[0])).collect();
    }
}

/// Trees of the `use` declarations, each with whether it is public, and the code without them.
fn without_uses(code: &str) -> (Vec<(String, bool)>, String) {
    let (mut trees, mut body, mut rest) = (Vec::new(), String::new(), code);
    // In a type, `use<'a>` is no declaration.
    while let Some((before, after)) = rest.split_once("use ") {
        body.push_str(before);
        if body.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            body.push_str("use ");
            rest = after;
            continue;
        }
        let (tree, after) = after.split_once(';').unwrap_or((after, ""));
        let is_public = body.trim_end().ends_with("pub") || body.trim_end().ends_with(')');
        trees.push((tree.into(), is_public));
        rest = after;
    }
    (trees, body + rest)
}

/// Paths of a tree of a `use` declaration, without braces.
fn expanded(tree: &str) -> Vec<String> {
    let Some((before, rest)) = tree.split_once('{') else { return vec![tree.into()] };
    let inner = rest.trim_end().trim_end_matches('}');
    let mut depth = 0;
    let branches = inner.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    branches.flat_map(expanded).map(|branch| format!("{before}{branch}")).collect()
}

/// Path of an import and the name that it binds; `None` behind a last comma.
fn imported(text: &str) -> Option<(Module, String)> {
    let (path, name) = match text.split_once(" as ") {
        Some((path, name)) => (path, Some(name.trim().to_string())),
        None => (text, None),
    };
    let is_empty = path.trim_end().ends_with("::");
    let mut path = parts(path);
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = name.or_else(|| path.last().cloned()).filter(|_| !is_empty)?;
    Some((path, name))
}

/// Parts of a path; none of one that begins in the middle.
fn parts(path: &str) -> Module {
    let parts = path.split("::").map(|part| part.trim_matches([':', ' ', '\n']).to_string());
    let parts: Module = parts.collect();
    match parts[0].is_empty() {
        true => Vec::new(),
        false => parts.into_iter().filter(|part| !part.is_empty()).collect(),
    }
}

/// Code without what is under `#[cfg(test)]`, and the modules declared there that are files.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut kept, mut modules, mut rest) = (String::new(), Vec::new(), code);
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        let item = &rest[at + MARK.len()..];
        let end = item_end(item);
        if item[..end].ends_with(';') {
            let all: Vec<&str> = words(&item[..end]).collect();
            modules
                .extend(all.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1].into()));
        }
        rest = &item[end..];
    }
    kept.push_str(rest);
    (kept, modules)
}

/// Length of the first item: up to its `;` or its closing brace.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(c, ';' | '}') {
            return at + 1;
        }
    }
    code.len()
}

fn module_of(file: &str) -> Module {
    let name = file.trim_end_matches(".rs");
    let name = name.strip_suffix("/mod").unwrap_or(name);
    match name {
        "lib" | "main" => Vec::new(),
        name => name.split('/').map(String::from).collect(),
    }
}

fn child(module: &[String], name: &str) -> Module {
    [module, &[name.to_string()]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Edges as `from > to`.
    fn edges(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<(String, &str)> =
            files.iter().map(|(path, text)| (format!("c/src/{path}"), *text)).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, *text)).collect();
        let graph = Graph::of(&Tree::of(&files), "c");
        graph.edges.keys().map(|(from, to)| format!("{from} > {to}")).collect()
    }

    #[test]
    fn a_use_and_a_path_are_imports_and_other_crates_are_not() {
        let lib = ("lib.rs", "mod a; mod b; mod c;");
        let b = ("b.rs", "pub struct B; pub fn f() {}");
        let a = ("a.rs", "use std::fs; use crate::{b::{self, B}, c::C as D}; use other::b::X;");
        assert_eq!(edges(&[lib, b, a, ("c.rs", "pub struct C;")]), ["a.rs > b.rs", "a.rs > c.rs"]);
        for text in ["fn g() { crate::b::f() }", "use super::b; fn g() { b::f() }"] {
            assert_eq!(edges(&[lib, b, ("c.rs", text)]), ["c.rs > b.rs"], "{text}");
        }
        assert!(edges(&[lib, b, ("c.rs", "use crate::b; // crate::b::f()")]).is_empty());
    }

    #[test]
    fn a_reexport_is_looked_through_and_is_no_import_itself() {
        let same =
            [("get.rs", "mod inner; pub use inner::inner;"), ("get/inner.rs", "pub fn inner() {}")];
        assert!(edges(&same).is_empty());
        let files = [
            ("net.rs", "mod token; mod guard; pub use token::Token as Key; use std::io;"),
            ("net/token.rs", "pub struct Token;"),
            ("net/guard.rs", "use super::{Key, io};"),
            ("args.rs", "use crate::Secret;"),
            ("lib.rs", "mod net; mod args; pub use net::Key as Secret;"),
        ];
        assert_eq!(edges(&files), ["args.rs > net/token.rs", "net/guard.rs > net/token.rs"]);
    }

    #[test]
    fn a_reexport_that_is_used_as_well_is_an_import() {
        let child = ("a/b.rs", "use super::A; pub struct B(A);");
        let parent = "mod b; pub use b::B; pub struct A; fn f(b: B) {}";
        assert_eq!(edges(&[("a.rs", parent), child]), ["a.rs > a/b.rs", "a/b.rs > a.rs"]);
        let parent = "mod b; pub use b::B; pub struct A;";
        assert_eq!(edges(&[("a.rs", parent), child]), ["a/b.rs > a.rs"]);
    }

    #[test]
    fn globs_lead_to_the_module_and_names_through_them_to_their_file() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "pub use crate::b::*;"),
            ("b.rs", "pub struct B;"),
            ("c.rs", "use crate::a::B;"),
        ];
        assert_eq!(edges(&files), ["c.rs > b.rs"]);
        assert_eq!(edges(&[files[0], files[2], ("c.rs", "use super::b::*;")]), ["c.rs > b.rs"]);
    }

    #[test]
    fn tests_and_a_program_beside_its_library_do_not_count() {
        let files = [
            ("lib.rs", "mod a; #[cfg(test)] mod fixture; #[cfg(test)] use a::A;"),
            ("a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }"),
            ("b.rs", "use crate::a::A; pub struct B;"),
            ("fixture.rs", "use crate::b::B;"),
            ("main.rs", "use crate::a::A;"),
        ];
        assert_eq!(edges(&files), ["b.rs > a.rs"]);
    }
}
