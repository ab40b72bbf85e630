//! A policy on an accelerator, beside the same one on the CPU, in double precision.

use engram_policy::parity::{compute, largest_error};
use tch::{Device, Kind};

use super::configs::configs;
use super::{CONTINUOUS, DISCRETE, config, memories, real_time_memories};

#[test]
fn a_policy_computes_the_same_twice_and_other_numbers_in_single_precision() {
    for config in memories(6).into_iter().map(config) {
        let compute = |kind| compute(&config, DISCRETE, kind, Device::Cpu).unwrap();
        let here = compute(Kind::Double);
        assert!(here.iter().any(|(name, _)| name.starts_with("gradient of ")), "{config}");
        assert_eq!(largest_error(&here, &compute(Kind::Double)).1, 0.0, "{config}");
        let (name, error) = largest_error(&here, &compute(Kind::Float));
        assert!(error > 1e-9 && error < 1e-3, "{config}, {name}: off by {error}");
    }
}

#[test]
#[ignore = "needs an accelerator: cargo xtask test -- --ignored"]
fn an_accelerator_computes_what_the_cpu_does() {
    let cuda = engram_policy::Device::Cuda(0).ready().unwrap();
    let layers = memories(6).into_iter().chain(real_time_memories(6)).map(config);
    for config in configs().into_values().chain(layers) {
        for action in [DISCRETE, CONTINUOUS] {
            let compute = |device| compute(&config, action, Kind::Double, device).unwrap();
            let (name, error) = largest_error(&compute(Device::Cpu), &compute(cuda));
            assert!(error < 1e-9, "{config} on {action:?}, {name}: off by {error}");
        }
    }
}
