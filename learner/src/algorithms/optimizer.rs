//! RMSprop, Adam and AdamW, over all weights at once, with step sizes of their own for parts of them.
//!
//! The gradients of a network are laid end to end in one vector, and so are the moments: a
//! recurrent policy has a dozen small tensors, and what a step costs is the number of operations,
//! not of numbers. Rules and their ε are PyTorch's, so its settings carry over.

use tch::{Device, Kind, Tensor, no_grad};

use super::state_dict::{StateDict, StateError, find};
use crate::config::{OffPolicyConfig, OptimizerConfig};

/// A rule that turns gradients into steps, and what it remembers of earlier ones.
#[derive(Debug)]
pub struct Optimizer {
    layout: WeightLayout,
    rule: Rule,
    /// Factor of each number's step size, `[P]`; none where all are 1.
    rates: Option<Tensor>,
    /// Share of a weight, times its step size, by which it shrinks.
    weight_decay: f64,
}

/// Layout: the place of each weight in the one vector.
#[derive(Debug)]
struct WeightLayout {
    names: Vec<String>,
    shapes: Vec<Vec<i64>>,
    lengths: Vec<i64>,
    kind: Kind,
    device: Device,
}

/// The moments have shape `[P]`: all weights, end to end.
#[derive(Debug)]
enum Rule {
    Rmsprop {
        alpha: f64,
        epsilon: f64,
        momentum: f64,
        square: Tensor,
        /// The last step; kept only where there is momentum.
        velocity: Option<Tensor>,
    },
    Adam {
        beta1: f64,
        beta2: f64,
        epsilon: f64,
        mean: Tensor,
        square: Tensor,
        steps: i64,
    },
}

/// The length of a vector, in double precision so that large numbers cannot overflow their
/// squares. A scalar on the vector's device.
pub fn global_norm(gradient: &Tensor) -> Tensor {
    gradient.norm_scalaropt_dtype(2, Kind::Double)
}

/// A gradient of length `norm`, shortened to `max_norm` if it is longer; in its place.
pub fn clipped(mut gradient: Tensor, norm: f64, max_norm: f64) -> Tensor {
    if norm > max_norm { gradient.g_mul_scalar_(max_norm / norm) } else { gradient }
}

impl Optimizer {
    /// An optimizer that has seen nothing yet, for weights of these names and shapes.
    pub fn new(config: &OptimizerConfig, weights: &[(String, Tensor)]) -> Self {
        let layout = WeightLayout::of(weights);
        let rule = match *config {
            OptimizerConfig::Rmsprop { alpha, epsilon, momentum } => Rule::Rmsprop {
                alpha,
                epsilon,
                momentum,
                square: layout.zeros(),
                velocity: (momentum > 0.0).then(|| layout.zeros()),
            },
            OptimizerConfig::Adam { beta1, beta2, epsilon, weight_decay: _ } => Rule::Adam {
                beta1,
                beta2,
                epsilon,
                mean: layout.zeros(),
                square: layout.zeros(),
                steps: 0,
            },
        };
        let weight_decay = match *config {
            OptimizerConfig::Adam { weight_decay, .. } => weight_decay,
            OptimizerConfig::Rmsprop { .. } => 0.0,
        };
        Optimizer { layout, rule, rates: None, weight_decay }
    }

    /// That of `settings`, with their step sizes for parts of the networks.
    pub fn of<O>(settings: &OffPolicyConfig<O>, weights: &[(String, Tensor)]) -> Self {
        let base = settings.learning_rate;
        Optimizer::new(&settings.optimizer, weights)
            .with_rates(|name| settings.rate_of(name, base) / base)
    }

    /// The same with a factor for each weight's step size, by its name.
    pub fn with_rates(mut self, factor: impl Fn(&str) -> f64) -> Self {
        let WeightLayout { names, lengths, kind, device, .. } = &self.layout;
        let factors: Vec<f64> = names.iter().map(|name| factor(name)).collect();
        self.rates = factors.iter().any(|&factor| factor != 1.0).then(|| {
            let of = |(&factor, &length)| Tensor::full([length], factor, (*kind, *device));
            Tensor::cat(&factors.iter().zip(lengths).map(of).collect::<Vec<_>>(), 0)
        });
        self
    }

    /// The gradient of `loss`, a scalar, by every weight: one vector `[P]`. Weights that `loss`
    /// does not depend on have zeros. The loss's graph is used up.
    pub fn gradient(&self, loss: &Tensor, weights: &[(String, Tensor)]) -> Tensor {
        let inputs: Vec<&Tensor> = weights.iter().map(|(_, weight)| weight).collect();
        self.flatten(&Tensor::run_backward(&[loss], &inputs, false, false))
    }

    /// Gradients of all weights, in their order, as one vector `[P]`; zeros where one is undefined.
    pub fn flatten(&self, gradients: &[Tensor]) -> Tensor {
        self.layout.flatten(gradients)
    }

    /// Moves the weights against `gradient`, a vector `[P]`, in place.
    pub fn step(&mut self, weights: &[(String, Tensor)], gradient: &Tensor, learning_rate: f64) {
        self.layout.check(weights);
        no_grad(|| {
            let mut step = self.rule.step(gradient, learning_rate);
            if self.weight_decay > 0.0 {
                let flat: Vec<Tensor> = weights.iter().map(|(_, x)| x.reshape([-1])).collect();
                step += Tensor::cat(&flat, 0) * (learning_rate * self.weight_decay);
            }
            if let Some(rates) = &self.rates {
                step = step.g_mul_(rates);
            }
            let parts = step.split_with_sizes(&self.layout.lengths, 0);
            for ((_, weight), part) in weights.iter().zip(parts) {
                let _ = weight.shallow_clone().g_sub_(&part.view_as(weight));
            }
        });
    }

    /// Everything it remembers, by names that join a moment to a weight: `square.policy.bias`.
    pub fn state(&self) -> StateDict {
        let mut state: Vec<_> = self
            .rule
            .moments()
            .into_iter()
            .flat_map(|(moment, vector)| self.layout.parts(moment, vector))
            .map(|(name, part)| (name, part.copy()))
            .collect();
        if let Rule::Adam { steps, .. } = self.rule {
            state.push(("steps".into(), Tensor::from_slice(&[steps])));
        }
        state
    }

    /// Remembers what [`state`](Self::state) said, from wherever it was stored. Untouched if
    /// that does not fit.
    pub fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        let mut copies = Vec::new();
        for (moment, vector) in self.rule.moments() {
            for (name, part) in self.layout.parts(moment, vector) {
                copies.push((find(state, &name, &part.size())?, part));
            }
        }
        if let Rule::Adam { steps, .. } = &mut self.rule {
            *steps = find(state, "steps", &[1])?.int64_value(&[0]);
        }
        for (stored, mut part) in copies {
            part.copy_(stored);
        }
        Ok(())
    }
}

impl Rule {
    /// Step to subtract from the weights.
    fn step(&mut self, gradient: &Tensor, learning_rate: f64) -> Tensor {
        match self {
            Rule::Rmsprop { alpha, epsilon, momentum, square, velocity } => {
                let _ = square.lerp_(&gradient.square(), 1.0 - *alpha);
                let mut step = gradient / (square.sqrt() + *epsilon);
                if let Some(velocity) = velocity {
                    let _ = velocity.g_mul_scalar_(*momentum).g_add_(&step);
                    step = velocity.copy();
                }
                step.g_mul_scalar_(learning_rate)
            }
            Rule::Adam { beta1, beta2, epsilon, mean, square, steps } => {
                *steps += 1;
                // Kingma & Ba 2014, algorithm 1: both means start at zero, and are scaled up for it.
                let unbias = |beta: f64| 1.0 - beta.powf(*steps as f64);
                let _ = mean.lerp_(gradient, 1.0 - *beta1);
                let _ = square.lerp_(&gradient.square(), 1.0 - *beta2);
                let root = (square.sqrt() / unbias(*beta2).sqrt()) + *epsilon;
                (&*mean / root).g_mul_scalar_(learning_rate / unbias(*beta1))
            }
        }
    }

    fn moments(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Rule::Rmsprop { square, velocity, .. } => std::iter::once(("square", square))
                .chain(velocity.iter().map(|velocity| ("velocity", velocity)))
                .collect(),
            Rule::Adam { mean, square, .. } => vec![("mean", mean), ("square", square)],
        }
    }
}

impl WeightLayout {
    fn of(weights: &[(String, Tensor)]) -> Self {
        let (_, first) = weights.first().expect("a policy has weights");
        let (kind, device) = (first.kind(), first.device());
        for (name, weight) in weights {
            assert_eq!(weight.kind(), kind, "the kind of {name}");
            assert_eq!(weight.device(), device, "the device of {name}");
        }
        WeightLayout {
            names: weights.iter().map(|(name, _)| name.clone()).collect(),
            shapes: weights.iter().map(|(_, weight)| weight.size()).collect(),
            lengths: weights.iter().map(|(_, w)| w.numel() as i64).collect(),
            kind,
            device,
        }
    }

    /// The weights are those that the optimizer was made for, in their order.
    fn check(&self, weights: &[(String, Tensor)]) {
        assert_eq!(weights.len(), self.names.len(), "the number of weights");
        for (name, (found, _)) in self.names.iter().zip(weights) {
            assert_eq!(name, found, "the order of weights");
        }
    }

    fn zeros(&self) -> Tensor {
        Tensor::zeros([self.lengths.iter().sum::<i64>()], (self.kind, self.device))
    }

    fn flatten(&self, gradients: &[Tensor]) -> Tensor {
        let options = (self.kind, self.device);
        let parts: Vec<Tensor> = gradients
            .iter()
            .zip(&self.lengths)
            .map(|(gradient, &length)| match gradient.defined() {
                true => gradient.reshape([length]),
                false => Tensor::zeros([length], options),
            })
            .collect();
        Tensor::cat(&parts, 0)
    }

    /// Views of a vector `[P]`, each with its weight's shape.
    fn parts(&self, moment: &str, vector: &Tensor) -> Vec<(String, Tensor)> {
        let parts = vector.split_with_sizes(&self.lengths, 0);
        let named = self.names.iter().zip(&self.shapes).zip(parts);
        named
            .map(|((name, shape), part)| (format!("{moment}.{name}"), part.view(shape.as_slice())))
            .collect()
    }
}
