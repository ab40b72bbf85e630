//! A disk that keeps what it was told to sync, and of the rest what a seed says.
//!
//! Nothing is promised about what was not synced, except what journals of file systems do promise:
//! a rename happens whole or not at all, and of two changes to one name the earlier one is there
//! where the later one is. A file's bytes and its name are apart, and so are two folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path};

use engram_mdp::Generator;
use rand::RngExt;

use crate::durable::Operation;

/// Names in a folder.
type Names = BTreeMap<String, usize>;

/// Names that are given or taken in one step.
type Change = Vec<(String, Option<usize>)>;

/// Disk with what was done to it.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    /// The root is the first one.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    File { now: Vec<u8>, synced: Vec<u8> },
    Folder { now: Names, synced: Names, pending: Vec<Change> },
}

impl Disk {
    /// An empty one.
    pub(super) fn new() -> Self {
        Disk { nodes: vec![Node::folder()] }
    }

    /// Does what was done below `root`.
    pub(super) fn apply(&mut self, operation: &Operation, root: &Path) {
        let inside = |path: &Path| path.strip_prefix(root).unwrap().to_path_buf();
        match operation {
            Operation::CreateFolder(path) => {
                let node = self.add(Node::folder());
                self.change(&inside(path), Some(node));
            }
            Operation::CreateFile(path) => match self.find(&inside(path)) {
                Some(node) => self.bytes(node).clear(),
                None => {
                    let node = self.add(Node::File { now: Vec::new(), synced: Vec::new() });
                    self.change(&inside(path), Some(node));
                }
            },
            Operation::Append(path, bytes) => {
                let node = self.find(&inside(path)).unwrap();
                self.bytes(node).extend(bytes);
            }
            Operation::Sync(path) => {
                let node = self.find(&inside(path)).unwrap();
                self.nodes[node].sync();
            }
            Operation::Rename(from, to) => self.rename(&inside(from), &inside(to), false),
            Operation::Exchange(one, other) => self.rename(&inside(one), &inside(other), true),
            Operation::RemoveFolder(path) | Operation::RemoveFile(path) => {
                // What is not there is not removed either.
                if let Some(node) = self.find(&inside(path)) {
                    self.empty(node);
                    self.change(&inside(path), None);
                }
            }
        }
    }

    /// Makes in `root` what a crash now would leave.
    pub(super) fn crash(&self, root: &Path, chance: &mut Generator) {
        self.leave(0, root, chance);
    }

    fn leave(&self, node: usize, path: &Path, chance: &mut Generator) {
        match &self.nodes[node] {
            Node::File { now, synced } => fs::write(path, left_bytes(now, synced, chance)).unwrap(),
            Node::Folder { synced, pending, .. } => {
                fs::create_dir_all(path).unwrap();
                for (name, node) in left_names(synced, pending, chance) {
                    self.leave(node, &path.join(name), chance);
                }
            }
        }
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn find(&self, path: &Path) -> Option<usize> {
        path.components().try_fold(0, |node, part| match (part, &self.nodes[node]) {
            (Component::Normal(name), Node::Folder { now, .. }) => {
                now.get(name.to_str().unwrap()).copied()
            }
            _ => Some(node),
        })
    }

    fn bytes(&mut self, node: usize) -> &mut Vec<u8> {
        match &mut self.nodes[node] {
            Node::File { now, .. } => now,
            Node::Folder { .. } => panic!("a folder has no bytes"),
        }
    }

    /// Gives or takes a name.
    fn change(&mut self, path: &Path, node: Option<usize>) {
        self.change_all(path.parent().unwrap(), vec![(name(path), node)]);
    }

    fn rename(&mut self, from: &Path, to: &Path, exchanged: bool) {
        assert_eq!(from.parent(), to.parent(), "nothing moves between folders");
        let (moved, other) = (self.find(from), self.find(to).filter(|_| exchanged));
        self.change_all(from.parent().unwrap(), vec![(name(from), other), (name(to), moved)]);
    }

    fn change_all(&mut self, folder: &Path, change: Change) {
        let node = self.find(folder).unwrap_or_else(|| panic!("there is no {}", folder.display()));
        self.nodes[node].change(change);
    }

    fn empty(&mut self, node: usize) {
        let Node::Folder { now, .. } = &self.nodes[node] else { return };
        for (name, inside) in now.clone() {
            self.empty(inside);
            self.nodes[node].change(vec![(name, None)]);
        }
    }
}

impl Node {
    fn folder() -> Self {
        Node::Folder { now: Names::new(), synced: Names::new(), pending: Vec::new() }
    }

    fn sync(&mut self) {
        match self {
            Node::File { now, synced } => synced.clone_from(now),
            Node::Folder { now, synced, pending } => {
                synced.clone_from(now);
                pending.clear();
            }
        }
    }

    fn change(&mut self, change: Change) {
        let Node::Folder { now, pending, .. } = self else { panic!("a file has no names") };
        apply(now, &change);
        pending.push(change);
    }
}

fn apply(names: &mut Names, change: &Change) {
    for (name, node) in change {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

/// Names after a crash: a change that was not synced may be lost, and with it all later ones of the
/// same names.
fn left_names(synced: &Names, pending: &[Change], chance: &mut Generator) -> Names {
    let (mut names, mut lost) = (synced.clone(), BTreeSet::new());
    for change in pending {
        let follows = change.iter().any(|(name, _)| lost.contains(name));
        if follows || chance.random_bool(0.5) {
            lost.extend(change.iter().map(|(name, _)| name));
        } else {
            apply(&mut names, change);
        }
    }
    names
}

/// Bytes after a crash: those that were synced; or a part of the newer ones, or zeros for them.
fn left_bytes(now: &[u8], synced: &[u8], chance: &mut Generator) -> Vec<u8> {
    if now == synced {
        return now.into();
    }
    match chance.random_range(0..4) {
        0 => synced.into(),
        1 => now[..chance.random_range(0..=now.len())].into(),
        2 => vec![0; now.len()],
        _ => now.into(),
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().into()
}
