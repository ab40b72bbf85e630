//! Frame stack: the features of the last K frames of the episode side by side, oldest first (Mnih et
//! al. 2015, <https://doi.org/10.1038/nature14236>, who stack four images).
//!
//! ```text
//! y_t = [ x_{t-K+1} ; … ; x_{t-1} ; x_t ]        x is zero before the episode's first frame
//! ```
//!
//! It has no weights, and carries the last K − 1 features. It stacks what the torso makes of frames,
//! not frames: a gradient reaches the torso through all K of them, as far as they lie in the unroll.
//! POPGym's frame stack (Morad et al. 2023, <https://arxiv.org/abs/2303.01859>), four frames, has a
//! smaller linear layer before the stack; here a torso, embedders or a `dense` layer of a stack does
//! that.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::recent::Recent;
use super::{BuiltMemory, LayerConfig, Memory, MemoryConfig};
use crate::error::PolicyError;
use crate::parameters::Parameters;
use crate::range::number_in_range;
use crate::resets::Resets;
use crate::state::CoreState;

/// The features of the last few frames side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameStackConfig {
    /// Frames side by side, the present one included.
    pub frames: i64,
}

impl LayerConfig for FrameStackConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        number_in_range("memory.frames", self.frames as f64, [2.0, 64.0])
    }

    fn build(&self, inputs: i64, _: &str, p: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(FrameStack { inputs, frames: self.frames, options: p.options() }))
    }

    fn examples(&self, _width: i64) -> Vec<MemoryConfig> {
        let layer = |frames| MemoryConfig::FrameStack(FrameStackConfig { frames });
        vec![layer(2), layer(4)]
    }
}

/// K frames of D features.
struct FrameStack {
    inputs: i64,
    frames: i64,
    options: (Kind, Device),
}

impl Memory for FrameStack {
    fn outputs(&self) -> i64 {
        self.frames * self.inputs
    }

    fn exports_state(&self) -> bool {
        true
    }

    /// The last K − 1 features, oldest first: `[B, K - 1, D]`.
    fn initial_state(&self, batch: i64) -> CoreState {
        let shape = [batch, self.frames - 1, self.inputs];
        CoreState::new(batch, vec![Tensor::zeros(shape, self.options)])
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        let seen = Tensor::cat(&[&state.tensors()[0], &x.unsqueeze(1)], 1); // [B, K, D]
        let after = seen.narrow(1, 1, self.frames - 1);
        (seen.flatten(1, 2), CoreState::new(state.batch(), vec![after]))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let recent = Recent::new(x, &state.tensors()[0], resets);
        let frames: Vec<Tensor> = (0..self.frames).rev().map(|k| recent.back(k)).collect();
        (Tensor::cat(&frames, 2), CoreState::new(state.batch(), vec![recent.after()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram_mdp::Seed;

    #[test]
    fn frames_stand_side_by_side_and_zeros_before_the_episode() {
        let mut p = Parameters::new(Seed::new(1), Kind::Double, Device::Cpu);
        let layer = FrameStackConfig { frames: 3 }.build(1, "memory", &mut p).unwrap();
        // Row 0 goes on after the frames 8 and 9; row 1 begins anew at frame 2.
        let state = Tensor::from_slice(&[8.0, 9.0, 8.0, 9.0]).view([2, 2, 1]);
        let x = Tensor::from_slice(&[10.0, 20.0, 11.0, 21.0, 12.0, 22.0]).view([3, 2, 1]);
        let resets = Resets::new(vec![false, false, false, false, false, true], 2);
        let (y, after) = layer.unroll(&x, &CoreState::new(2, vec![state]), &resets);
        let row = |b| Vec::<f64>::try_from(y.select(1, b).reshape([-1])).unwrap();
        assert_eq!(row(0), [8.0, 9.0, 10.0, 9.0, 10.0, 11.0, 10.0, 11.0, 12.0]);
        assert_eq!(row(1), [8.0, 9.0, 20.0, 9.0, 20.0, 21.0, 0.0, 0.0, 22.0]);
        let after = Vec::<f64>::try_from(after.tensors()[0].reshape([-1])).unwrap();
        assert_eq!(after, [11.0, 12.0, 0.0, 22.0]);
    }

    #[test]
    fn one_frame_is_no_stack() {
        let message = FrameStackConfig { frames: 1 }.validate().unwrap_err().to_string();
        assert!(message.contains("memory.frames") && message.contains("between 2"), "{message}");
    }
}
