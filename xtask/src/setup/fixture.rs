//! A machine for tests: a checkout and a cache in a temporary folder, libtorch of a few bytes, and
//! a pip that copies from a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::host::Host;
use crate::release::{LibtorchVariant, Wheel};
use crate::setup::libtorch::{digest, library};

/// Python with a pip of its own: `pip download … --dest FOLDER NAME==VERSION…` copies from the
/// folder `index` beside this script. It is always well, and the disk is never full.
const PYTHON: &str = r#"
case "$1 $2" in
    "-m pip")
        index=$(dirname "$0")/index
        while [ $# -gt 0 ]; do
            case "$1" in
                --dest) dest=$2; shift ;;
                *==*) name=${1%%==*}; name=${name%%\[*}
                    [ -e "$dest/$name.whl" ] || cp "$index/$name.whl" "$dest" || exit 1 ;;
            esac
            shift
        done ;;
    *disk_usage*) echo 1000000000000 ;;
    "-c import ssl"*) ;;
    *) exec python3 "$@" ;;
esac
"#;

/// The only library of the small CUDA.
const CUDNN: &str = "nvidia-cudnn-cu13.whl";

/// Members of the small torch. The libraries are scripts to the linker, which stands for real ones.
const TORCH: [(&str, &str); 5] = [
    ("torch/include/torch/csrc/api/include/torch/torch.h", ""),
    ("torch/lib/libtorch.so", "needs all of CUDA"),
    ("torch/lib/libtorch_cpu.so", "/* GNU ld script */"),
    ("torch/lib/libtorch_cuda.so", "cuda"),
    ("torch/lib/libc10.so", "/* GNU ld script */"),
];

/// Writes a file and the folders above it.
pub(crate) fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A libtorch that says it is `version`.
pub(crate) fn libtorch(version: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["torch", "torch_cpu", "c10"] {
        write(folder.path(), &format!("lib/{}", library(name)), name);
    }
    write(folder.path(), "include/torch/csrc/api/include/torch/torch.h", "");
    write(folder.path(), "build-version", version);
    folder
}

/// A machine with an empty checkout and cache, and nothing to fetch.
pub(crate) fn host() -> (TempDir, Host) {
    let folder = tempfile::tempdir().unwrap();
    let at = fs::canonicalize(folder.path()).unwrap();
    fs::create_dir(at.join("checkout")).unwrap();
    write(&at, "python.sh", PYTHON);
    let host = Host {
        root: at.join("checkout"),
        cache: at.join("cache"),
        cargo_home: at.join("cargo"),
        libtorch: None,
        python: vec!["sh".into(), at.join("python.sh").into()],
        compiler: vec!["c++".into()],
        platform: "linux-x86_64-gnu".into(),
        wheels: Vec::new(),
    };
    (folder, host)
}

/// The same machine, with a small torch and a small CUDA to fetch.
pub(crate) fn published() -> (TempDir, Host) {
    let (folder, mut host) = host();
    let index = folder.path().join("index");
    let torch = zip(&index, "torch.whl", &TORCH);
    let cudnn = zip(&index, CUDNN, &[("nvidia/cudnn/lib/libcudnn.so.9", "cudnn")]);
    let wheel = |path: &Path, requirement: &str, device, file| {
        let (size, sha256) = digest(path).unwrap();
        Wheel { requirement: requirement.into(), device, tags: &[], file, sha256, size }
    };
    host.wheels = vec![
        wheel(&torch, "torch==2.11.0", LibtorchVariant::Cpu, "torch.whl"),
        wheel(&cudnn, "nvidia-cudnn-cu13==9.19.0.56", LibtorchVariant::Cuda, CUDNN),
    ];
    (folder, host)
}

/// A wheel of these members, each holding its own name.
pub(crate) fn wheel(folder: &Path, name: &str, members: &[&str]) -> PathBuf {
    let members: Vec<_> = members.iter().map(|member| (*member, *member)).collect();
    zip(folder, name, &members)
}

/// Size and SHA-256 of a file.
pub(crate) fn digest_of(path: &Path) -> (u64, String) {
    digest(path).unwrap()
}

/// A zip file of these members.
fn zip(folder: &Path, name: &str, members: &[(&str, &str)]) -> PathBuf {
    let script = "import sys, zipfile\n\
                  file, *members = sys.argv[1:]\n\
                  with zipfile.ZipFile(file, 'w') as archive:\n    \
                      for name, text in zip(members[::2], members[1::2]):\n        \
                          archive.writestr(name, text)";
    fs::create_dir_all(folder).unwrap();
    let file = folder.join(name);
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(&file);
    command.args(members.iter().flat_map(|(name, text)| [name, text]));
    assert!(command.status().unwrap().success());
    file
}
