//! The book in `docs/` builds, and the README stays on a few screens. `tidy` checks links and the list
//! of pages.

use std::path::{Path, PathBuf};

use mdbook_driver::MDBook;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_book_builds() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut book = MDBook::load(root().join("docs")).expect("docs/ is a book");
    book.config.build.build_dir = folder.path().to_path_buf();
    book.build().expect("the book builds");
    assert!(folder.path().join("index.html").is_file());
}

#[test]
fn the_readme_has_at_most_150_lines() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("a README");
    let lines = readme.lines().count();
    assert!(lines <= 150, "README.md has {lines} lines; what is longer is a page of docs/");
}
