//! Linear recurrences whose gates see the inputs only: what GILR, minGRU and minLSTM share.
//!
//! ```text
//! v_t = g( V x_t + b_v )                          g: `candidate`
//! h_t = f_t ⊙ h_{t-1} + (1 − f_t) ⊙ v_t
//! ```
//!
//! Of one gate, f = σ( F x + b_f ). Of two, forget and input gates f' and i' that are made to add up
//! to one,
//!
//! ```text
//! f = f' / (f' + i') = σ( log f' − log i' )       f' = σ( F x + b_f ),  i' = σ( I x + b_i )
//! ```
//!
//! The recurrence is linear and `scan` computes it. A reset makes h_{t−1} zero and leaves f_t alone.
//!
//! For RTRL (see `rtrl`), `rtrl::gated_backward` has the derivatives by the arguments of v and of
//! f, h being c there, and v z. Two gates have theirs by the chain rule: by the argument of f' it is
//! that of f's, times 1 − f', and by that of i', times −(1 − i').

use tch::{Tensor, no_grad};

use super::candidate::Candidate;
use super::feed_forward::FeedForward;
use super::rtrl::{self, Gradient, gated_backward::GatedUnroll};
use super::scan::scan;
use super::{Memory, Sensitivities, SensitivityUpdate, StateGradient};
use crate::initialization::Initialization;
use crate::mlp::Linear;
use crate::parameters::Parameters;
use crate::resets::Resets;
use crate::state::CoreState;

/// Gates that keep and write a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gates {
    /// f, and 1 − f.
    One,
    /// f' and i', as shares of their sum.
    Two,
}

impl Gates {
    /// Linear maps of the inputs: v's and the gates'.
    pub(super) fn maps(self) -> i64 {
        match self {
            Gates::One => 2,
            Gates::Two => 3,
        }
    }

    /// These maps from D inputs to N cells, started as a linear layer is.
    pub(super) fn map(self, [inputs, hidden]: [i64; 2], name: &str, p: &mut Parameters) -> Linear {
        let (name, rows) = (format!("{name}.recurrence"), self.maps() * hidden);
        Linear::new(p, &name, inputs, rows, Initialization::FAN_IN)
    }
}

/// The recurrence alone, from x to h. The GILR-LSTM has one, too.
pub(super) struct Recurrence {
    hidden: i64,
    candidate: Candidate,
    gates: Gates,
    /// V above F, and I below them where there are two gates: `[M N, D]`; b_v, b_f, b_i: `[M N]`.
    map: Linear,
}

/// All `[.., N]`.
struct Moments {
    v: Tensor,
    f: Tensor,
    /// Arguments of f' and of i', where there are two gates.
    two: Option<[Tensor; 2]>,
}

impl Recurrence {
    /// The recurrence of `map`. `forget_bias` is added to the forget gate's bias, and taken from the
    /// input gate's where there is one: of gates that are otherwise half open, f is then
    /// σ(`forget_bias`) either way. A forget gate alone could not bring it above ⅔.
    pub(super) fn new(map: Linear, candidate: Candidate, gates: Gates, forget_bias: f64) -> Self {
        let hidden = map.bias.size()[0] / gates.maps();
        assert_eq!(map.bias.size(), [gates.maps() * hidden], "a map each of v and the gates");
        no_grad(|| {
            let _ = map.bias.narrow(0, hidden, hidden).g_add_scalar_(forget_bias);
            if gates == Gates::Two {
                let _ = map.bias.narrow(0, 2 * hidden, hidden).g_sub_scalar_(forget_bias);
            }
        });
        Recurrence { hidden, candidate, gates, map }
    }

    /// x `[.., D]`.
    fn moments(&self, x: &Tensor) -> Moments {
        let mut arguments = self.map.forward(x).split(self.hidden, -1).into_iter();
        let mut next = || arguments.next().expect("a map each of v and the gates");
        let (v, forget) = (self.candidate.of(&next()), next());
        match self.gates {
            Gates::One => Moments { v, f: forget.sigmoid(), two: None },
            Gates::Two => {
                let write = next();
                let f = (forget.log_sigmoid() - write.log_sigmoid()).sigmoid();
                Moments { v, f, two: Some([forget, write]) }
            }
        }
    }

    /// x `[B, D]` and h_{t-1} `[B, N]` to h_t.
    pub(super) fn step(&self, x: &Tensor, h: &Tensor) -> Tensor {
        let Moments { v, f, .. } = self.moments(x);
        v.lerp_tensor(h, &f)
    }

    /// x `[T, B, D]` and h_0 `[B, N]` to all h_t, `[T, B, N]`.
    pub(super) fn unroll(&self, x: &Tensor, h: &Tensor, resets: &Resets) -> Tensor {
        Self::scan(&self.moments(x), h, resets)
    }

    fn scan(Moments { v, f, .. }: &Moments, h: &Tensor, resets: &Resets) -> Tensor {
        scan(&(f * resets.kept(h.kind(), h.device())), &(v - f * v), h)
    }

    /// Effect of the first T frames `[T, B, D]` of those whose moments and h are given on
    /// sensitivities.
    fn sensitivity_update(
        &self,
        x: &Tensor,
        moments: &Moments,
        h_0: &Tensor,
        h: &Tensor,
        resets: &Resets,
    ) -> SensitivityUpdate {
        let time = x.size()[0];
        let each = |all: &Tensor| all.narrow(0, 0, time).unbind(0);
        let backward = GatedUnroll {
            start: h_0,
            candidate: self.candidate,
            z: &each(&moments.v),
            f: &each(&moments.f),
            c: &each(h),
            recurrent_weight: None,
            resets,
        }
        .backward();
        let effects = match &moments.two {
            None => backward.effects,
            Some(two) => {
                let [v, f] = backward.effects.split(self.hidden, -1).try_into().expect("v and f");
                // 1 − σ(a) is σ(−a).
                let [by_forget, by_write] =
                    two.each_ref().map(|a| a.narrow(0, 0, time).neg().sigmoid_());
                Tensor::cat(&[&v, &(&f * by_forget), &(-f * by_write)], -1)
            }
        };
        let kept = backward.all_factors.repeat([1, self.gates.maps()]);
        SensitivityUpdate::of_products(kept, effects, rtrl::with_one(x))
    }
}

/// Output layer behind a recurrence: a linear layer or none, and a feed-forward layer or none.
pub(super) struct OutputLayer {
    linear: Option<Linear>,
    feed_forward: Option<FeedForward>,
}

impl OutputLayer {
    pub(super) fn new(
        linear: Option<Linear>,
        hidden: i64,
        feed_forward: bool,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        let feed_forward = feed_forward
            .then(|| FeedForward::new(hidden, 1e-5, &format!("{name}.feed_forward"), p));
        OutputLayer { linear, feed_forward }
    }

    /// `[.., N]` to `[.., N]`.
    pub(super) fn forward(&self, h: &Tensor) -> Tensor {
        let y = self.linear.as_ref().map_or_else(|| h.shallow_clone(), |linear| linear.forward(h));
        match &self.feed_forward {
            Some(feed_forward) => feed_forward.forward(&y),
            None => y,
        }
    }
}

/// One layer: a recurrence and what is behind it.
pub(super) struct InputGated {
    pub(super) recurrence: Recurrence,
    pub(super) output: OutputLayer,
    pub(super) gradient: Gradient,
}

impl InputGated {
    fn zeros(&self, shape: &[i64]) -> Tensor {
        let bias = &self.recurrence.map.bias;
        Tensor::zeros(shape, (bias.kind(), bias.device()))
    }
}

impl Memory for InputGated {
    fn outputs(&self) -> i64 {
        self.recurrence.hidden
    }

    fn exports_state(&self) -> bool {
        true
    }

    /// h, `[B, N]`.
    fn initial_state(&self, batch: i64) -> CoreState {
        CoreState::new(batch, vec![self.zeros(&[batch, self.recurrence.hidden])])
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

    /// To all maps with their biases, `[B, D + 1, M N]`.
    fn initial_sensitivities(&self, batch: i64) -> Sensitivities {
        if self.gradient == Gradient::Tbptt {
            return Sensitivities::none();
        }
        let (rows, inputs) = self.recurrence.map.weight.size2().expect("the maps are a matrix");
        Sensitivities::new(vec![self.zeros(&[batch, inputs + 1, rows])])
    }

    fn unroll_streams(
        &self,
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
    ) -> (Tensor, CoreState, Vec<SensitivityUpdate>) {
        let (time, h_0) = (x.size()[0] - 1, &state.tensors()[0]);
        let moments = self.recurrence.moments(x);
        let h = Recurrence::scan(&moments, h_0, resets);
        let updates = match self.gradient {
            Gradient::Rtrl => {
                let x = x.narrow(0, 0, time);
                let update = || self.recurrence.sensitivity_update(&x, &moments, h_0, &h, resets);
                vec![no_grad(update)]
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
        let Recurrence { gates, map, .. } = &self.recurrence;
        let errors = errors.map(|errors| errors.tensors()[0].repeat([1, gates.maps()]));
        let owed = no_grad(|| update.apply(&sensitivities.tensors()[0], errors.as_ref()))?;
        Some(rtrl::with_gradient(&rtrl::columns(&map.weight, &map.bias), &owed))
    }
}
