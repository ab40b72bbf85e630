//! The files of the project, in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Folders beside the crates that belong to the project.
const FOLDERS: [&str; 5] = ["configs", "deploy", "docs", ".cargo", ".ci"];

/// Endings of files that are read; of others only the path is known.
const TEXTS: [&str; 4] = ["rs", "proto", "toml", "md"];

/// The project: paths from its root, with `/`, and the text of those that are checked.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the files of the root, of every member of the workspace, and of [`FOLDERS`].
    pub(crate) fn read(root: &Path) -> Result<Tree> {
        let manifest = fs::read_to_string(root.join("Cargo.toml"))
            .with_context(|| format!("cannot read {}/Cargo.toml", root.display()))?;
        let mut tree = Tree::default();
        tree.read_folder(root, "", Descend::No)?;
        for folder in members(&manifest)?.iter().map(String::as_str).chain(FOLDERS) {
            if root.join(folder).is_dir() {
                tree.read_folder(root, folder, Descend::Yes)?;
            }
        }
        Ok(tree)
    }

    /// A tree of these paths and texts.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        let files = files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect();
        Tree { files }
    }

    /// All files, by path.
    pub(crate) fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    /// The files whose path ends like this.
    pub(crate) fn ending(&self, end: &str) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        pairs.filter(move |(path, _)| path.ends_with(end))
    }

    /// True if a file or a folder lies there.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.keys().any(|file| file.starts_with(&folder))
    }

    fn read_folder(&mut self, root: &Path, folder: &str, descend: Descend) -> Result<()> {
        for entry in fs::read_dir(root.join(folder))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() && descend == Descend::Yes {
                self.read_folder(root, &path, descend)?;
            } else if kind.is_file() {
                let read = TEXTS.iter().any(|end| path.ends_with(&format!(".{end}")));
                let text = match read {
                    true => fs::read_to_string(entry.path())
                        .with_context(|| format!("cannot read {path}"))?,
                    false => String::new(),
                };
                self.files.insert(path, text);
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Descend {
    Yes,
    No,
}

fn members(manifest: &str) -> Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse().context("Cargo.toml does not parse")?;
    let members = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("members"))
        .and_then(toml::Value::as_array)
        .context("Cargo.toml lists no workspace members")?;
    Ok(members.iter().filter_map(|member| member.as_str().map(String::from)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::fixture::write;

    #[test]
    fn the_project_is_read_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "Cargo.toml", "[workspace]\nmembers = [\"mdp\"]");
        write(folder.path(), "mdp/src/lib.rs", "//! Words.");
        write(folder.path(), "mdp/golden.bin", "bytes");
        write(folder.path(), "configs/env/recall.toml", "delay = 20");
        write(folder.path(), "venv/README.md", "not ours");
        write(folder.path(), "target/debug/x.rs", "not ours");
        let tree = Tree::read(folder.path()).unwrap();
        let paths: Vec<&str> = tree.files().keys().map(String::as_str).collect();
        let expected =
            ["Cargo.toml", "configs/env/recall.toml", "mdp/golden.bin", "mdp/src/lib.rs"];
        assert_eq!(paths, expected);
        assert!(tree.contains("mdp/src") && !tree.contains("mdp/sr") && !tree.contains("venv"));
    }
}
