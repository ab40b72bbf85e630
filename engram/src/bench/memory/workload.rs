//! Workload of a memory layer: a policy that is little but its memory, and frames for it.

use anyhow::Result;
use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec, Seed};
use engram_policy::{
    Activation, Carry, HeadConfig, HeadInit, Inputs, MemoryConfig, MemoryInput, Policy,
    PolicyConfig, PolicyOutput, TorsoConfig, UnrollContext, Unrolled,
};
use tch::{Device, Kind, Tensor};

use crate::bench::timing::wait_for;

/// A policy that is little but its memory, and frames for it.
pub(super) struct Workload {
    pub(super) policy: Policy,
    width: i64,
    device: Device,
}

impl Workload {
    pub(super) fn new(memory: MemoryConfig, width: i64, device: Device) -> Result<Self> {
        let config = PolicyConfig {
            inputs: vec![MemoryInput::Observation],
            torso: TorsoConfig::Identity {},
            embed: None,
            memory,
            skip: None,
            head: HeadConfig {
                hidden: vec![],
                activation: Activation::Relu,
                action: None,
                init: HeadInit::FAN_IN,
            },
        };
        let spec = EnvSpec {
            name: "bench".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![width as usize] },
            action: ActionSpec::Discrete { count: 4 },
            frame_stack: 1,
            action_repeat: 1,
        };
        let policy = Policy::new(&config, &spec, Seed::new(1), device)?;
        Ok(Workload { policy, width, device })
    }

    /// Frames `[T, B]`; of every row, one begins an episode.
    pub(super) fn frames(&self, time: i64, batch: i64) -> Inputs {
        let first = (0..time * batch).map(|row| row / batch == (7 * (row % batch)) % time);
        self.inputs(&[time, batch], first.collect())
    }

    /// Frames `[B]`.
    pub(super) fn moment(&self, batch: i64) -> Inputs {
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
    /// back to before `context`; what is carried on.
    pub(super) fn gradient(
        &self,
        outputs: &[PolicyOutput],
        context: UnrollContext,
    ) -> (Vec<Tensor>, Carry) {
        let loss = outputs
            .iter()
            .map(|output| {
                (output.distribution.entropy() + output.value().square()).sum(Kind::Float)
            })
            .reduce(|sum, part| sum + part)
            .expect("there are outputs");
        self.policy.gradient(&loss, context)
    }

    /// Outputs of frames `[T + 1, B]`.
    pub(super) fn forward(&self, frames: &Inputs, core_state: &Tensor, carry: Carry) -> Unrolled {
        let unrolled = self.policy.unroll_streams(frames, core_state, carry);
        unrolled.expect("the policy's own core state")
    }

    /// One update's gradient from frames `[T + 1, B]`; what is carried on.
    pub(super) fn update(&self, frames: &Inputs, core_state: &Tensor, carry: Carry) -> Carry {
        let Unrolled { output, context } = self.forward(frames, core_state, carry);
        let (gradient, carry) = self.gradient(&[output], context);
        wait_for(&gradient[0]);
        carry
    }

    /// Core state that trajectories would bring: zeros.
    pub(super) fn core_state(&self, batch: i64) -> Tensor {
        let width = self.policy.exported_state_width().unwrap_or(0) as i64;
        Tensor::zeros([batch, width], (Kind::Float, self.device))
    }
}
