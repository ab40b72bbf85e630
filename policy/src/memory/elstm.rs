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

use tch::Tensor;

use super::Memory;
use crate::config::Gradient;
use crate::mlp::Linear;
use crate::parameters::Parameters;
use crate::resets::Resets;
use crate::state::CoreState;

const INITIAL_STD: f64 = 0.1;

/// One eLSTM layer.
pub(crate) struct Elstm {
    hidden: i64,
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
        p: &mut Parameters,
    ) -> Self {
        match gradient {
            // Autograd's own; another arm would need sensitivities beside the state.
            Gradient::Tbptt => {}
        }
        let mut normal =
            |name: &str, shape: &[i64]| p.normal(format!("memory.{name}"), shape, 0.0, INITIAL_STD);
        let input_weight = normal("input_weight", &[2 * hidden, inputs]);
        let recurrent_weight = normal("recurrent_weight", &[2, hidden]);
        let bias = normal("bias", &[2 * hidden]);
        tch::no_grad(|| {
            let _ = bias.narrow(0, hidden, hidden).g_add_scalar_(forget_bias);
        });
        let output_gate = Linear::new(p, "memory.output_gate", inputs + hidden, hidden);
        Elstm { hidden, input_weight, recurrent_weight, bias, output_gate }
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
        let like = (self.bias.kind(), self.bias.device());
        CoreState::new(batch, vec![Tensor::zeros([batch, self.hidden], like)])
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        let [z, f] = self.arguments(x);
        let w = &self.recurrent_weight;
        let c = Self::advance(&z, &f, &state.tensors()[0], &w.get(0), &w.get(1));
        (self.output(x, &c), CoreState::new(state.batch(), vec![c]))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let (_, batch, _) = x.size3().expect("the eLSTM's input has shape [T, B, D]");
        let [z, f] = self.arguments(x).map(|argument| argument.unbind(0));
        // Expanded once, so that the gradient of w is summed over the batch once and not T times.
        let w = self.recurrent_weight.unsqueeze(1).expand([2, batch, self.hidden], false);
        let (w_z, w_f) = (w.get(0), w.get(1));
        let kept = resets.kept(x.kind(), x.device()).unbind(0);
        let mut c = state.tensors()[0].shallow_clone();
        let mut cells = Vec::with_capacity(z.len());
        for t in 0..z.len() {
            if resets.any_at(t) {
                // Not in place: the cells before it are an output.
                c = c.g_mul(&kept[t]);
            }
            c = Self::advance(&z[t], &f[t], &c, &w_z, &w_f);
            cells.push(c.shallow_clone());
        }
        let y = self.output(x, &Tensor::stack(&cells, 0));
        (y, CoreState::new(batch, vec![c]))
    }
}
