//! Device that the policy runs on: `cpu`, `cuda` or `cuda:n`.
//!
//! One binary serves both. It links libtorch's CPU half only; where CUDA is asked for, the other
//! half is loaded at start, from beside the first.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

/// Device that a policy runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The accelerator of that number.
    Cuda(usize),
}

/// Reasons why a policy cannot run on a device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// Text that names no device.
    #[error("`{0}` is no device; write cpu, cuda or cuda:0")]
    Name(String),
    /// There is no CUDA half of libtorch.
    #[error(
        "cuda was asked for, but there is no {}; `cargo xtask setup --device cuda` brings it", 
        .0.display()
    )]
    NoLibrary(PathBuf),
    /// The CUDA half of libtorch cannot be loaded.
    #[error("cuda was asked for, but libtorch's CUDA half cannot be loaded: {0}")]
    Load(String),
    /// The system has no usable accelerator.
    #[error("cuda was asked for, but no accelerator is usable here; does nvidia-smi show one?")]
    NoDriver,
    /// The system has fewer accelerators.
    #[error("cuda:{asked} was asked for, but there are {found} accelerators, numbered from 0")]
    NoSuch {
        /// The number asked for.
        asked: usize,
        /// Accelerators that there are.
        found: usize,
    },
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match (text, text.strip_prefix("cuda:").map(str::parse)) {
            ("cpu", _) => Ok(Device::Cpu),
            ("cuda", _) => Ok(Device::Cuda(0)),
            (_, Some(Ok(number))) => Ok(Device::Cuda(number)),
            _ => Err(DeviceError::Name(text.into())),
        }
    }
}

impl Device {
    /// The device in libtorch's words, ready to be used.
    pub fn ready(self) -> Result<tch::Device, DeviceError> {
        let Device::Cuda(asked) = self else {
            return Ok(tch::Device::Cpu);
        };
        // Not asked for before: libtorch remembers for ever what it finds without its CUDA half.
        load_cuda()?;
        let found = tch::Cuda::device_count() as usize;
        match found {
            0 => Err(DeviceError::NoDriver),
            _ if asked >= found => Err(DeviceError::NoSuch { asked, found }),
            _ => Ok(tch::Device::Cuda(asked)),
        }
    }
}

/// Loads libtorch_cuda.so, whose initializers make the accelerators known to libtorch.
fn load_cuda() -> Result<(), DeviceError> {
    let library = folder_of_libtorch().join("libtorch_cuda.so");
    if !library.exists() {
        return Err(DeviceError::NoLibrary(library));
    }
    let path = CString::new(library.as_os_str().as_bytes()).expect("a path without zeros");
    load(&path).map_err(DeviceError::Load)
}

/// Folder of the libtorch that this process uses; the loader's search path if it is linked in.
fn folder_of_libtorch() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let path = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    path.filter(|path| path.file_name().is_some_and(|name| name == "libtorch_cpu.so"))
        .find_map(Path::parent)
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

#[expect(unsafe_code, reason = "std does not load libraries")]
fn load(path: &CStr) -> Result<(), String> {
    // SAFETY: the path is a C string; the library is libtorch's own, made to be loaded into a
    // process that uses its CPU half. It is never unloaded.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Ok(());
    }
    // SAFETY: after a failed dlopen on this thread, dlerror gives a C string that stays until the
    // next such call on this thread.
    let reason = unsafe { CStr::from_ptr(libc::dlerror()) };
    Err(reason.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_what_is_none_is_refused() {
        assert_eq!("cpu".parse(), Ok(Device::Cpu));
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(Device::Cuda(3)));
        for text in ["gpu", "cuda:", "cuda:x", "cuda:-1", ""] {
            assert_eq!(text.parse::<Device>(), Err(DeviceError::Name(text.into())));
        }
    }

    #[test]
    fn the_processor_is_always_ready() {
        assert_eq!(Device::Cpu.ready(), Ok(tch::Device::Cpu));
    }

    #[test]
    fn libtorch_is_found_where_it_was_loaded_from() {
        assert!(tch::get_num_threads() > 0);
        assert!(folder_of_libtorch().join("libtorch_cpu.so").exists());
    }
}
