//! The independently recurrent neural network (IndRNN; Li et al. 2018,
//! <https://arxiv.org/abs/1803.04831>):
//!
//! ```text
//! h_t = act( W x_t + u ⊙ h_{t-1} + b )
//! ```
//!
//! A cell multiplies what it remembers by one number, so that over T frames a gradient grows by
//! u^T at most. The paper keeps |u| within γ^(1/T). γ is 2 here, as in POPGym's (the authors' notes
//! name 2 and 10), T is `horizon`, and u is clipped after each update. It starts uniform in
//! (0, 2^(1/T)], so that some cells forget at once and some do not; the authors' and POPGym's
//! programs start it in (0, 1), which is nearly the same. W and b start as a linear layer does.
//!
//! For RTRL (see `rtrl`), with act' the activation's slope:
//!
//! ```text
//! a_t = act'_t ⊙ u     e_t = act'_t     ∂h_t/∂u at constant h_{t-1} = act'_t ⊙ h_{t-1}
//! ```

use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use super::rtrl::{self, Gradient};
use super::{
    BuiltMemory, LayerConfig, Memory, MemoryConfig, Sensitivities, SensitivityUpdate, StateGradient,
};
use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::mlp::{Activation, Linear};
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, in_range};
use crate::resets::Resets;
use crate::state::CoreState;

/// Growth of a gradient over the horizon, at most: γ.
const LARGEST_GROWTH: f64 = 2.0;

const LONGEST_HORIZON: i64 = 1_000_000;

/// The independently recurrent neural network of Li et al. 2018.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndrnnConfig {
    /// Cells.
    pub hidden: i64,
    /// Activation of the cells.
    pub activation: Activation,
    /// Frames over which a recurrent weight may at most double what is remembered.
    pub horizon: i64,
    /// Method by which its gradient is found.
    pub gradient: Gradient,
}

impl LayerConfig for IndrnnConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        in_range("memory.horizon", self.horizon, LONGEST_HORIZON)
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(Indrnn::new(self, inputs, name, p)))
    }

    fn gradient(&self) -> Gradient {
        self.gradient
    }

    fn with_gradient(&self, gradient: Gradient) -> Option<MemoryConfig> {
        Some(MemoryConfig::Indrnn(IndrnnConfig { gradient, ..self.clone() }))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let layer = |activation, gradient| {
            let (hidden, horizon) = (width, 20);
            MemoryConfig::Indrnn(IndrnnConfig { hidden, activation, horizon, gradient })
        };
        vec![
            layer(Activation::Relu, Gradient::Tbptt),
            layer(Activation::Tanh, Gradient::Rtrl),
            layer(Activation::Elu, Gradient::Rtrl),
        ]
    }
}

/// One IndRNN layer.
pub(crate) struct Indrnn {
    inputs: i64,
    hidden: i64,
    activation: Activation,
    /// |u| is at most this.
    bound: f64,
    gradient: Gradient,
    /// W, `[N, D]`, and b.
    input: Linear,
    /// u: `[N]`.
    recurrent_weight: Tensor,
}

impl Indrnn {
    fn new(config: &IndrnnConfig, inputs: i64, name: &str, p: &mut Parameters) -> Self {
        let &IndrnnConfig { hidden, activation, horizon, gradient } = config;
        let bound = LARGEST_GROWTH.powf(1.0 / horizon as f64);
        let input =
            Linear::new(p, &format!("{name}.input"), inputs, hidden, Initialization::FAN_IN);
        let recurrent_weight =
            p.mapped(format!("{name}.recurrent_weight"), &[hidden], |uniform| uniform * bound);
        Indrnn { inputs, hidden, activation, bound, gradient, input, recurrent_weight }
    }

    /// All h_t `[T, B, N]` from x `[T, B, D]` and h_0 `[B, N]`.
    fn walk(&self, x: &Tensor, h: &Tensor, resets: &Resets) -> Tensor {
        let arguments = self.input.forward(x).unbind(0);
        // Expanded once, so that the gradient of u is summed over the batch once and not T times.
        let u = self.recurrent_weight.expand(h.size(), false);
        let mut h = h.shallow_clone();
        let mut walk = Vec::with_capacity(arguments.len());
        for (t, argument) in arguments.iter().enumerate() {
            if resets.any_at(t) {
                // Not by a product: what was not finite would survive it.
                h = h.masked_fill(&resets.first_at(t, h.device()).unsqueeze(1), 0.0);
            }
            h = self.activation.of(argument.addcmul(&u, &h));
            walk.push(h.shallow_clone());
        }
        Tensor::stack(&walk, 0)
    }

    fn zeros(&self, shape: &[i64]) -> Tensor {
        Tensor::zeros(shape, (self.recurrent_weight.kind(), self.recurrent_weight.device()))
    }

    /// Effect of the first T frames `[T, B, D]` of those whose h are given on sensitivities.
    fn sensitivity_updates(
        &self,
        x: &Tensor,
        h_0: &Tensor,
        h: &Tensor,
        resets: &Resets,
    ) -> Vec<SensitivityUpdate> {
        let time = x.size()[0];
        let kept = resets.kept(x.kind(), x.device()).narrow(0, 0, time);
        let slopes = self.activation.slope(&h.narrow(0, 0, time));
        let (later, all) = rtrl::suffix_products(&(&slopes * &self.recurrent_weight * &kept));
        let effects = later * slopes;
        let earlier = Tensor::cat(&[&h_0.unsqueeze(0), &h.narrow(0, 0, time - 1)], 0) * kept;
        let through_cells = (&effects * earlier).sum_dim_intlist(0, false, None);
        let to_input =
            SensitivityUpdate::of_products(all.shallow_clone(), effects, rtrl::with_one(x));
        vec![to_input, SensitivityUpdate::of_sum(all, through_cells.unsqueeze(1))]
    }
}

impl Memory for Indrnn {
    fn outputs(&self) -> i64 {
        self.hidden
    }

    fn exports_state(&self) -> bool {
        true
    }

    /// h, `[B, N]`.
    fn initial_state(&self, batch: i64) -> CoreState {
        CoreState::new(batch, vec![self.zeros(&[batch, self.hidden])])
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        let argument = self.input.forward(x).addcmul(&self.recurrent_weight, &state.tensors()[0]);
        let h = self.activation.of(argument);
        (h.shallow_clone(), CoreState::new(state.batch(), vec![h]))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let h = self.walk(x, &state.tensors()[0], resets);
        let last = h.get(-1);
        (h, CoreState::new(state.batch(), vec![last]))
    }

    /// To W and b, `[B, D + 1, N]`, and to u, `[B, 1, N]`.
    fn initial_sensitivities(&self, batch: i64) -> Sensitivities {
        if self.gradient == Gradient::Tbptt {
            return Sensitivities::none();
        }
        let to_input = self.zeros(&[batch, self.inputs + 1, self.hidden]);
        Sensitivities::new(vec![to_input, self.zeros(&[batch, 1, self.hidden])])
    }

    fn unroll_streams(
        &self,
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
    ) -> (Tensor, CoreState, Vec<SensitivityUpdate>) {
        let (time, h_0) = (x.size()[0] - 1, &state.tensors()[0]);
        let h = self.walk(x, h_0, resets);
        let updates = match self.gradient {
            Gradient::Rtrl => {
                no_grad(|| self.sensitivity_updates(&x.narrow(0, 0, time), h_0, &h, resets))
            }
            Gradient::Tbptt => vec![],
        };
        let last = h.get(time - 1);
        (h, CoreState::new(state.batch(), vec![last]), updates)
    }

    fn update_sensitivities(
        &self,
        sensitivities: &Sensitivities,
        updates: Vec<SensitivityUpdate>,
        errors: Option<&StateGradient>,
    ) -> Option<Tensor> {
        let Ok([input, recurrence]) = <[SensitivityUpdate; 2]>::try_from(updates) else {
            return None;
        };
        let [to_input, to_recurrence] = sensitivities.tensors() else {
            panic!("an IndRNN's sensitivities are two tensors")
        };
        let errors = errors.map(|errors| &errors.tensors()[0]);
        let (by_input, by_recurrence) =
            no_grad(|| (input.apply(to_input, errors), recurrence.apply(to_recurrence, errors)));
        let weights = rtrl::columns(&self.input.weight, &self.input.bias);
        let recurrence = rtrl::with_gradient(&self.recurrent_weight.unsqueeze(0), &by_recurrence?);
        Some(rtrl::with_gradient(&weights, &by_input?) + recurrence)
    }

    fn constrain(&self) {
        no_grad(|| {
            let _ = self.recurrent_weight.shallow_clone().clamp_(-self.bound, self.bound);
        });
    }
}
