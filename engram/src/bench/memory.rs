//! What remembering costs, layer by layer: acting, training, and exact gradients.
//!
//! Everything is measured through whole policies without a torso: what is fed goes straight into
//! the memory, what comes out into a linear policy and value. Times are medians; what is compared
//! took turns.

mod layers;
mod real_time;
mod recursion;

use std::time::Instant;

use anyhow::Result;
use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec, Seed};
use engram_policy::{
    Activation, CoreState, HeadConfig, Inputs, MemoryConfig, MemoryInput, Output, Past, Policy,
    PolicyConfig, TorsoConfig, Unrolled,
};
use tch::{Device, Kind, Tensor};

use crate::compute::Compute;

/// Measures, and prints tables.
pub(super) fn run(compute: Compute, seconds: f64) -> Result<()> {
    let device = compute.device.ready()?;
    tch::set_num_threads(i32::try_from(compute.learner_threads)?);
    real_time::run(device, seconds)?;
    layers::run(device, seconds)
}

/// A policy that is little but its memory, and frames for it.
struct Bench {
    policy: Policy,
    width: i64,
    device: Device,
}

impl Bench {
    fn new(memory: MemoryConfig, width: i64, device: Device) -> Result<Self> {
        let config = PolicyConfig {
            inputs: vec![MemoryInput::Observation],
            torso: TorsoConfig::Identity {},
            memory,
            head: HeadConfig { hidden: vec![], activation: Activation::Relu },
        };
        let spec = EnvSpec {
            name: "bench".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![width as usize] },
            action: ActionSpec::Discrete { count: 4 },
            action_repeat: 1,
        };
        let policy = Policy::new(&config, &spec, Seed::new(1), device)?;
        Ok(Bench { policy, width, device })
    }

    /// Frames `[T, B]`; of every row, one begins an episode.
    fn frames(&self, time: i64, batch: i64) -> Inputs {
        let first = (0..time * batch).map(|row| row / batch == (7 * (row % batch)) % time);
        self.inputs(&[time, batch], first.collect())
    }

    /// Frames `[B]`.
    fn moment(&self, batch: i64) -> Inputs {
        self.inputs(&[batch], (0..batch).map(|row| row == 0).collect())
    }

    fn inputs(&self, leading: &[i64], first: Vec<bool>) -> Inputs {
        let observation = [leading, &[self.width]].concat();
        let count: i64 = observation.iter().product();
        let waves: Vec<f32> = (0..count).map(|i| (0.37 * i as f32).sin()).collect();
        Inputs::new(
            Tensor::from_slice(&waves).view(observation.as_slice()).to_device(self.device),
            Tensor::zeros(leading, (Kind::Int64, self.device)),
            Tensor::zeros(leading, (Kind::Float, self.device)),
            first,
        )
    }

    /// The gradient of something that depends on all outputs, T of them each, and that reaches
    /// back to `past`; what is carried on.
    fn gradient(&self, outputs: &[Output], past: Past) -> (Vec<Tensor>, CoreState) {
        let loss = outputs
            .iter()
            .map(|output| {
                (output.distribution.entropy() + output.value().square()).sum(Kind::Float)
            })
            .reduce(|sum, part| sum + part)
            .expect("there are outputs");
        self.policy.gradient(&loss, past)
    }

    /// Outputs of frames `[T + 1, B]`.
    fn forward(&self, frames: &Inputs, core_state: &Tensor, carry: CoreState) -> Unrolled {
        let unrolled = self.policy.unroll_streams(frames, core_state, carry);
        unrolled.expect("the policy's own core state")
    }

    /// One update's gradient from frames `[T + 1, B]`; what is carried on.
    fn update(&self, frames: &Inputs, core_state: &Tensor, carry: CoreState) -> CoreState {
        let Unrolled { output, past } = self.forward(frames, core_state, carry);
        let (gradient, carry) = self.gradient(&[output], past);
        wait_for(&gradient[0]);
        carry
    }

    /// What trajectories would bring: zeros.
    fn core_state(&self, batch: i64) -> Tensor {
        let width = self.policy.exported_state_width().unwrap_or(0) as i64;
        Tensor::zeros([batch, width], (Kind::Float, self.device))
    }
}

/// An accelerator works on its own: ask for a number, and it must have finished.
fn wait_for(tensor: &Tensor) {
    let _ = tensor.reshape([-1]).narrow(0, 0, 1).double_value(&[0]);
}

/// Seconds that each of `works` takes, medians of as many turns as fit into `seconds`, three at
/// least. They take turns, so that what else happens on the machine strikes all alike.
pub(super) fn medians<const N: usize>(seconds: f64, mut works: [&mut dyn FnMut(); N]) -> [f64; N] {
    works.iter_mut().for_each(|work| work());
    let mut times: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    let started = Instant::now();
    while times[0].len() < 3 || started.elapsed().as_secs_f64() < seconds * N as f64 {
        for (work, times) in works.iter_mut().zip(&mut times) {
            let before = Instant::now();
            work();
            times.push(before.elapsed().as_secs_f64());
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}
