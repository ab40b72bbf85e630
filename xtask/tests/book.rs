//! The book in `docs/`: it builds, holds every page, and every link in it leads to a page and a
//! heading that are there. The README stays on a few screens.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mdbook_driver::MDBook;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below `folder` whose name ends like this, as paths relative to it.
fn files(folder: &Path, end: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.insert(path.strip_prefix(folder).expect("below").to_path_buf());
            }
        }
    }
    found
}

/// Values of an attribute in a page.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let opening = format!(" {attribute}=\"");
    html.split(&opening).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// The text between the tags of a page's content: what we have written.
fn content(html: &str) -> &str {
    let from = html.find("<main>").expect("a page has a content");
    let to = html.find("</main>").expect("a page has a content");
    &html[from..to]
}

/// Fault of a link of a page, if any.
fn fault(book: &Path, page: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => book.join(page),
        file => book.join(page).parent().expect("a folder").join(file),
    };
    if !target.is_file() {
        return Some(format!("{}: {link} leads nowhere", page.display()));
    }
    let is_there = heading.is_empty() || values(&read(&target), "id").contains(&heading);
    (!is_there).then(|| format!("{}: {link} leads to no heading", page.display()))
}

#[test]
fn the_book_builds_and_every_link_in_it_leads_somewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut book = MDBook::load(root().join("docs")).expect("docs/ is a book");
    book.config.build.build_dir = folder.path().to_path_buf();
    book.build().expect("the book builds");
    let made = |page: &Path| match page.file_name().is_some_and(|name| name == "README.md") {
        true => page.with_file_name("index.html"),
        false => page.with_extension("html"),
    };
    let mut faults = Vec::new();
    for page in files(&root().join("docs"), ".md") {
        if page == Path::new("SUMMARY.md") {
            continue;
        }
        let page = made(&page);
        if !folder.path().join(&page).is_file() {
            faults.push(format!("{} is not in docs/SUMMARY.md", page.display()));
            continue;
        }
        let html = read(&folder.path().join(&page));
        let written = content(&html);
        let links = values(written, "href").into_iter().chain(values(written, "src"));
        faults.extend(links.filter_map(|link| fault(folder.path(), &page, link)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_readme_has_at_most_150_lines() {
    let lines = read(&root().join("README.md")).lines().count();
    assert!(lines <= 150, "README.md has {lines} lines; what is longer is a page of docs/");
}
