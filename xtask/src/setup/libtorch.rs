//! Usable libtorch on the disk: recognized, and sealed.
//!
//! One that we unpacked carries a `manifest`: the size and SHA-256 of every library. One from
//! elsewhere (an archive, a Python package, a distribution) is believed when its libraries and
//! headers are there and its version is ours.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::release::{LibtorchVariant, VERSION};

const MANIFEST: &str = "manifest";
const HEADER: &str = "include/torch/csrc/api/include/torch/torch.h";
const VERSION_HEADERS: [&str; 2] =
    ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"];

/// A libtorch that can be linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Libtorch {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
    pub(crate) device: LibtorchVariant,
}

/// Amount that is read to believe a libtorch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Presence and sizes.
    #[default]
    Quick,
    /// Every byte of every library.
    Full,
}

/// The libtorch in `path`, or what is wrong with it.
pub(crate) fn inspect(path: &Path, depth: Depth) -> Result<Libtorch> {
    if !path.is_dir() {
        bail!("{} is not a folder", path.display());
    }
    let libraries = ["torch", "torch_cpu", "c10"].map(|name| format!("lib/{}", library(name)));
    for file in libraries.iter().map(String::as_str).chain([HEADER]) {
        if !path.join(file).is_file() {
            bail!("{} has no {file}", path.display());
        }
    }
    let version = version(path)
        .with_context(|| format!("{} does not say which version it is", path.display()))?;
    if version.split('+').next() != Some(VERSION) {
        bail!("{} holds libtorch {version}, and tch 0.24 needs {VERSION} exactly", path.display());
    }
    let device = match path.join("lib").join(library("torch_cuda")).is_file() {
        true => LibtorchVariant::Cuda,
        false => LibtorchVariant::Cpu,
    };
    check_manifest(path, depth)?;
    Ok(Libtorch { path: path.to_path_buf(), version, device })
}

/// Completes an unpacked libtorch: its version file, and last the manifest that vouches for it.
pub(crate) fn seal(path: &Path, device: LibtorchVariant) -> Result<()> {
    let build = match device {
        LibtorchVariant::Cpu => "cpu",
        LibtorchVariant::Cuda => "cu130",
    };
    fs::write(path.join("build-version"), format!("{VERSION}+{build}\n"))?;
    let mut files: Vec<_> = fs::read_dir(path.join("lib"))?.collect::<io::Result<_>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut manifest = String::new();
    for file in files {
        let (size, sum) = digest(&file.path())?;
        writeln!(manifest, "{sum} {size} lib/{}", file.file_name().display())?;
    }
    fs::write(path.join(MANIFEST), manifest)?;
    inspect(path, Depth::Quick).map(drop)
}

/// Size and SHA-256 of a file, in one reading.
pub(crate) fn digest(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut sum = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        sum.update(&buffer[..count]);
        size += count as u64;
    }
    let hex = sum.finalize().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    Ok((size, hex))
}

/// The file name of a shared library on this platform.
pub(crate) fn library(name: &str) -> String {
    format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// The version file of an archive or of ours, else what the headers say.
fn version(path: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(path.join("build-version")) {
        return Some(text.trim().to_string());
    }
    VERSION_HEADERS.iter().find_map(|header| {
        let text = fs::read_to_string(path.join(header)).ok()?;
        let part = |name: &str| {
            let prefix = format!("#define TORCH_VERSION_{name} ");
            text.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::trim)
        };
        Some(format!("{}.{}.{}", part("MAJOR")?, part("MINOR")?, part("PATCH")?))
    })
}

fn check_manifest(path: &Path, depth: Depth) -> Result<()> {
    let Ok(manifest) = fs::read_to_string(path.join(MANIFEST)) else {
        return Ok(());
    };
    for line in manifest.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(sum), Some(size), Some(name)) = (words.next(), words.next(), words.next()) else {
            bail!("the manifest of {} is damaged at {line:?}", path.display());
        };
        let file = path.join(name);
        let found = fs::metadata(&file).map_or(0, |file| file.len());
        if found.to_string() != size {
            bail!("{} is damaged: {found} bytes instead of {size}", file.display());
        }
        if depth == Depth::Full && digest(&file)?.1 != sum {
            bail!("{} is damaged: its SHA-256 is not the one it was unpacked with", file.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::fixture;

    fn complaint(path: &Path, depth: Depth) -> String {
        inspect(path, depth).unwrap_err().to_string()
    }

    #[test]
    fn a_libtorch_from_elsewhere_is_believed_for_its_files_and_its_version() {
        let folder = fixture::libtorch("2.11.0+cpu");
        let found = inspect(folder.path(), Depth::Full).unwrap();
        assert_eq!((found.version.as_str(), found.device), ("2.11.0+cpu", LibtorchVariant::Cpu));
        fixture::write(folder.path(), &format!("lib/{}", library("torch_cuda")), "x");
        assert_eq!(inspect(folder.path(), Depth::Quick).unwrap().device, LibtorchVariant::Cuda);
    }

    #[test]
    fn another_version_is_refused_with_both_versions() {
        let folder = fixture::libtorch("2.4.0+cu121");
        let message = complaint(folder.path(), Depth::Quick);
        assert!(message.contains("2.4.0+cu121") && message.contains("2.11.0 exactly"), "{message}");
    }

    #[test]
    fn without_a_version_file_the_headers_speak() {
        let folder = fixture::libtorch("2.11.0");
        fs::remove_file(folder.path().join("build-version")).unwrap();
        assert!(complaint(folder.path(), Depth::Quick).contains("does not say which version"));
        let header = "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n\
                      #define TORCH_VERSION_PATCH 0\n";
        fixture::write(folder.path(), VERSION_HEADERS[0], header);
        assert_eq!(inspect(folder.path(), Depth::Quick).unwrap().version, "2.11.0");
    }

    #[test]
    fn a_missing_library_header_or_folder_is_named() {
        let folder = fixture::libtorch("2.11.0");
        let torch = format!("lib/{}", library("torch"));
        fs::remove_file(folder.path().join(&torch)).unwrap();
        assert!(complaint(folder.path(), Depth::Quick).ends_with(&format!("has no {torch}")));
        fixture::write(folder.path(), &torch, "x");
        fs::remove_file(folder.path().join(HEADER)).unwrap();
        assert!(complaint(folder.path(), Depth::Quick).contains(HEADER));
        assert!(complaint(Path::new("/nowhere"), Depth::Quick).contains("not a folder"));
    }

    #[test]
    fn a_sealed_libtorch_notices_a_cut_file_at_once_and_a_changed_one_when_verified() {
        let folder = fixture::libtorch("unsealed");
        seal(folder.path(), LibtorchVariant::Cpu).unwrap();
        assert_eq!(inspect(folder.path(), Depth::Full).unwrap().version, "2.11.0+cpu");

        let name = format!("lib/{}", library("torch_cpu"));
        let whole = fs::read_to_string(folder.path().join(&name)).unwrap();
        fixture::write(folder.path(), &name, &whole.to_uppercase());
        inspect(folder.path(), Depth::Quick).unwrap();
        assert!(complaint(folder.path(), Depth::Full).contains("its SHA-256 is not"));

        fixture::write(folder.path(), &name, &whole[1..]);
        assert!(complaint(folder.path(), Depth::Quick).contains("is damaged"));
    }

    #[test]
    fn the_digest_is_sha256() {
        let folder = tempfile::tempdir().unwrap();
        fixture::write(folder.path(), "abc", "abc");
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(&folder.path().join("abc")).unwrap(), (3, sum.to_string()));
    }
}
