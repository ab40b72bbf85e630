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
//! For RTRL (see `rtrl`), what a moment does to c_t through the arguments of z and f, and through
//! c_{t−1}, is
//!
//! ```text
//! e_z = (1 − f) ⊙ (1 − z²)     e_f = (c_{t-1} − z) ⊙ f ⊙ (1 − f)     a = f + e_z ⊙ w_z + e_f ⊙ w_f
//! ```

use tch::{Tensor, no_grad};

use super::{Memory, rtrl};
use crate::config::Gradient;
use crate::mlp::Linear;
use crate::parameters::Parameters;
use crate::resets::Resets;
use crate::state::CoreState;

const INITIAL_STD: f64 = 0.1;

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

impl Elstm {
    pub(crate) fn new(
        inputs: i64,
        hidden: i64,
        gradient: Gradient,
        forget_bias: f64,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        let mut normal =
            |part: &str, shape: &[i64]| p.normal(format!("{name}.{part}"), shape, 0.0, INITIAL_STD);
        let input_weight = normal("input_weight", &[2 * hidden, inputs]);
        let recurrent_weight = normal("recurrent_weight", &[2, hidden]);
        let bias = normal("bias", &[2 * hidden]);
        no_grad(|| {
            let _ = bias.narrow(0, hidden, hidden).g_add_scalar_(forget_bias);
        });
        let output_gate = Linear::new(p, &format!("{name}.output_gate"), inputs + hidden, hidden);
        Elstm { inputs, hidden, gradient, input_weight, recurrent_weight, bias, output_gate }
    }

    /// `[.., D]` to the inputs' part of z's and f's arguments, each `[.., N]`.
    fn arguments(&self, x: &Tensor) -> [Tensor; 2] {
        let both = x.linear(&self.input_weight, Some(&self.bias));
        both.split(self.hidden, -1).try_into().expect("z and f")
    }

    /// c_t from the inputs' parts, c_{t-1} and the recurrent weights, each broadcast to `[B, N]`.
    fn advance(z: &Tensor, f: &Tensor, c: &Tensor, w_z: &Tensor, w_f: &Tensor) -> Tensor {
        let z = z.addcmul(w_z, c).tanh_();
        let f = f.addcmul(w_f, c).sigmoid_();
        z.lerp_tensor(c, &f)
    }

    /// x `[.., D]` and c `[.., N]` to h `[.., N]`.
    fn output(&self, x: &Tensor, c: &Tensor) -> Tensor {
        self.output_gate.forward(&Tensor::cat(&[x, c], -1)).sigmoid_() * c
    }

    /// All c_t, `[T, B, N]`, from the arguments `[T, B, N]` and c_0 `[B, N]`.
    fn cells(&self, arguments: &[Tensor; 2], c: &Tensor, resets: &Resets) -> Tensor {
        let [z, f] = arguments.each_ref().map(|argument| argument.unbind(0));
        // Expanded once, so that the gradient of w is summed over the batch once and not T times.
        let w = self.recurrent_weight.unsqueeze(1).expand([2, c.size()[0], self.hidden], false);
        let (w_z, w_f) = (w.get(0), w.get(1));
        let kept = resets.kept(c.kind(), c.device()).unbind(0);
        let mut c = c.shallow_clone();
        let mut cells = Vec::with_capacity(z.len());
        for t in 0..z.len() {
            if resets.any_at(t) {
                // Not in place: the cells before it are an output.
                c = c.g_mul(&kept[t]);
            }
            c = Self::advance(&z[t], &f[t], &c, &w_z, &w_f);
            cells.push(c.shallow_clone());
        }
        Tensor::stack(&cells, 0)
    }

    fn zeros(&self, shape: &[i64]) -> Tensor {
        Tensor::zeros(shape, (self.bias.kind(), self.bias.device()))
    }

    /// `[2 N, D + 1]`: Z and F, each row with its bias behind it.
    fn input_weight_and_bias(&self) -> Tensor {
        Tensor::cat(&[&self.input_weight, &self.bias.unsqueeze(1)], 1)
    }

    /// c_0 `[B, N]`, whose gradient reaches the weights that made it.
    fn sensitive(&self, c: &Tensor, sensitivities: &CoreState) -> Tensor {
        let [to_inputs, to_recurrence] = pair(sensitivities);
        let by_inputs = rtrl::correction(to_inputs, &self.input_weight_and_bias());
        let by_recurrence = rtrl::correction_of_vector(to_recurrence, &self.recurrent_weight);
        let by_both = by_inputs.reshape_as(&by_recurrence) + &by_recurrence; // [B, 2, N]
        c + by_both.sum_dim_intlist(1, false, None)
    }

    /// The sensitivities after frames whose arguments and cells are given.
    fn sensitivities_after(
        &self,
        before: &CoreState,
        x: &Tensor,
        arguments: &[Tensor; 2],
        c_0: &Tensor,
        cells: &Tensor,
        resets: &Resets,
    ) -> CoreState {
        let time = cells.size()[0];
        let kept = resets.kept(cells.kind(), cells.device());
        let earlier = Tensor::cat(&[&c_0.unsqueeze(0), &cells.narrow(0, 0, time - 1)], 0) * &kept;
        let (w_z, w_f) = (self.recurrent_weight.get(0), self.recurrent_weight.get(1));
        let z = arguments[0].addcmul(&w_z, &earlier).tanh_();
        let f = arguments[1].addcmul(&w_f, &earlier).sigmoid_();
        let shut = 1.0 - &f;
        let e_z = &shut * (1.0 - z.square());
        let e_f = (&earlier - z) * &f * shut;
        let factors = (f + &e_z * w_z + &e_f * w_f) * kept;
        let (later, all) = rtrl::suffix_products(&factors);
        let effects = Tensor::stack(&[e_z * &later, e_f * later], 2); // [T, B, 2, N]
        let [to_inputs, to_recurrence] = pair(before);
        let flat = effects.flatten(2, 3);
        let to_inputs = rtrl::advance(to_inputs, &all.repeat([1, 2]), &flat, &rtrl::with_one(x));
        let through_cells = (effects * earlier.unsqueeze(2)).sum_dim_intlist(0, false, None);
        let to_recurrence = to_recurrence * all.unsqueeze(1) + through_cells;
        CoreState::new(before.batch(), vec![to_inputs, to_recurrence])
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
        let c = Self::advance(&z, &f, &state.tensors()[0], &w.get(0), &w.get(1));
        (self.output(x, &c), CoreState::new(state.batch(), vec![c]))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let cells = self.cells(&self.arguments(x), &state.tensors()[0], resets);
        let last = cells.get(-1);
        (self.output(x, &cells), CoreState::new(state.batch(), vec![last]))
    }

    /// To Z and F with their biases, `[B, 2 N, D + 1]`, and to w, `[B, 2, N]`.
    fn initial_sensitivities(&self, batch: i64) -> CoreState {
        if self.gradient == Gradient::Tbptt {
            return CoreState::new(batch, vec![]);
        }
        let to_inputs = self.zeros(&[batch, 2 * self.hidden, self.inputs + 1]);
        CoreState::new(batch, vec![to_inputs, self.zeros(&[batch, 2, self.hidden])])
    }

    fn unroll_in_real_time(
        &self,
        x: &Tensor,
        state: &CoreState,
        sensitivities: &CoreState,
        resets: &Resets,
    ) -> (Tensor, CoreState, CoreState) {
        if self.gradient == Gradient::Tbptt {
            let (y, state) = self.unroll(x, state, resets);
            return (y, state, sensitivities.shallow_clone());
        }
        let (arguments, c_0) = (self.arguments(x), &state.tensors()[0]);
        let cells = self.cells(&arguments, &self.sensitive(c_0, sensitivities), resets);
        let after =
            no_grad(|| self.sensitivities_after(sensitivities, x, &arguments, c_0, &cells, resets));
        let last = cells.get(-1);
        (self.output(x, &cells), CoreState::new(state.batch(), vec![last]), after)
    }
}

fn pair(sensitivities: &CoreState) -> [&Tensor; 2] {
    let [to_inputs, to_recurrence] = sensitivities.tensors() else {
        panic!("an eLSTM's sensitivities are two tensors")
    };
    [to_inputs, to_recurrence]
}
