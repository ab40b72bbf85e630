//! The LSTM with elementwise recurrence (eLSTM; Irie, Gopalakrishnan & Schmidhuber 2023, section
//! 3.1, <https://arxiv.org/abs/2305.19044>):
//!
//! ```text
//! z_t = tanh( Z x_t + w_z ⊙ c_{t-1} + b_z )
//! f_t = σ( F x_t + w_f ⊙ c_{t-1} + b_f )
//! c_t = f_t ⊙ c_{t-1} + (1 − f_t) ⊙ z_t
//! h_t = σ( O [x_t ; c_t] + b_o ) ⊙ c_t
//! ```
//!
//! Only c is carried, and each of its cells sees no cell but itself: all matrix products stand
//! outside of the loop over time. Z, F, w and b start normal with standard deviation 0.1, the
//! forget gate's bias around `forget_bias`; O and its bias start as a linear layer does, as in
//! the authors' program.
//!
//! For RTRL (see `rtrl`), `rtrl::gated_backward` has the derivatives.

use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use super::candidate::Candidate;
use super::rtrl::{self, Gradient, gated_backward::GatedUnroll};
use super::{
    BuiltMemory, LayerConfig, Memory, MemoryConfig, Sensitivities, SensitivityUpdate, StateGradient,
};
use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::mlp::Linear;
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, forget_bias_in_range, in_range};
use crate::resets::Resets;
use crate::state::CoreState;

const INITIAL_STD: f64 = 0.1;

/// The LSTM with elementwise recurrence of Irie et al. 2023.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElstmConfig {
    /// Cells.
    pub hidden: i64,
    /// Method by which its gradient is found.
    pub gradient: Gradient,
    /// Added to the bias of the forget gate at the start; larger remembers longer.
    pub forget_bias: f64,
}

impl LayerConfig for ElstmConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        forget_bias_in_range(self.forget_bias)
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(Elstm::new(self, inputs, name, p)))
    }

    fn gradient(&self) -> Gradient {
        self.gradient
    }

    fn with_gradient(&self, gradient: Gradient) -> Option<MemoryConfig> {
        Some(MemoryConfig::Elstm(ElstmConfig { gradient, ..self.clone() }))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let gradient = Gradient::Tbptt;
        vec![MemoryConfig::Elstm(ElstmConfig { hidden: width, gradient, forget_bias: 0.5 })]
    }
}

/// One eLSTM layer.
pub(crate) struct Elstm {
    inputs: i64,
    hidden: i64,
    gradient: Gradient,
    /// Z above F: `[2 N, D]`.
    input_weight: Tensor,
    /// w_z and w_f: `[2, N]`.
    recurrent_weight: Tensor,
    /// b_z, then b_f: `[2 N]`.
    bias: Tensor,
    /// O, `[N, D + N]`, and b_o.
    output_gate: Linear,
}

/// T moments, each `[B, N]`.
#[derive(Default)]
struct Walk {
    z: Vec<Tensor>,
    f: Vec<Tensor>,
    c: Vec<Tensor>,
}

impl Walk {
    /// `[T, B, N]`.
    fn cells(&self) -> Tensor {
        Tensor::stack(&self.c, 0)
    }
}

impl Elstm {
    fn new(config: &ElstmConfig, inputs: i64, name: &str, p: &mut Parameters) -> Self {
        let &ElstmConfig { hidden, gradient, forget_bias } = config;
        let mut normal =
            |part: &str, shape: &[i64]| p.normal(format!("{name}.{part}"), shape, 0.0, INITIAL_STD);
        let input_weight = normal("input_weight", &[2 * hidden, inputs]);
        let recurrent_weight = normal("recurrent_weight", &[2, hidden]);
        let bias = normal("bias", &[2 * hidden]);
        no_grad(|| {
            let _ = bias.narrow(0, hidden, hidden).g_add_scalar_(forget_bias);
        });
        let output_gate = Linear::new(
            p,
            &format!("{name}.output_gate"),
            inputs + hidden,
            hidden,
            Initialization::FAN_IN,
        );
        Elstm { inputs, hidden, gradient, input_weight, recurrent_weight, bias, output_gate }
    }

    /// `[.., D]` to the inputs' part of z's and f's arguments, each `[.., N]`.
    fn arguments(&self, x: &Tensor) -> [Tensor; 2] {
        let both = x.linear(&self.input_weight, Some(&self.bias));
        both.split(self.hidden, -1).try_into().expect("z and f")
    }

    /// z_t and f_t from the inputs' parts, c_{t-1} and the recurrent weights, each broadcast to
    /// `[B, N]`.
    fn gates(z: &Tensor, f: &Tensor, c: &Tensor, w_z: &Tensor, w_f: &Tensor) -> (Tensor, Tensor) {
        (z.addcmul(w_z, c).tanh_(), f.addcmul(w_f, c).sigmoid_())
    }

    /// x `[B, D]` and c `[B, N]` to h `[B, N]`.
    fn output(&self, x: &Tensor, c: &Tensor) -> Tensor {
        self.output_gate.forward(&Tensor::cat(&[x, c], -1)).sigmoid_() * c
    }

    /// Output of many moments, `[T, B, ..]`, without a copy of x and c side by side; and where
    /// nothing below x learns, without a gradient of x.
    fn outputs_of(&self, x: &Tensor, c: &Tensor) -> Tensor {
        let weight = &self.output_gate.weight;
        let (of_x, of_c) =
            (weight.narrow(1, 0, self.inputs), weight.narrow(1, self.inputs, self.hidden));
        let from_x = x.linear(&of_x, Some(&self.output_gate.bias)).flatten(0, 1);
        let gate = from_x.addmm(&c.flatten(0, 1), &of_c.tr()).sigmoid_();
        gate.view_as(c) * c
    }

    /// Cells c_t and their parts, from the arguments `[T, B, N]` and c_0 `[B, N]`.
    fn walk(&self, arguments: &[Tensor; 2], c: &Tensor, resets: &Resets) -> Walk {
        let [z, f] = arguments.each_ref().map(|argument| argument.unbind(0));
        // Expanded once, so that the gradient of w is summed over the batch once and not T times.
        let w = self.recurrent_weight.unsqueeze(1).expand([2, c.size()[0], self.hidden], false);
        let (w_z, w_f) = (w.get(0), w.get(1));
        let kept = resets.kept(c.kind(), c.device()).unbind(0);
        let mut c = c.shallow_clone();
        let mut walk = Walk::default();
        for t in 0..z.len() {
            if resets.any_at(t) {
                // Not in place: the cells before it are an output.
                c = c.g_mul(&kept[t]);
            }
            let (z, f) = Self::gates(&z[t], &f[t], &c, &w_z, &w_f);
            c = z.lerp_tensor(&c, &f);
            walk.z.push(z);
            walk.f.push(f);
            walk.c.push(c.shallow_clone());
        }
        walk
    }

    fn zeros(&self, shape: &[i64]) -> Tensor {
        Tensor::zeros(shape, (self.bias.kind(), self.bias.device()))
    }

    /// Effect of the first T frames `[T, B, D]` of a walk that began at c_0 `[B, N]` on
    /// sensitivities.
    fn sensitivity_updates(
        &self,
        x: &Tensor,
        c_0: &Tensor,
        walk: &Walk,
        resets: &Resets,
    ) -> Vec<SensitivityUpdate> {
        let time = x.size()[0] as usize;
        let backward = GatedUnroll {
            start: c_0,
            candidate: Candidate::Tanh,
            z: &walk.z[..time],
            f: &walk.f[..time],
            c: &walk.c[..time],
            recurrent_weight: Some(&self.recurrent_weight),
            resets,
        }
        .backward();
        let kept = backward.all_factors;
        let to_inputs = SensitivityUpdate::of_products(
            kept.repeat([1, 2]),
            backward.effects,
            rtrl::with_one(x),
        );
        vec![to_inputs, SensitivityUpdate::of_sum(kept, backward.through_cells)]
    }
}

impl Memory for Elstm {
    fn outputs(&self) -> i64 {
        self.hidden
    }

    fn exports_state(&self) -> bool {
        true
    }

    /// c, `[B, N]`.
    fn initial_state(&self, batch: i64) -> CoreState {
        CoreState::new(batch, vec![self.zeros(&[batch, self.hidden])])
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        let [z, f] = self.arguments(x);
        let w = &self.recurrent_weight;
        let c = &state.tensors()[0];
        let (z, f) = Self::gates(&z, &f, c, &w.get(0), &w.get(1));
        let c = z.lerp_tensor(c, &f);
        (self.output(x, &c), CoreState::new(state.batch(), vec![c]))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let cells = self.walk(&self.arguments(x), &state.tensors()[0], resets).cells();
        let last = cells.get(-1);
        (self.outputs_of(x, &cells), CoreState::new(state.batch(), vec![last]))
    }

    /// To Z and F with their biases, `[B, D + 1, 2 N]`, and to w, `[B, 2, N]`.
    fn initial_sensitivities(&self, batch: i64) -> Sensitivities {
        if self.gradient == Gradient::Tbptt {
            return Sensitivities::none();
        }
        let to_inputs = self.zeros(&[batch, self.inputs + 1, 2 * self.hidden]);
        Sensitivities::new(vec![to_inputs, self.zeros(&[batch, 2, self.hidden])])
    }

    fn unroll_streams(
        &self,
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
    ) -> (Tensor, CoreState, Vec<SensitivityUpdate>) {
        let (time, c_0) = (x.size()[0] - 1, &state.tensors()[0]);
        let walk = self.walk(&self.arguments(x), c_0, resets);
        let updates = match self.gradient {
            Gradient::Rtrl => {
                no_grad(|| self.sensitivity_updates(&x.narrow(0, 0, time), c_0, &walk, resets))
            }
            Gradient::Tbptt => vec![],
        };
        let cells = walk.cells();
        let last = cells.get(time - 1);
        (self.outputs_of(x, &cells), CoreState::new(state.batch(), vec![last]), updates)
    }

    fn update_sensitivities(
        &self,
        sensitivities: &Sensitivities,
        updates: Vec<SensitivityUpdate>,
        errors: Option<&StateGradient>,
    ) -> Option<Tensor> {
        let Ok([inputs, recurrence]) = <[SensitivityUpdate; 2]>::try_from(updates) else {
            return None;
        };
        let [to_inputs, to_recurrence] = sensitivities.tensors() else {
            panic!("an eLSTM's sensitivities are two tensors")
        };
        let errors = errors.map(|errors| &errors.tensors()[0]);
        let (by_inputs, by_recurrence) = no_grad(|| {
            let of_both = errors.map(|errors| errors.repeat([1, 2]));
            let by_inputs = inputs.apply(to_inputs, of_both.as_ref());
            (by_inputs, recurrence.apply(to_recurrence, errors))
        });
        let inputs = rtrl::columns(&self.input_weight, &self.bias);
        let recurrence = rtrl::with_gradient(&self.recurrent_weight, &by_recurrence?);
        Some(rtrl::with_gradient(&inputs, &by_inputs?) + recurrence)
    }
}
