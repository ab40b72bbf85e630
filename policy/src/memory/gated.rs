//! Layers of gated cells over libtorch's own kernels: what the LSTM and the GRU share.
//!
//! Parameters have PyTorch's names and shapes, and start as `init` says (`fan_in` is PyTorch's
//! default, which is also TorchBeast's); one of the
//! biases of the gate that keeps the state then starts around `forget_bias`, since gates that start
//! half shut forget within a few steps, and gradients with them (Jozefowicz et al. 2015,
//! <https://proceedings.mlr.press/v37/jozefowicz15.html>).
//!
//! Unrolling runs a kernel over the sequences of `Resets::spread`. Clear and hold steps, whose
//! input is zeros, act through more input columns whose weights are ±`SHUT`: they open or shut
//! gates. Open and shut are exact to the last bit of a float, and gradients through them vanish.

use std::marker::PhantomData;

use tch::{Device, Kind, Tensor};

use super::Memory;
use crate::bf16::computes_in_bf16;
use crate::initialization::Initialization;
use crate::parameters::Parameters;
use crate::resets::{Resets, SpreadSequences};
use crate::state::{Batched, CoreState};

/// A gate's input that no learned weight outweighs, and whose sigmoid is 0 (or 1) in any float.
pub(super) const SHUT: f64 = 1e4;

/// One kind of cell with G gates; the second one keeps the state.
pub(super) trait GatedCell: Send {
    /// Inputs that a clear step and a hold step add to each of the G gates.
    const CONTROL: &'static [[f64; 2]];

    /// True if clear and hold steps must take the inputs' bias away.
    const BIAS_IS_HIDDEN: bool;

    /// Tensors of a layer's state, of which the first is its output.
    const STATES: usize;

    /// One step: `[B, D]` and the state to the next state.
    fn step(weights: &GatedWeights, x: &Tensor, before: &[Tensor]) -> Vec<Tensor>;

    /// `[T, B, D]` and the state to outputs `[T, B, H]` and the last state.
    fn sequence(weights: &GatedWeights, x: &Tensor, before: &[Tensor]) -> (Tensor, Vec<Tensor>);
}

/// Weights of one layer.
pub(super) struct GatedWeights {
    /// `[G H, D]`.
    pub(super) weight_ih: Tensor,
    /// `[G H, H]`.
    pub(super) weight_hh: Tensor,
    /// `[G H]`.
    pub(super) bias_ih: Tensor,
    /// `[G H]`.
    pub(super) bias_hh: Tensor,
}

impl GatedWeights {
    /// The same, in another type.
    fn to_kind(&self, kind: Kind) -> GatedWeights {
        GatedWeights {
            weight_ih: self.weight_ih.to_kind(kind),
            weight_hh: self.weight_hh.to_kind(kind),
            bias_ih: self.bias_ih.to_kind(kind),
            bias_hh: self.bias_hh.to_kind(kind),
        }
    }

    /// Weights for a kernel over sequences. cuDNN wants them in one piece of memory, in this order;
    /// it copies them into one at every call otherwise, with a warning.
    pub(super) fn for_sequences(&self) -> [Tensor; 4] {
        let weights = [&self.weight_ih, &self.weight_hh, &self.bias_ih, &self.bias_hh];
        if self.weight_ih.device() == Device::Cpu {
            return weights.map(Tensor::shallow_clone);
        }
        let lengths = weights.map(|weight| weight.numel() as i64);
        let whole = Tensor::cat(&weights.map(|weight| weight.reshape([-1])), 0);
        let mut parts = whole.split_with_sizes(lengths, 0).into_iter();
        weights.map(|weight| parts.next().expect("a part for each weight").view_as(weight))
    }
}

/// The state of one layer, `[B, H]`, for a kernel over sequences: `[1, B, H]` in one piece, which
/// cuDNN insists on.
pub(super) fn for_sequences(state: &Tensor) -> Tensor {
    state.unsqueeze(0).contiguous()
}

/// Layers of cells of one kind, one on another.
pub(super) struct Gated<C> {
    layers: Vec<GatedWeights>,
    hidden: i64,
    /// `[G H, 2]`: what clear and hold steps do to the gates.
    control: Tensor,
    /// Type that unrolls compute in, if it is another one than that of the weights.
    unrolls_in: Option<Kind>,
    cell: PhantomData<C>,
}

impl<C: GatedCell> Gated<C> {
    pub(super) fn new(
        [inputs, hidden, layers]: [i64; 3],
        forget_bias: f64,
        init: Initialization,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        let gates = C::CONTROL.len() as i64;
        let layer = |l| {
            let inputs = if l == 0 { inputs } else { hidden };
            let (part, height) = (|part: &str| format!("{name}.{part}_l{l}"), gates * hidden);
            let weights = GatedWeights {
                weight_ih: p.weight(part("weight_ih"), &[height, inputs], init, hidden),
                weight_hh: p.weight(part("weight_hh"), &[height, hidden], init, hidden),
                bias_ih: p.bias(part("bias_ih"), height, init, hidden),
                bias_hh: p.bias(part("bias_hh"), height, init, hidden),
            };
            tch::no_grad(|| {
                let _ = weights.bias_ih.narrow(0, hidden, hidden).g_add_scalar_(forget_bias);
            });
            weights
        };
        let layers: Vec<GatedWeights> = (0..layers).map(layer).collect();
        let control = Tensor::from_slice(&C::CONTROL.concat()).view([gates, 1, 2]);
        let control = control.expand([gates, hidden, 2], false).reshape([gates * hidden, 2]);
        let like = &layers[0].weight_ih;
        let control = control.to_kind(like.kind()).to_device(like.device());
        Gated { layers, hidden, control, unrolls_in: None, cell: PhantomData }
    }

    /// From here on unrolls of single precision compute in bfloat16, where the device has it. Weights,
    /// states and outputs stay what they are.
    pub(super) fn unroll_in_bf16(&mut self) {
        let (kind, device) = (self.control.kind(), self.control.device());
        self.unrolls_in =
            (kind == Kind::Float && computes_in_bf16(device)).then_some(Kind::BFloat16);
    }

    /// Weights of a layer whose inputs have the columns of [`Self::columns`] behind them.
    fn controlled(
        &self,
        GatedWeights { weight_ih, weight_hh, bias_ih, bias_hh }: &GatedWeights,
    ) -> GatedWeights {
        let control = self.control.to_kind(weight_ih.kind());
        let (weight_ih, bias_ih) = if C::BIAS_IS_HIDDEN {
            let columns = [weight_ih, &bias_ih.unsqueeze(1), &control];
            (Tensor::cat(&columns, 1), bias_ih.detach().zeros_like())
        } else {
            (Tensor::cat(&[weight_ih, &control], 1), bias_ih.shallow_clone())
        };
        let (weight_hh, bias_hh) = (weight_hh.shallow_clone(), bias_hh.shallow_clone());
        GatedWeights { weight_ih, weight_hh, bias_ih, bias_hh }
    }

    /// Columns of the control, and before them, if it brings the bias, one of ones at steps that
    /// are neither clear nor hold.
    fn columns(control: &Tensor) -> Tensor {
        if !C::BIAS_IS_HIDDEN {
            return control.shallow_clone();
        }
        let open = 1.0 - control.sum_dim_intlist(2, true, None);
        Tensor::cat(&[&open, control], 2)
    }

    /// `[T, B, D]` to `[T, B, H]` and the last state, from a state that no reset changes any more.
    fn unroll_begun(
        &self,
        layers: &[GatedWeights],
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
    ) -> (Tensor, CoreState) {
        if let Some(spread) = resets.spread(x.kind(), x.device()) {
            return self.unroll_spread(layers, x, state, &spread);
        }
        let mut y = x.shallow_clone();
        let mut after = Vec::with_capacity(state.tensors().len());
        for (weights, before) in layers.iter().zip(state.tensors().chunks_exact(C::STATES)) {
            let last;
            (y, last) = C::sequence(weights, &y, before);
            after.extend(last);
        }
        (y, CoreState::new(state.batch(), after))
    }

    fn unroll_spread(
        &self,
        layers: &[GatedWeights],
        x: &Tensor,
        state: &CoreState,
        spread: &SpreadSequences,
    ) -> (Tensor, CoreState) {
        let (batch, inputs) = (state.batch(), x.size()[2]);
        let rows = Tensor::zeros([spread.time * batch, inputs], (x.kind(), x.device()));
        let rows = rows.index_copy(0, &spread.place, &x.reshape([-1, inputs]));
        let mut y = rows.view([spread.time, batch, inputs]);
        let columns = Self::columns(&spread.control);
        let mut after = Vec::with_capacity(state.tensors().len());
        for (weights, before) in layers.iter().zip(state.tensors().chunks_exact(C::STATES)) {
            let x = Tensor::cat(&[&y, &columns], 2);
            let (outputs, mut last) = C::sequence(&self.controlled(weights), &x, before);
            // Hold steps shut the output: it is fetched from each environment's own last step.
            last[0] = outputs.reshape([-1, self.hidden]).index_select(0, &spread.last);
            after.extend(last);
            y = outputs;
        }
        let y = y.reshape([-1, self.hidden]).index_select(0, &spread.place);
        (y.view([-1, batch, self.hidden]), CoreState::new(batch, after))
    }
}

impl<C: GatedCell> Memory for Gated<C> {
    fn outputs(&self) -> i64 {
        self.hidden
    }

    fn exports_state(&self) -> bool {
        true
    }

    /// The state of every layer, tensors `[B, H]`.
    fn initial_state(&self, batch: i64) -> CoreState {
        let like = (self.control.kind(), self.control.device());
        let zeros = |_| Tensor::zeros([batch, self.hidden], like);
        CoreState::new(batch, (0..C::STATES * self.layers.len()).map(zeros).collect())
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        let mut y = x.shallow_clone();
        let mut after = Vec::with_capacity(state.tensors().len());
        for (weights, before) in self.layers.iter().zip(state.tensors().chunks_exact(C::STATES)) {
            let next = C::step(weights, &y, before);
            y = next[0].shallow_clone();
            after.extend(next);
        }
        (y, CoreState::new(state.batch(), after))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        let Some(kind) = self.unrolls_in else {
            return self.unroll_begun(&self.layers, x, &state, resets);
        };
        let layers: Vec<GatedWeights> =
            self.layers.iter().map(|layer| layer.to_kind(kind)).collect();
        let of_kind = |state: &CoreState, kind| state.map(state.batch(), |part| part.to_kind(kind));
        let (y, after) =
            self.unroll_begun(&layers, &x.to_kind(kind), &of_kind(&state, kind), resets);
        (y.to_kind(x.kind()), of_kind(&after, x.kind()))
    }
}
