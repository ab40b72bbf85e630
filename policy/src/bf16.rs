//! bfloat16: where it is a type to compute in.

use tch::Device;

/// True of a device for which bfloat16 is a type to compute in: a GPU, or a processor with
/// instructions for it (AVX-512 BF16). Others would convert every number, and be slower.
pub(crate) fn computes_in_bf16(device: Device) -> bool {
    match device {
        #[cfg(target_arch = "x86_64")]
        Device::Cpu => is_x86_feature_detected!("avx512bf16"),
        #[cfg(not(target_arch = "x86_64"))]
        Device::Cpu => false,
        _ => true,
    }
}
