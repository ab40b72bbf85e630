//! The linear recurrent unit (LRU; Orvieto et al. 2023, <https://arxiv.org/abs/2303.06349>), N
//! complex cells that each turn and shrink at a rate of their own:
//!
//! ```text
//! λ   = exp( −exp ν + i exp θ )
//! u_t = γ ⊙ ( W x_t + b )                 W, b complex, γ = exp γ_log
//! s_t = λ ⊙ s_{t-1} + u_t
//! y_t = C₁ Re s_t + C₂ Im s_t + D x_t + d
//! ```
//!
//! then, if asked for, the residual feed-forward layer. λ starts on the ring between two radii:
//! its square uniform in area, `exp θ` uniform in (0, 2π], and `γ = √(1 − |λ|²)`, which keeps the
//! cells' size. Matrices start as Glorot & Bengio 2010 have it, biases at zero. C₂ stands for the
//! paper's `−Im C`, which starts alike, and d for all biases that are added to y.
//!
//! For RTRL (see `rtrl`) a cell's sensitivities are few. Both rows of γ W see the same features,
//! and turn alike, and λ sees the cell itself:
//!
//! ```text
//! E_t = λ ⊙ E_{t-1} + [x_t ; 1]           ∂s/∂ Re(γ W) = E,  ∂s/∂ Im(γ W) = i E
//! L_t = λ ⊙ L_{t-1} + s_{t-1}             ∂s/∂λ = L
//! ```
//!
//! ν, θ, γ, W and b get what is theirs from there by the chain rule. λ is the same at all
//! moments, so that the suffix products at the unroll's end are its powers, or zero before a reset.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, no_grad};

use super::feed_forward::FeedForward;
use super::rtrl::{self, Gradient};
use super::scan::scan;
use super::{
    BuiltMemory, LayerConfig, Memory, MemoryConfig, Sensitivities, SensitivityUpdate, StateGradient,
};
use crate::error::PolicyError;
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, in_range};
use crate::resets::Resets;
use crate::state::CoreState;

/// The linear recurrent unit of Orvieto et al. 2023.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LruConfig {
    /// Complex cells.
    pub hidden: i64,
    /// The cells' eigenvalues start between these radii, `[smallest, largest]`.
    pub radius: [f64; 2],
    /// True if a residual feed-forward layer follows.
    pub feed_forward: bool,
    /// Method by which its gradient is found.
    pub gradient: Gradient,
}

impl LayerConfig for LruConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        radius_in_range(self.radius)
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(Lru::new(self, inputs, name, p)))
    }

    fn gradient(&self) -> Gradient {
        self.gradient
    }

    fn with_gradient(&self, gradient: Gradient) -> Option<MemoryConfig> {
        Some(MemoryConfig::Lru(LruConfig { gradient, ..self.clone() }))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let lru = |feed_forward, gradient| {
            let radius = [0.5, 0.9];
            MemoryConfig::Lru(LruConfig { hidden: width, radius, feed_forward, gradient })
        };
        vec![lru(false, Gradient::Tbptt), lru(true, Gradient::Rtrl)]
    }
}

fn radius_in_range(radius: [f64; 2]) -> Result<(), PolicyError> {
    let [smallest, largest] = radius;
    if 0.0 <= smallest && smallest < largest && largest < 1.0 {
        return Ok(());
    }
    let expected = "[smallest, largest] with 0 <= smallest < largest < 1".into();
    Err(PolicyError::Config { key: "memory.radius", found: format!("{radius:?}"), expected })
}

/// One LRU layer.
pub(crate) struct Lru {
    inputs: i64,
    hidden: i64,
    gradient: Gradient,
    /// ν, θ and γ_log, each `[N]`.
    decay: Tensor,
    turn: Tensor,
    scale: Tensor,
    /// W: `[2 N, D]`, each cell's real row above its imaginary one.
    input_weight: Tensor,
    /// b: `[2 N]`, likewise.
    input_bias: Tensor,
    /// C: `[N, 2 N]`, each cell's column of C₁ left of that of C₂.
    output_weight: Tensor,
    /// D, `[N, D]`, and d, `[N]`.
    skip_weight: Tensor,
    skip_bias: Tensor,
    feed_forward: Option<FeedForward>,
}

impl Lru {
    fn new(config: &LruConfig, inputs: i64, name: &str, p: &mut Parameters) -> Self {
        let &LruConfig { hidden, radius, feed_forward, gradient } = config;
        let [least, most] = radius.map(|radius| radius * radius);
        let part = |part: &str| format!("{name}.{part}");
        let decay = p.mapped(part("decay"), &[hidden], |u| {
            ((u * (most - least) + least).log() * -0.5).log()
        });
        let turn = p.mapped(part("turn"), &[hidden], |u| (u * TAU).log());
        let lost = -(decay.detach().to_kind(Kind::Double).exp() * -2.0).expm1();
        let scale = p.add(part("scale"), &(lost.log() * 0.5));
        Lru {
            inputs,
            hidden,
            gradient,
            decay,
            turn,
            scale,
            input_weight: p.glorot(part("input.weight"), &[2 * hidden, inputs], inputs + hidden),
            input_bias: p.constant(part("input.bias"), &[2 * hidden], 0.0),
            output_weight: p.glorot(part("output.weight"), &[hidden, 2 * hidden], 2 * hidden),
            skip_weight: p.glorot(part("skip.weight"), &[hidden, inputs], inputs + hidden),
            skip_bias: p.constant(part("skip.bias"), &[hidden], 0.0),
            feed_forward: feed_forward
                .then(|| FeedForward::new(hidden, 1e-5, &part("feed_forward"), p)),
        }
    }

    /// λ, complex `[N]`.
    fn rate(&self) -> Tensor {
        Tensor::polar(&(-self.decay.exp()).exp(), &self.turn.exp())
    }

    /// γ W, `[2 N, D]`, and γ b, `[2 N]`.
    fn scaled_input(&self) -> (Tensor, Tensor) {
        let scale = self.scale.exp().unsqueeze(1).repeat([1, 2]).flatten(0, 1);
        (&self.input_weight * scale.unsqueeze(1), &self.input_bias * scale)
    }

    /// x `[.., D]` to u, complex `[.., N]`.
    fn input(x: &Tensor, (weight, bias): &(Tensor, Tensor)) -> Tensor {
        complex(&x.linear(weight, Some(bias)))
    }

    /// x `[.., D]` and s, complex `[.., N]`, to y `[.., N]`.
    fn output(&self, x: &Tensor, s: &Tensor) -> Tensor {
        let y = x.linear(&self.skip_weight, Some(&self.skip_bias))
            + real(s).linear::<Tensor>(&self.output_weight, None);
        match &self.feed_forward {
            Some(feed_forward) => feed_forward.forward(&y),
            None => y,
        }
    }

    /// s, complex `[B, N]`.
    fn cells(parts: &[Tensor]) -> Tensor {
        let [re, im] = parts else { panic!("an LRU's state is two tensors") };
        Tensor::complex(re, im)
    }

    fn state(s: &Tensor) -> CoreState {
        CoreState::new(s.size()[0], vec![s.real().contiguous(), s.imag().contiguous()])
    }

    fn zeros(&self, shape: &[i64]) -> Tensor {
        Tensor::zeros(shape, (self.decay.kind(), self.decay.device()))
    }

    /// Effect of the first T frames `[T, B, D]` of those whose s are given on sensitivities.
    fn sensitivity_updates(
        x: &Tensor,
        rate: &Tensor,
        s_0: &Tensor,
        s: &Tensor,
        kept: &Tensor,
    ) -> Vec<SensitivityUpdate> {
        let time = x.size()[0];
        let kept = kept.narrow(0, 0, time);
        let (powers, whole_power) = rtrl::suffix_products(&rate.unsqueeze(0).repeat([time, 1]));
        let (reaches, whole_reach) = rtrl::suffix_products(&kept);
        let later = powers.unsqueeze(1) * reaches; // [T, B, N]
        let all = whole_power * whole_reach;
        let earlier = Tensor::cat(&[&s_0.unsqueeze(0), &s.narrow(0, 0, time - 1)], 0) * kept;
        let through_cells = (&later * earlier).sum_dim_intlist(0, false, None);
        // Features are real: their product with complex effects is one with twice as many rows.
        let to_input =
            SensitivityUpdate::of_products(all.shallow_clone(), real(&later), rtrl::with_one(x));
        vec![to_input, SensitivityUpdate::of_sum(all, real(&through_cells).unsqueeze(1))]
    }

    /// A scalar whose gradient is that by γ W above γ b, `[D + 1, 2 N]`, and by λ, complex `[N]`.
    fn with_gradients(&self, by_input: &Tensor, by_rate: &Tensor) -> Tensor {
        // Through γ, of which both rows of a cell have the same.
        let columns = rtrl::columns(&self.input_weight, &self.input_bias) * by_input;
        let cells = columns.sum_dim_intlist(0, false, None).view([-1, 2]);
        let input = cells.sum_dim_intlist(1, false, None).dot(&self.scale.exp());
        // Through ν and θ: dλ = λ ⊙ ( −exp ν ⊙ dν + i exp θ ⊙ dθ ).
        let [by_decay, by_turn] = no_grad(|| {
            let turned = self.rate() * by_rate.conj();
            [self.decay.exp() * -turned.real(), self.turn.exp() * -turned.imag()]
        });
        input + self.decay.dot(&by_decay) + self.turn.dot(&by_turn)
    }
}

impl Memory for Lru {
    fn outputs(&self) -> i64 {
        self.hidden
    }

    fn exports_state(&self) -> bool {
        true
    }

    /// The real and the imaginary parts of s, each `[B, N]`.
    fn initial_state(&self, batch: i64) -> CoreState {
        let zeros = || self.zeros(&[batch, self.hidden]);
        CoreState::new(batch, vec![zeros(), zeros()])
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let s = Self::cells(state.begin(resets, 0).tensors());
        let s = Self::input(x, &self.scaled_input()).addcmul(&self.rate(), &s);
        (self.output(x, &s), Self::state(&s))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let kept = resets.kept(x.kind(), x.device());
        let u = Self::input(x, &self.scaled_input());
        let s = scan(&(self.rate() * kept), &u, &Self::cells(state.tensors()));
        (self.output(x, &s), Self::state(&s.get(-1)))
    }

    /// E, `[B, D + 1, 2 N]`, and L, `[B, 2 N]`, real and imaginary parts in turn.
    fn initial_sensitivities(&self, batch: i64) -> Sensitivities {
        if self.gradient == Gradient::Tbptt {
            return Sensitivities::none();
        }
        let to_input = self.zeros(&[batch, self.inputs + 1, 2 * self.hidden]);
        Sensitivities::new(vec![to_input, self.zeros(&[batch, 2 * self.hidden])])
    }

    fn unroll_streams(
        &self,
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
    ) -> (Tensor, CoreState, Vec<SensitivityUpdate>) {
        let (time, kept) = (x.size()[0] - 1, resets.kept(x.kind(), x.device()));
        let (rate, weights, s_0) = (self.rate(), self.scaled_input(), Self::cells(state.tensors()));
        let s = scan(&(&rate * &kept), &Self::input(x, &weights), &s_0);
        let updates = match self.gradient {
            Gradient::Rtrl => {
                no_grad(|| Self::sensitivity_updates(&x.narrow(0, 0, time), &rate, &s_0, &s, &kept))
            }
            Gradient::Tbptt => vec![],
        };
        (self.output(x, &s), Self::state(&s.get(time - 1)), updates)
    }

    fn update_sensitivities(
        &self,
        sensitivities: &Sensitivities,
        updates: Vec<SensitivityUpdate>,
        errors: Option<&StateGradient>,
    ) -> Option<Tensor> {
        let Ok([input, rate]) = <[SensitivityUpdate; 2]>::try_from(updates) else {
            return None;
        };
        let [to_input, to_rate] = sensitivities.tensors() else {
            panic!("an LRU's sensitivities are two tensors")
        };
        let (by_input, by_rate) = no_grad(|| {
            let errors = errors.map(|errors| Self::cells(errors.tensors()));
            let by_input = input.apply(to_input, errors.as_ref());
            (by_input, rate.apply(&to_rate.unsqueeze(1), errors.as_ref()))
        });
        Some(self.with_gradients(&real(&by_input?), &by_rate?.squeeze_dim(0)))
    }
}

/// `[.., 2 N]`, real and imaginary parts in turn, to complex `[.., N]`.
fn complex(parts: &Tensor) -> Tensor {
    parts.unflatten(-1, [-1, 2]).contiguous().view_as_complex()
}

/// Complex `[.., N]` to `[.., 2 N]`.
fn real(numbers: &Tensor) -> Tensor {
    numbers.view_as_real().flatten(-2, -1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radii_must_be_in_order() {
        let (feed_forward, gradient) = (true, Gradient::Rtrl);
        let check = |radius| LruConfig { hidden: 4, radius, feed_forward, gradient }.validate();
        assert!(check([0.9, 0.999]).is_ok());
        assert!(check([0.9, 1.0]).unwrap_err().to_string().contains("memory.radius"));
    }
}
