//! Release of libtorch: its version, and the files in which PyTorch publishes it.

/// Version of libtorch: the only one that tch 0.24 links.
pub(crate) const VERSION: &str = "2.11.0";

/// Variant of libtorch, by the device that it computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LibtorchVariant {
    Cpu,
    Cuda,
}

impl LibtorchVariant {
    pub(crate) fn name(self) -> &'static str {
        match self {
            LibtorchVariant::Cpu => "cpu",
            LibtorchVariant::Cuda => "cuda",
        }
    }

    /// Bytes that must be free on the disk: for downloads and for what is unpacked from them.
    pub(crate) fn space(self) -> u64 {
        match self {
            LibtorchVariant::Cpu => 1_300_000_000,
            LibtorchVariant::Cuda => 7_000_000_000,
        }
    }
}

/// Wheel on PyPI.
#[derive(Clone, Debug)]
pub(crate) struct Wheel {
    /// As pip names it: `project==version`.
    pub(crate) requirement: String,
    /// The platform and, for compiled modules, the Python it was built for.
    pub(crate) tags: &'static [&'static str],
    pub(crate) file: &'static str,
    pub(crate) sha256: String,
    pub(crate) size: u64,
}

/// Wheels of a CPU build. The one of torch comes first.
pub(crate) fn wheels() -> Vec<Wheel> {
    vec![
        Wheel {
            requirement: format!("torch=={VERSION}"),
            tags: &[
                "--platform=manylinux_2_28_x86_64",
                "--python-version=3.11",
                "--implementation=cp",
                "--abi=cp311",
            ],
            file: "torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl",
            sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a".into(),
            size: 530_604_548,
        },
        Wheel {
            requirement: "nvidia-cuda-runtime==13.0.96".into(),
            tags: &["--platform=manylinux2014_x86_64"],
            file: "nvidia_cuda_runtime-13.0.96-py3-none-\
                   manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548".into(),
            size: 2_243_632,
        },
        Wheel {
            requirement: "nvidia-cuda-cupti==13.0.85".into(),
            tags: &["--platform=manylinux_2_25_x86_64"],
            file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
            sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8".into(),
            size: 10_715_597,
        },
    ]
}

/// Address of the official archive.
pub(crate) fn archive(device: LibtorchVariant) -> String {
    let build = match device {
        LibtorchVariant::Cpu => "cpu",
        LibtorchVariant::Cuda => "cu130",
    };
    format!(
        "https://download.pytorch.org/libtorch/{build}/\
         libtorch-shared-with-deps-{VERSION}%2B{build}.zip"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_pinned_file_by_file() {
        for wheel in wheels() {
            let (project, version) = wheel.requirement.split_once("==").unwrap();
            let start = format!("{}-{version}-", project.replace('-', "_"));
            assert!(wheel.file.starts_with(&start), "{}", wheel.file);
            assert_eq!(wheel.sha256.len(), 64);
            assert!(wheel.tags[0].starts_with("--platform="));
        }
    }
}
