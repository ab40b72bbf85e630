//! From downloads to a folder with `include` and `lib`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::host::{Host, last_lines};
use crate::release::LibtorchVariant;
use crate::setup::disk::remove;

const UNPACK: &str = include_str!("unpack.py");
const DAMAGED: i32 = 3;
const DISK_FULL: i32 = 28;

/// End of unpacking.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    Whole,
    /// This download is torn.
    Damaged(PathBuf),
}

/// Unpacks `files` into `folder`, which is emptied first.
pub(crate) fn unpack(
    host: &Host,
    device: LibtorchVariant,
    files: &[PathBuf],
    folder: &Path,
) -> Result<Unpacked> {
    remove(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let output =
        host.python().args(["-c", UNPACK, device.name()]).arg(folder).args(files).output()?;
    let said = last_lines(&String::from_utf8_lossy(&output.stderr), 1);
    match output.status.code() {
        Some(0) => Ok(Unpacked::Whole),
        Some(DAMAGED) => Ok(Unpacked::Damaged(PathBuf::from(said))),
        Some(DISK_FULL) => {
            remove(folder)?;
            bail!(
                "the disk is full: {said}. Make room around {}, or set ENGRAM_CACHE to a folder \
                 on another disk; what was downloaded is kept",
                host.cache.display()
            )
        }
        _ => bail!("cannot unpack into {}: {said}", folder.display()),
    }
}

/// Builds the `libtorch.so` of a CPU set-up: empty but for its dependence on libtorch_cpu and
/// libc10. The wheel's own one would pull in all of CUDA.
pub(crate) fn build_stand_in(host: &Host, folder: &Path) -> Result<()> {
    let output = host
        .compiler()
        .current_dir(folder)
        .args(["-shared", "-o", "lib/libtorch.so", "-x", "c", "/dev/null"])
        .args(["-Wl,--no-as-needed", "-Wl,-soname,libtorch.so", "-Wl,-rpath,$ORIGIN"])
        .args(["-Llib", "-ltorch_cpu", "-lc10", "-Wl,--unresolved-symbols=ignore-in-shared-libs"])
        .output()
        .context("the C++ compiler cannot be started: install g++, or set CXX")?;
    if !output.status.success() {
        let said = last_lines(&String::from_utf8_lossy(&output.stderr), 4);
        bail!("the C++ compiler cannot link a shared library: install g++, or set CXX:\n{said}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::fixture;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().display().to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_cpu_set_up_takes_five_libraries_and_a_cuda_one_all_that_is_not_python() {
        let (folder, host) = fixture::host();
        let wheel = fixture::wheel(
            folder.path(),
            "torch.whl",
            &[
                "torch/include/c10/Device.h",
                "torch/lib/libtorch.so",
                "torch/lib/libtorch_cpu.so",
                "torch/lib/libtorch_cuda.so",
                "torch/lib/libtorch_python.so",
                "torch/lib/libgomp.so.1",
                "torch/include/../../escape.h",
                "torch/version.py",
                "nvidia/cu13/lib/libcublas.so.13",
                "nvidia/cu13/lib/libcudart.so.13",
                "nvidia/cu13/lib/libcudart_static.a",
            ],
        );
        let out = folder.path().join("out");
        let unpack = |device| unpack(&host, device, std::slice::from_ref(&wheel), &out).unwrap();

        assert_eq!(unpack(LibtorchVariant::Cpu), Unpacked::Whole);
        assert_eq!(names(&out.join("lib")), ["libcudart.so.13", "libgomp.so.1", "libtorch_cpu.so"]);
        assert_eq!(names(&out.join("include")), ["c10"]);

        assert_eq!(unpack(LibtorchVariant::Cuda), Unpacked::Whole);
        let all = ["libcublas.so.13", "libcudart.so.13", "libgomp.so.1", "libtorch.so"];
        assert_eq!(names(&out.join("lib"))[..4], all);
        assert_eq!(names(&out.join("lib"))[4..], ["libtorch_cpu.so", "libtorch_cuda.so"]);
    }

    #[test]
    fn a_torn_download_is_named() {
        let (folder, host) = fixture::host();
        let wheel = fixture::wheel(folder.path(), "torch.whl", &["torch/lib/libtorch_cpu.so"]);
        let whole = fs::read(&wheel).unwrap();
        fs::write(&wheel, &whole[..whole.len() / 2]).unwrap();
        let out = folder.path().join("out");
        let end = unpack(&host, LibtorchVariant::Cpu, std::slice::from_ref(&wheel), &out).unwrap();
        assert_eq!(end, Unpacked::Damaged(wheel));
    }

    #[test]
    fn a_disk_that_fills_up_leaves_nothing_half_unpacked() {
        let (folder, mut host) = fixture::host();
        host.python =
            ["sh", "-c", "echo 'No space left on device' >&2; exit 28"].map(Into::into).into();
        let out = folder.path().join("out");
        let message = unpack(&host, LibtorchVariant::Cpu, &[], &out).unwrap_err().to_string();
        assert!(
            message.contains("the disk is full") && message.contains("ENGRAM_CACHE"),
            "{message}"
        );
        assert!(!out.exists());
    }

    #[test]
    fn a_compiler_that_fails_is_quoted_with_the_remedy() {
        let (folder, mut host) = fixture::host();
        host.compiler =
            ["sh", "-c", "echo 'cannot find -lstdc++' >&2; exit 1"].map(Into::into).into();
        let message = build_stand_in(&host, folder.path()).unwrap_err().to_string();
        assert!(message.contains("install g++"), "{message}");
        assert!(message.contains("cannot find -lstdc++"), "{message}");
    }
}
