//! Distributions of actions.
//!
//! Sampling is a pure function of noise, which is drawn from one of Engram's generators: the same
//! noise gives the same actions.
//!
//! Continuous actions live in `[-1, 1]`. They are tanh of a Gaussian (Haarnoja et al. 2018,
//! appendix C, <https://arxiv.org/abs/1801.01290>), kept [`MARGIN`] away from ±1 when they are
//! sampled, and again when the density of a recorded action is asked for. Both the acting and the
//! learning policy see the action that was recorded, never the Gaussian's draw, so that equal
//! weights give equal densities, to the last bit.

use std::f64::consts::{LN_2, PI};

use engram_mdp::Generator;
use tch::{Kind, Tensor};

use crate::random;

/// Distance from ±1 that continuous actions keep: the inverse of tanh is infinite there.
pub const MARGIN: f64 = 1e-6;

/// A distribution of one action per row of `[..]`: `[B]` when stepping, `[T, B]` when unrolling.
#[derive(Debug)]
pub enum Distribution {
    /// Over discrete actions.
    Categorical {
        /// Unnormalized log-probabilities, `[.., A]`.
        logits: Tensor,
    },
    /// All on the action of the highest value: how networks act that have no policy of their own.
    Greedy {
        /// The values of all actions, `[.., A]`.
        values: Tensor,
    },
    /// tanh of independent Gaussians, one per action dimension.
    Gaussian {
        /// Means before the tanh, `[.., A]`.
        mean: Tensor,
        /// Log standard deviations before the tanh, `[.., A]`.
        log_std: Tensor,
    },
    /// All on one vector: how policies act that learn by the slope of a critic.
    Deterministic {
        /// The vector before the tanh, `[.., A]`.
        raw: Tensor,
    },
}

impl Distribution {
    /// Rows `start..start + length` of the leading dimension: of `[T, B]`, the moments from `start`.
    pub fn narrow(&self, start: i64, length: i64) -> Distribution {
        let rows = |tensor: &Tensor| tensor.narrow(0, start, length);
        match self {
            Distribution::Categorical { logits } => {
                Distribution::Categorical { logits: rows(logits) }
            }
            Distribution::Greedy { values } => Distribution::Greedy { values: rows(values) },
            Distribution::Gaussian { mean, log_std } => {
                Distribution::Gaussian { mean: rows(mean), log_std: rows(log_std) }
            }
            Distribution::Deterministic { raw } => Distribution::Deterministic { raw: rows(raw) },
        }
    }

    /// The shape of the noise that [`sample`](Self::sample) takes: `[..]` when actions are
    /// discrete, else `[.., A]`.
    pub fn noise_shape(&self) -> Vec<i64> {
        let mut shape = self.numbers().size();
        if self.is_discrete() {
            shape.pop();
        }
        shape
    }

    /// True if it is over numbered actions.
    pub fn is_discrete(&self) -> bool {
        !matches!(self, Distribution::Gaussian { .. } | Distribution::Deterministic { .. })
    }

    /// Numbers that describe it, `[.., A]`.
    pub(crate) fn numbers(&self) -> &Tensor {
        match self {
            Distribution::Categorical { logits } => logits,
            Distribution::Greedy { values } => values,
            Distribution::Gaussian { mean, .. } => mean,
            Distribution::Deterministic { raw } => raw,
        }
    }

    /// Noise for one sample: uniform in `[0, 1)` when actions are discrete, else standard normal.
    pub fn noise(&self, generator: &mut Generator) -> Tensor {
        let noise = match self.is_discrete() {
            true => random::uniform(generator, &self.noise_shape()),
            false => random::normal(generator, &self.noise_shape()),
        };
        noise.to_kind(self.numbers().kind()).to_device(self.numbers().device())
    }

    /// The actions that `noise` picks: i64 `[..]` when discrete, else `[.., A]` within ±1.
    pub fn sample(&self, noise: &Tensor) -> Tensor {
        assert_eq!(noise.size(), self.noise_shape(), "noise of the distribution's noise_shape");
        match self {
            Distribution::Categorical { logits } => {
                // The first action whose cumulative probability exceeds the noise. Scaled by the
                // last one, which rounding may leave a little beside 1.
                let cumulative = logits.softmax(-1, None::<Kind>).cumsum(-1, None::<Kind>);
                let total = cumulative.narrow(-1, -1, 1);
                let below = cumulative.le_tensor(&(noise.unsqueeze(-1) * total));
                let action = below.sum_dim_intlist(-1, false, Kind::Int64);
                action.clamp_max(logits.size()[logits.dim() - 1] - 1)
            }
            Distribution::Greedy { values } => values.argmax(-1, false),
            Distribution::Gaussian { mean, log_std } => {
                squash(&mean.addcmul(&log_std.exp(), noise))
            }
            Distribution::Deterministic { raw } => squash(raw),
        }
    }

    /// The greedy actions: the likeliest one when discrete, else tanh of the mean.
    pub fn mode(&self) -> Tensor {
        match self {
            Distribution::Categorical { logits } => logits.argmax(-1, false),
            Distribution::Greedy { values } => values.argmax(-1, false),
            Distribution::Gaussian { mean, .. } => squash(mean),
            Distribution::Deterministic { raw } => squash(raw),
        }
    }

    /// The log-probability (density, when continuous) `[..]` of actions of the shape and type
    /// that [`sample`](Self::sample) returns; minus infinity where an action cannot happen. A policy
    /// that is certain of a vector has no density: 0.
    pub fn log_prob(&self, action: &Tensor) -> Tensor {
        assert_eq!(action.size(), self.noise_shape(), "one action per row");
        match self {
            Distribution::Categorical { logits } => {
                let log_probs = logits.log_softmax(-1, None::<Kind>);
                log_probs.gather(-1, &action.unsqueeze(-1), false).squeeze_dim(-1)
            }
            Distribution::Greedy { values } => {
                values.argmax(-1, false).eq_tensor(action).to_kind(values.kind()).log()
            }
            Distribution::Gaussian { mean, log_std } => {
                let draw = action.to_kind(mean.kind()).clamp(MARGIN - 1.0, 1.0 - MARGIN).atanh();
                let distance = (&draw - mean) / log_std.exp();
                let gaussian: Tensor = distance.square() * -0.5 - log_std - 0.5 * (2.0 * PI).ln();
                (gaussian - log_slope(&draw)).sum_dim_intlist(-1, false, None::<Kind>)
            }
            Distribution::Deterministic { raw } => raw.select(-1, 0).zeros_like(),
        }
    }

    /// The entropy `[..]`; differential, and of the squashed action, when continuous.
    pub fn entropy(&self) -> Tensor {
        match self {
            Distribution::Categorical { logits } => {
                let log_probs = logits.log_softmax(-1, None::<Kind>);
                -(log_probs.exp() * log_probs).sum_dim_intlist(-1, false, None::<Kind>)
            }
            Distribution::Greedy { values } => values.select(-1, 0).zeros_like(),
            Distribution::Gaussian { mean, log_std } => {
                let gaussian: Tensor = log_std + 0.5 * (2.0 * PI).ln() + 0.5;
                let entropy = gaussian + mean_log_slope(mean, &log_std.exp());
                entropy.sum_dim_intlist(-1, false, None::<Kind>)
            }
            Distribution::Deterministic { raw } => raw.select(-1, 0).zeros_like(),
        }
    }

    /// The vectors that `noise` picks, `[.., A]`, and their log-densities, `[..]`, both
    /// differentiated by what the policy says: the reparameterization of Haarnoja et al. 2018,
    /// <https://arxiv.org/abs/1812.05905>, with the draw itself in place of its recorded action.
    pub fn reparameterized(&self, noise: &Tensor) -> (Tensor, Tensor) {
        match self {
            Distribution::Gaussian { mean, log_std } => {
                let draw = mean.addcmul(&log_std.exp(), noise);
                let gaussian: Tensor = noise.square() * -0.5 - log_std - 0.5 * (2.0 * PI).ln();
                let log_prob =
                    (gaussian - log_slope(&draw)).sum_dim_intlist(-1, false, None::<Kind>);
                (squash(&draw), log_prob)
            }
            Distribution::Deterministic { .. } => (self.mode(), self.log_prob(&self.mode())),
            _ => panic!("only vectors are differentiated by what the policy says"),
        }
    }
}

fn squash(draw: &Tensor) -> Tensor {
    draw.tanh().clamp(MARGIN - 1.0, 1.0 - MARGIN)
}

/// log(d tanh(u) / du) = log(1 - tanh² u), without cancellation at large u.
fn log_slope(u: &Tensor) -> Tensor {
    ((u * 2.0).log_sigmoid() - u + LN_2) * 2.0
}

/// The mean of [`log_slope`] under Gaussians, by the trapezoid rule with steps of half a standard
/// deviation. The integrand is analytic and dies out at both ends, so the error falls
/// exponentially with the step: below 1e-7 at a standard deviation of 1, 1e-4 at 2, 0.01 at 4.
fn mean_log_slope(mean: &Tensor, std: &Tensor) -> Tensor {
    const STEPS: i64 = 11;
    let nodes: Vec<f64> = (-STEPS..=STEPS).map(|k| 0.5 * k as f64).collect();
    let densities: Vec<f64> = nodes.iter().map(|x| (-0.5 * x * x).exp()).collect();
    let total: f64 = densities.iter().sum();
    let weights: Vec<f64> = densities.iter().map(|density| density / total).collect();
    let column =
        |numbers: &[f64]| Tensor::from_slice(numbers).to_kind(mean.kind()).to_device(mean.device());
    // [.., A, nodes]
    let draws = mean.unsqueeze(-1) + std.unsqueeze(-1) * column(&nodes);
    log_slope(&draws).matmul(&column(&weights))
}

#[cfg(test)]
mod tests;
