//! The gated impulse linear recurrence (GILR; Martin & Cundy 2018, section 3.2,
//! <https://arxiv.org/abs/1709.04057>):
//!
//! ```text
//! v_t = tanh( V x_t + b_v )
//! f_t = σ( F x_t + b_f )
//! h_t = f_t ⊙ h_{t-1} + (1 − f_t) ⊙ v_t
//! y_t = O h_t + b_o
//! ```
//!
//! then, if asked for, the residual feed-forward layer. The gates see the inputs only, so that
//! the recurrence is linear and `scan` computes it. V, F and O start as Glorot & Bengio 2010 have
//! it, and the biases at zero, the forget gate's at `forget_bias`.
//!
//! A reset makes h_{t−1} zero and leaves f_t alone, so that it is what an episode begins with
//! anyway. (RESeL, <https://arxiv.org/abs/2405.15384>, makes f_t zero instead: there
//! `h_t = v_t` at a reset.)
//!
//! For RTRL (see `rtrl`), `rtrl::gated_backward` has the derivatives, h being c there, and v z.

use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use super::feed_forward::FeedForward;
use super::rtrl::{self, Gradient, gated_backward::GatedUnroll};
use super::scan::scan;
use super::{
    BuiltMemory, LayerConfig, Memory, MemoryConfig, Sensitivities, SensitivityUpdate, StateGradient,
};
use crate::error::PolicyError;
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, forget_bias_in_range, in_range};
use crate::resets::Resets;
use crate::state::CoreState;

/// The gated impulse linear recurrence of Martin & Cundy 2018.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GilrConfig {
    /// Cells.
    pub hidden: i64,
    /// Added to the bias of the forget gate at the start; larger remembers longer.
    pub forget_bias: f64,
    /// True if a residual feed-forward layer follows.
    pub feed_forward: bool,
    /// Method by which its gradient is found.
    pub gradient: Gradient,
}

impl LayerConfig for GilrConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        forget_bias_in_range(self.forget_bias)
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(Gilr::new(self, inputs, name, p)))
    }

    fn gradient(&self) -> Gradient {
        self.gradient
    }

    fn with_gradient(&self, gradient: Gradient) -> Option<MemoryConfig> {
        Some(MemoryConfig::Gilr(GilrConfig { gradient, ..self.clone() }))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let gilr = |feed_forward, gradient| {
            let forget_bias = 0.5;
            MemoryConfig::Gilr(GilrConfig { hidden: width, forget_bias, feed_forward, gradient })
        };
        vec![gilr(false, Gradient::Tbptt), gilr(true, Gradient::Rtrl)]
    }
}

/// The recurrence alone, from x to h. The GILR-LSTM has one, too.
pub(super) struct Recurrence {
    hidden: i64,
    /// V above F: `[2 N, D]`.
    weight: Tensor,
    /// b_v, then b_f: `[2 N]`.
    bias: Tensor,
}

/// v and f, each `[.., N]`.
struct GilrGates {
    v: Tensor,
    f: Tensor,
}

impl Recurrence {
    pub(super) fn new(
        inputs: i64,
        hidden: i64,
        forget_bias: f64,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        let weight = p.glorot(format!("{name}.weight"), &[2 * hidden, inputs], inputs + hidden);
        let bias = p.constant(format!("{name}.bias"), &[2 * hidden], 0.0);
        no_grad(|| {
            let _ = bias.narrow(0, hidden, hidden).g_add_scalar_(forget_bias);
        });
        Recurrence { hidden, weight, bias }
    }

    /// x `[.., D]`.
    fn gates(&self, x: &Tensor) -> GilrGates {
        let arguments = x.linear(&self.weight, Some(&self.bias));
        let [v, f] = arguments.split(self.hidden, -1).try_into().expect("v and f");
        GilrGates { v: v.tanh(), f: f.sigmoid() }
    }

    /// x `[B, D]` and h_{t-1} `[B, N]` to h_t.
    pub(super) fn step(&self, x: &Tensor, h: &Tensor) -> Tensor {
        let GilrGates { v, f } = self.gates(x);
        v.lerp_tensor(h, &f)
    }

    /// x `[T, B, D]` and h_0 `[B, N]` to all h_t, `[T, B, N]`.
    pub(super) fn unroll(&self, x: &Tensor, h: &Tensor, resets: &Resets) -> Tensor {
        Self::scan(&self.gates(x), h, &resets.kept(h.kind(), h.device()))
    }

    fn scan(GilrGates { v, f }: &GilrGates, h: &Tensor, kept: &Tensor) -> Tensor {
        scan(&(f * kept), &(v - f * v), h)
    }

    /// Effect of the first T frames `[T, B, D]` of those whose gates and h are given on
    /// sensitivities.
    fn sensitivity_update(
        x: &Tensor,
        gates: &GilrGates,
        h_0: &Tensor,
        h: &Tensor,
        resets: &Resets,
    ) -> SensitivityUpdate {
        let moments = |all: &Tensor| all.narrow(0, 0, x.size()[0]).unbind(0);
        let backward = GatedUnroll {
            start: h_0,
            z: &moments(&gates.v),
            f: &moments(&gates.f),
            c: &moments(h),
            recurrent_weight: None,
            resets,
        }
        .backward();
        let kept = backward.all_factors.repeat([1, 2]);
        SensitivityUpdate::of_products(kept, backward.effects, rtrl::with_one(x))
    }
}

/// One GILR layer.
pub(crate) struct Gilr {
    inputs: i64,
    hidden: i64,
    gradient: Gradient,
    recurrence: Recurrence,
    output: OutputLayer,
}

/// Output layer behind the recurrences: O and b_o, and perhaps the feed-forward layer.
pub(super) struct OutputLayer {
    weight: Tensor,
    bias: Tensor,
    feed_forward: Option<FeedForward>,
}

impl OutputLayer {
    pub(super) fn new(hidden: i64, feed_forward: bool, name: &str, p: &mut Parameters) -> Self {
        let weight = p.glorot(format!("{name}.output.weight"), &[hidden, hidden], 2 * hidden);
        let bias = p.constant(format!("{name}.output.bias"), &[hidden], 0.0);
        let feed_forward = feed_forward
            .then(|| FeedForward::new(hidden, 1e-5, &format!("{name}.feed_forward"), p));
        OutputLayer { weight, bias, feed_forward }
    }

    /// `[.., N]` to `[.., N]`.
    pub(super) fn forward(&self, h: &Tensor) -> Tensor {
        let y = h.linear(&self.weight, Some(&self.bias));
        match &self.feed_forward {
            Some(feed_forward) => feed_forward.forward(&y),
            None => y,
        }
    }
}

impl Gilr {
    fn new(config: &GilrConfig, inputs: i64, name: &str, p: &mut Parameters) -> Self {
        let &GilrConfig { hidden, forget_bias, feed_forward, gradient } = config;
        let recurrence =
            Recurrence::new(inputs, hidden, forget_bias, &format!("{name}.recurrence"), p);
        let output = OutputLayer::new(hidden, feed_forward, name, p);
        Gilr { inputs, hidden, gradient, recurrence, output }
    }

    fn zeros(&self, shape: &[i64]) -> Tensor {
        let bias = &self.recurrence.bias;
        Tensor::zeros(shape, (bias.kind(), bias.device()))
    }
}

impl Memory for Gilr {
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
        let h = self.recurrence.step(x, &state.tensors()[0]);
        (self.output.forward(&h), CoreState::new(state.batch(), vec![h]))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let h = self.recurrence.unroll(x, &state.tensors()[0], resets);
        let last = h.get(-1);
        (self.output.forward(&h), CoreState::new(state.batch(), vec![last]))
    }

    /// To V and F with their biases, `[B, D + 1, 2 N]`.
    fn initial_sensitivities(&self, batch: i64) -> Sensitivities {
        let tensors = match self.gradient {
            Gradient::Tbptt => vec![],
            Gradient::Rtrl => vec![self.zeros(&[batch, self.inputs + 1, 2 * self.hidden])],
        };
        Sensitivities::new(tensors)
    }

    fn unroll_streams(
        &self,
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
    ) -> (Tensor, CoreState, Vec<SensitivityUpdate>) {
        let (time, h_0) = (x.size()[0] - 1, &state.tensors()[0]);
        let gates = self.recurrence.gates(x);
        let h = Recurrence::scan(&gates, h_0, &resets.kept(h_0.kind(), h_0.device()));
        let updates = match self.gradient {
            Gradient::Rtrl => {
                let x = x.narrow(0, 0, time);
                vec![no_grad(|| Recurrence::sensitivity_update(&x, &gates, h_0, &h, resets))]
            }
            Gradient::Tbptt => vec![],
        };
        let state = CoreState::new(state.batch(), vec![h.get(time - 1)]);
        (self.output.forward(&h), state, updates)
    }

    fn update_sensitivities(
        &self,
        sensitivities: &Sensitivities,
        updates: Vec<SensitivityUpdate>,
        errors: Option<&StateGradient>,
    ) -> Option<Tensor> {
        let Ok([update]) = <[SensitivityUpdate; 1]>::try_from(updates) else {
            return None;
        };
        let errors = errors.map(|errors| errors.tensors()[0].repeat([1, 2]));
        let owed = no_grad(|| update.apply(&sensitivities.tensors()[0], errors.as_ref()))?;
        let weights = rtrl::columns(&self.recurrence.weight, &self.recurrence.bias);
        Some(rtrl::with_gradient(&weights, &owed))
    }
}
