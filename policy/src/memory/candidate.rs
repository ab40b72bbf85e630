//! Candidate states: what a gated linear recurrence mixes into its cells, and how it bends.

use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Function that makes a candidate state v of its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Candidate {
    /// Hyperbolic tangent.
    Tanh,
    /// The argument itself.
    Linear,
    /// The argument + ½ where it is not negative, else its sigmoid: always positive, so that it has
    /// a logarithm.
    Positive,
}

impl Candidate {
    /// v of its argument.
    pub(super) fn of(self, argument: &Tensor) -> Tensor {
        match self {
            Candidate::Tanh => argument.tanh(),
            Candidate::Linear => argument.shallow_clone(),
            Candidate::Positive => argument.relu() + argument.clamp_max(0.0).sigmoid(),
        }
    }

    /// Gradient by the argument, from `gradient` by v, of which there is no more to know than v.
    pub(super) fn backward(self, gradient: &Tensor, v: &Tensor) -> Tensor {
        match self {
            Candidate::Tanh => Tensor::tanh_backward(gradient, v),
            Candidate::Linear => gradient.shallow_clone(),
            Candidate::Positive => gradient * (v - v.square()).masked_fill(&v.ge(0.5), 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn gradients_are_those_of_backpropagation() {
        let argument = Tensor::linspace(-3.1, 3.2, 40, (Kind::Double, Device::Cpu));
        for candidate in [Candidate::Tanh, Candidate::Linear, Candidate::Positive] {
            let argument = argument.copy().set_requires_grad(true);
            let v = candidate.of(&argument);
            let gradient = argument.detach().cos();
            let sum = (&v * &gradient).sum(Kind::Double);
            let expected = &Tensor::run_backward(&[sum], &[&argument], false, false)[0];
            let found = candidate.backward(&gradient, &v.detach());
            let off = (found - expected).abs().max().double_value(&[]);
            assert!(off < 1e-12, "{candidate:?}: off by {off}");
        }
    }

    #[test]
    fn positive_ones_are_positive_and_in_one_piece() {
        let argument = Tensor::from_slice(&[-40.0, -1.0, -1e-9, 0.0, 2.0]);
        let v = Vec::<f64>::try_from(Candidate::Positive.of(&argument)).unwrap();
        let expected = [4.248354255291589e-18, 0.2689414213699951, 0.5, 0.5, 2.5];
        for (found, expected) in v.into_iter().zip(expected) {
            assert!(found > 0.0 && (found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }
}
