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
    /// The least that wants it: the CPU, which CUDA includes, or CUDA alone.
    pub(crate) device: LibtorchVariant,
    /// The platform and, for compiled modules, the Python it was built for.
    pub(crate) tags: &'static [&'static str],
    pub(crate) file: &'static str,
    pub(crate) sha256: String,
    pub(crate) size: u64,
}

/// Wheels of torch, which comes first, and of NVIDIA's libraries. torch of this version names the
/// same ones in its metadata; here each has its SHA-256, and nothing else is set up.
pub(crate) fn wheels() -> Vec<Wheel> {
    let mut wheels = vec![
        Wheel {
            requirement: format!("torch=={VERSION}"),
            device: LibtorchVariant::Cpu,
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
            device: LibtorchVariant::Cpu,
            tags: &["--platform=manylinux2014_x86_64"],
            file: "nvidia_cuda_runtime-13.0.96-py3-none-\
                   manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548".into(),
            size: 2_243_632,
        },
        Wheel {
            requirement: "nvidia-cuda-cupti==13.0.85".into(),
            device: LibtorchVariant::Cpu,
            tags: &["--platform=manylinux_2_25_x86_64"],
            file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
            sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8".into(),
            size: 10_715_597,
        },
    ];
    let cuda = CUDA.iter().map(|&(requirement, tags, file, sha256, size)| Wheel {
        requirement: requirement.into(),
        device: LibtorchVariant::Cuda,
        tags,
        file,
        sha256: sha256.into(),
        size,
    });
    wheels.extend(cuda);
    wheels
}

/// Wheels that CUDA wants beside those of the CPU: requirement, tags, file, SHA-256, size.
const CUDA: [(&str, &[&str], &str, &str, u64); 13] = [
    (
        "nvidia-cudnn-cu13==9.19.0.56",
        &["--platform=manylinux_2_27_x86_64"],
        "nvidia_cudnn_cu13-9.19.0.56-py3-none-manylinux_2_27_x86_64.whl",
        "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
        366_066_321,
    ),
    (
        "nvidia-cusparselt-cu13==0.8.0",
        &["--platform=manylinux2014_x86_64"],
        "nvidia_cusparselt_cu13-0.8.0-py3-none-manylinux2014_x86_64.whl",
        "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd",
        169_884_119,
    ),
    (
        "nvidia-nccl-cu13==2.28.9",
        &["--platform=manylinux_2_18_x86_64"],
        "nvidia_nccl_cu13-2.28.9-py3-none-manylinux_2_18_x86_64.whl",
        "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
        196_493_177,
    ),
    (
        "nvidia-nvshmem-cu13==3.4.5",
        &["--platform=manylinux2014_x86_64"],
        "nvidia_nvshmem_cu13-3.4.5-py3-none-\
         manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
        60_412_546,
    ),
    (
        "nvidia-cublas==13.1.0.3",
        &["--platform=manylinux_2_27_x86_64"],
        "nvidia_cublas-13.1.0.3-py3-none-manylinux_2_27_x86_64.whl",
        "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
        423_133_236,
    ),
    (
        "nvidia-cuda-nvrtc==13.0.88",
        &["--platform=manylinux2010_x86_64"],
        "nvidia_cuda_nvrtc-13.0.88-py3-none-\
         manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        90_215_200,
    ),
    (
        "nvidia-cufft==12.0.0.61",
        &["--platform=manylinux2014_x86_64"],
        "nvidia_cufft-12.0.0.61-py3-none-\
         manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
        214_085_489,
    ),
    (
        "nvidia-cufile==1.15.1.6",
        &["--platform=manylinux2014_x86_64"],
        "nvidia_cufile-1.15.1.6-py3-none-\
         manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
        1_223_672,
    ),
    (
        "nvidia-curand==10.4.0.35",
        &["--platform=manylinux_2_27_x86_64"],
        "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl",
        "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        59_544_258,
    ),
    (
        "nvidia-cusolver==12.0.4.66",
        &["--platform=manylinux_2_27_x86_64"],
        "nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_x86_64.whl",
        "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
        200_941_980,
    ),
    (
        "nvidia-cusparse==12.6.3.3",
        &["--platform=manylinux2014_x86_64"],
        "nvidia_cusparse-12.6.3.3-py3-none-\
         manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
        145_942_937,
    ),
    (
        "nvidia-nvjitlink==13.0.88",
        &["--platform=manylinux2010_x86_64"],
        "nvidia_nvjitlink-13.0.88-py3-none-\
         manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
        40_713_933,
    ),
    (
        "nvidia-nvtx==13.0.85",
        &["--platform=manylinux1_x86_64"],
        "nvidia_nvtx-13.0.85-py3-none-\
         manylinux1_x86_64.manylinux_2_5_x86_64.whl",
        "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
        148_047,
    ),
];

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
            let platform = wheel.tags[0].strip_prefix("--platform=").unwrap();
            assert!(wheel.file.contains(platform), "{}", wheel.file);
        }
    }
}
