//! Writes the configurations of `configs/env` into the library: a wheel has no checkout around it.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../configs/env");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut found = files(&folder)?;
    found.sort();
    let mut table = String::from("&[\n");
    for path in found {
        let name = path.strip_prefix(&folder)?.with_extension("");
        let text = fs::read_to_string(&path)?;
        writeln!(table, "    ({:?}, {text:?}),", name.display().to_string())?;
    }
    table.push_str("]\n");
    fs::write(Path::new(&std::env::var("OUT_DIR")?).join("presets.rs"), table)?;
    Ok(())
}

/// Files of a folder and of those in it.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}
