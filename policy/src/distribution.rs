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
        /// Log standard deviations before the tanh, `[.., A]`; the same in every row.
        log_std: Tensor,
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
        !matches!(self, Distribution::Gaussian { .. })
    }

    /// Numbers that describe it, `[.., A]`.
    pub(crate) fn numbers(&self) -> &Tensor {
        match self {
            Distribution::Categorical { logits } => logits,
            Distribution::Greedy { values } => values,
            Distribution::Gaussian { mean, .. } => mean,
        }
    }

    /// Noise for one sample: uniform in `[0, 1)` when actions are discrete, else standard normal.
    pub fn noise(&self, generator: &mut Generator) -> Tensor {
        self.noise_of(generator, &self.noise_shape())
    }

    /// Noise `[B]` or `[B, A]` for rows that draw from generators of their own: so many rows each,
    /// in order. What a generator's rows get does not depend on the others.
    pub fn noise_by_rows(&self, generators: &mut [(Generator, i64)]) -> Tensor {
        let mut shape = self.noise_shape();
        let parts: Vec<Tensor> = generators
            .iter_mut()
            .map(|(generator, rows)| {
                shape[0] = *rows;
                self.noise_of(generator, &shape)
            })
            .collect();
        Tensor::cat(&parts, 0)
    }

    fn noise_of(&self, generator: &mut Generator, shape: &[i64]) -> Tensor {
        let noise = match self.is_discrete() {
            true => random::uniform(generator, shape),
            false => random::normal(generator, shape),
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
        }
    }

    /// The greedy actions: the likeliest one when discrete, else tanh of the mean.
    pub fn mode(&self) -> Tensor {
        match self {
            Distribution::Categorical { logits } => logits.argmax(-1, false),
            Distribution::Greedy { values } => values.argmax(-1, false),
            Distribution::Gaussian { mean, .. } => squash(mean),
        }
    }

    /// The log-probability (density, when continuous) `[..]` of actions of the shape and type
    /// that [`sample`](Self::sample) returns; minus infinity where an action cannot happen.
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
mod tests {
    use engram_mdp::Seed;
    use tch::Device;

    use super::*;

    const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn categorical() -> Distribution {
        let logits = Tensor::from_slice(&[0.3, -1.2, 2.0, 0.0, 5.0, 4.0, -3.0, f64::NEG_INFINITY]);
        Distribution::Categorical { logits: logits.view([2, 4]) }
    }

    fn gaussian(mean: f64, std: f64) -> Distribution {
        Distribution::Gaussian {
            mean: Tensor::full([1, 1], mean, DOUBLE),
            log_std: Tensor::full([1, 1], std.ln(), DOUBLE),
        }
    }

    fn numbers(x: &Tensor) -> Vec<f64> {
        Vec::<f64>::try_from(x.to_kind(Kind::Double).flatten(0, -1)).unwrap()
    }

    /// Actions on a fine grid, and the shares of [-1, 1] that each stands for, through
    /// a = tanh(u).
    fn grid() -> (Tensor, Tensor) {
        let step = 1e-3;
        let a = ((Tensor::arange(14_000, DOUBLE) - 6999.5) * step).tanh();
        let shares: Tensor = (-a.square() + 1.0) * step;
        (a, shares)
    }

    fn density(d: &Distribution, actions: &Tensor) -> Tensor {
        let Distribution::Gaussian { mean, log_std } = d else { panic!("a Gaussian") };
        let actions = actions.view([-1, 1]);
        let [mean, log_std] = [mean, log_std].map(|x| x.expand_as(&actions));
        Distribution::Gaussian { mean, log_std }.log_prob(&actions).exp()
    }

    fn total(x: Tensor) -> f64 {
        x.sum(Kind::Double).double_value(&[])
    }

    #[test]
    fn categorical_log_prob_and_entropy_are_those_of_the_normalized_probabilities() {
        let logits = [0.3f64, -1.2, 2.0, 0.0];
        let total: f64 = logits.iter().map(|x| x.exp()).sum();
        let probs: Vec<f64> = logits.iter().map(|x| x.exp() / total).collect();
        let d = Distribution::Categorical { logits: Tensor::from_slice(&logits) };
        for (a, p) in probs.iter().enumerate() {
            let found = d.log_prob(&Tensor::from(a as i64)).double_value(&[]);
            assert!((found - p.ln()).abs() < 1e-12);
        }
        let entropy: f64 = probs.iter().map(|p| -p * p.ln()).sum();
        assert!((d.entropy().double_value(&[]) - entropy).abs() < 1e-12);
    }

    #[test]
    fn categorical_samples_come_as_often_as_their_probability_says() {
        let Distribution::Categorical { logits } = categorical() else { panic!("categorical") };
        let draws = 20_000;
        let many = Distribution::Categorical { logits: logits.expand([draws, 2, 4], false) };
        let actions = many.sample(&many.noise(&mut Seed::new(3).generator()));
        for a in 0..4 {
            let chosen = actions.eq(a).to_kind(Kind::Double);
            let shares = numbers(&chosen.mean_dim(0, false, Kind::Double));
            let probs = numbers(&categorical().log_prob(&Tensor::from_slice(&[a, a])).exp());
            assert!((shares[0] - probs[0]).abs() < 0.015 && (shares[1] - probs[1]).abs() < 0.015);
            assert!(a < 3 || shares[1] == 0.0, "an action of probability zero was chosen");
        }
        assert_eq!(numbers(&categorical().mode()), [2.0, 0.0]);
    }

    #[test]
    fn noise_at_its_ends_picks_only_actions_that_can_happen() {
        let logits = Tensor::from_slice(&[f32::NEG_INFINITY, 0.0, 1.0, f32::NEG_INFINITY]);
        let d = Distribution::Categorical { logits };
        let pick = |noise: f32| d.sample(&Tensor::from(noise)).int64_value(&[]);
        assert_eq!(pick(0.0), 1);
        assert_eq!(pick(1.0f32.next_down()), 2);
    }

    #[test]
    fn squashed_densities_integrate_to_one_and_to_their_entropy() {
        let (actions, shares) = grid();
        for (mean, std) in [(0.0, 1.0), (0.7, 0.3), (-0.5, 1.5)] {
            let d = gaussian(mean, std);
            let density = density(&d, &actions);
            let mass = total(&density * &shares);
            assert!((mass - 1.0).abs() < 1e-4, "mean {mean} std {std}: {mass}");
            let entropy = total(-density.log() * density * &shares);
            let found = d.entropy().double_value(&[0]);
            assert!((found - entropy).abs() < 1e-3, "mean {mean} std {std}: {found} {entropy}");
        }
    }

    #[test]
    fn the_entropy_is_the_mean_of_minus_log_prob() {
        for (mean, std, tolerance) in [(0.3, 1.0, 1e-7), (-1.0, 2.0, 1e-4), (0.5, 4.0, 1e-2)] {
            // A much finer trapezoid, through the Gaussian's own density.
            let step = 1e-3f64;
            let slope = |u: f64| 2.0 * (LN_2 - u.abs() - (-2.0 * u.abs()).exp().ln_1p());
            let expected: f64 = (-9000..=9000)
                .map(|k| f64::from(k) * step)
                .map(|e| (-0.5 * e * e).exp() / (2.0 * PI).sqrt() * step * slope(mean + std * e))
                .sum::<f64>()
                + 0.5 * (2.0 * PI).ln()
                + 0.5
                + std.ln();
            let found = gaussian(mean, std).entropy().double_value(&[0]);
            assert!((found - expected).abs() < tolerance, "std {std}: {found} {expected}");
        }
    }

    #[test]
    fn squashed_log_prob_is_the_change_of_variables() {
        let (mean, std, u) = (0.4f64, 0.8f64, 1.1f64);
        let normal = -0.5 * ((u - mean) / std).powi(2) - std.ln() - 0.5 * (2.0 * PI).ln();
        let expected = normal - (1.0 - u.tanh().powi(2)).ln();
        let found = density(&gaussian(mean, std), &Tensor::from(u.tanh())).log().double_value(&[0]);
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    #[test]
    fn extreme_draws_stay_inside_and_have_finite_densities() {
        let shape = [2, 3];
        let d = Distribution::Gaussian {
            mean: Tensor::zeros(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true),
            log_std: Tensor::zeros(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true),
        };
        let action = d.sample(&Tensor::full(shape, 50.0, (Kind::Float, Device::Cpu))).detach();
        assert!(action.max().double_value(&[]) < 1.0);
        let log_prob = d.log_prob(&action);
        assert!(log_prob.isfinite().all().int64_value(&[]) == 1);
        let Distribution::Gaussian { mean, log_std } = &d else { panic!("a Gaussian") };
        let loss = (log_prob + d.entropy()).sum(Kind::Float);
        for gradient in Tensor::run_backward(&[loss], &[mean, log_std], false, false) {
            assert!(gradient.isfinite().all().int64_value(&[]) == 1);
        }
        // The recorded action, not the draw, decides: both sides compute the same number.
        assert_eq!(d.log_prob(&action), d.log_prob(&action.copy()));
        assert_eq!(numbers(&d.mode()), [0.0; 6]);
    }

    #[test]
    fn squashed_samples_have_the_mean_that_the_density_says() {
        let d = gaussian(0.5, 0.7);
        let mean = Tensor::full([20_000, 1], 0.5, DOUBLE);
        let log_std = Tensor::full([20_000, 1], 0.7f64.ln(), DOUBLE);
        let many = Distribution::Gaussian { mean, log_std };
        let samples = many.sample(&many.noise(&mut Seed::new(5).generator()));
        let (actions, shares) = grid();
        let expected = total(&actions * density(&d, &actions) * shares);
        assert!((total(samples) / 20_000.0 - expected).abs() < 0.012);
    }
}
