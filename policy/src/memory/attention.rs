//! Causal attention over the last M frames of an episode, in blocks, as `cgpt` and `gpt2` have it
//! (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>, with the norms before their layers):
//!
//! ```text
//! q, k, v = Q Norm(x_t), K Norm(x_t), V Norm(x_t)                    split into h heads
//! a_t     = Σ_s softmax_s( q_t·k_s / √(W/h) + bias(t − s) ) v_s      s = t − M + 1 .. t
//! x_t    += O a_t
//! x_t    += W₂ GELU( W₁ Norm(x_t) )                                  W₁ is 4 W wide
//! ```
//!
//! where s never reaches back before the episode's first frame. bias(d) is 0, or −m_h d with a
//! slope for each head (ALiBi; Press et al. 2021, <https://arxiv.org/abs/2108.12409>).
//!
//! The state: k and v of the last M − 1 frames in every block, oldest first, zero where the
//! episode has not that many; and how many frames it has. Frame number n of an episode, counted
//! from 0, sees `min(n, M − 1)` frames behind itself; that one rule is the whole mask, for frames
//! carried and frames unrolled alike. So acting and training are one function, and a step is an
//! unroll of one frame. The frames carried lie in order and not in a ring: a state is copied for
//! every step anyway, for its owner may keep it, and in order they are the keys as they stand.
//!
//! `window` attends; `block` is what stands around it; `dropout` draws its masks.

mod block;
mod dropout;
mod style;
mod window;

use tch::{Device, Kind, Tensor};

use self::block::{EPSILON, TransformerBlock};
pub(super) use self::dropout::{Dropout, DropoutSeeds};
pub(super) use self::style::{Pass, TransformerStyle};
use self::window::Window;
use crate::error::PolicyError;
use crate::normalize::Normalize;
use crate::parameters::Parameters;
use crate::range::{MAX_CONTEXT, MAX_WIDTH, in_range};
use crate::resets::Resets;
use crate::state::CoreState;

/// The sizes of a transformer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// W: the width of the residual stream.
    pub(crate) width: i64,
    /// Heads, which share the width.
    pub(crate) heads: i64,
    /// Blocks, one after another.
    pub(crate) blocks: i64,
    /// M: frames that attention sees, the present one included.
    pub(crate) context_length: i64,
}

impl Shape {
    /// Checks all sizes.
    pub(super) fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.width", self.width, MAX_WIDTH)?;
        heads_share(self.heads, self.width)?;
        in_range("memory.blocks", self.blocks, 64)?;
        in_range("memory.context_length", self.context_length, MAX_CONTEXT)
    }
}

/// As many heads as can share `width` evenly, of 3 and 2: for examples.
pub(super) fn example_heads(width: i64) -> i64 {
    if width % 3 == 0 { 3 } else { 2 }
}

fn heads_share(heads: i64, width: i64) -> Result<(), PolicyError> {
    in_range("memory.heads", heads, MAX_WIDTH)?;
    if width % heads == 0 {
        return Ok(());
    }
    let (found, expected) = (heads.to_string(), format!("a divisor of memory.width, {width}"));
    Err(PolicyError::Config { key: "memory.heads", found, expected })
}

/// Blocks and the norm after them.
pub(super) struct Transformer {
    shape: Shape,
    blocks: Vec<TransformerBlock>,
    norm: Normalize,
    /// m_h: `[h, 1, 1]`.
    slopes: Option<Tensor>,
}

impl Transformer {
    pub(super) fn new(
        shape: Shape,
        style: &TransformerStyle,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        let Shape { width, heads, blocks, .. } = shape;
        let blocks: Vec<TransformerBlock> = (0..blocks)
            .map(|i| TransformerBlock::new(width, heads, style, &format!("{name}.blocks.{i}"), p))
            .collect();
        let norm = Normalize::new(style.norm, width, EPSILON, &format!("{name}.norm"), p);
        let slopes = style.alibi.then(|| {
            let slope = |h: i64| 2f64.powf(-8.0 * h as f64 / heads as f64);
            let slopes: Vec<f64> = (1..=heads).map(slope).collect();
            let slopes = Tensor::from_slice(&slopes).view([heads, 1, 1]);
            let (kind, device) = norm.options();
            slopes.to_kind(kind).to_device(device)
        });
        Transformer { shape, blocks, norm, slopes }
    }

    /// Kind and device of its numbers.
    pub(super) fn options(&self) -> (Kind, Device) {
        self.norm.options()
    }

    /// Per block k and v of the last M − 1 frames, `[B, M - 1, W]`; then the number of frames, i64
    /// `[B]`.
    pub(super) fn initial_state(&self, batch: i64) -> CoreState {
        let (kind, device) = self.options();
        let frames = [batch, self.shape.context_length - 1, self.shape.width];
        let frames = |_| Tensor::zeros(frames, (kind, device));
        let mut tensors: Vec<Tensor> = (0..2 * self.blocks.len()).map(frames).collect();
        tensors.push(Tensor::zeros([batch], (Kind::Int64, device)));
        CoreState::new(batch, tensors)
    }

    /// x `[T, B, W]`, the state before it, and its frames' [`numbers`], `[T, B]`. Returns
    /// `[T, B, W]` and the state after it.
    pub(super) fn run(
        &self,
        x: &Tensor,
        state: &CoreState,
        numbers: &Tensor,
        resets: &Resets,
        pass: &mut Pass,
    ) -> (Tensor, CoreState) {
        let (time, batch, width) = x.size3().expect("a transformer runs on [T, B, W]");
        assert_eq!(width, self.shape.width, "x is as wide as the residual stream");
        assert_eq!(batch, state.batch(), "x and the state are of as many environments");
        assert_eq!(numbers.size(), [time, batch], "every frame has a number");
        let kind = pass.kind.unwrap_or(x.kind());
        let context = self.shape.context_length;
        let window = Window::new(context, numbers, resets, self.slopes.as_ref(), kind);
        let mut y = x.shallow_clone();
        let mut after = Vec::with_capacity(state.tensors().len());
        for (block, before) in self.blocks.iter().zip(state.tensors().chunks_exact(2)) {
            let (output, keys, values) = block.forward(&y, [&before[0], &before[1]], &window, pass);
            after.extend([keys, values]);
            y = output;
        }
        after.push(numbers.get(-1) + 1);
        (self.norm.forward(&y), CoreState::new(batch, after))
    }
}

/// i64 `[T, B]`: which frame of its episode each frame is, from 0, where `state` is the one before
/// them.
pub(super) fn numbers(state: &CoreState, resets: &Resets) -> Tensor {
    let before = state.tensors().last().expect("the state ends with the number of frames");
    assert_eq!(before.size(), [resets.batch() as i64], "resets and state of as many environments");
    let (batch, ages) = (resets.batch(), resets.ages());
    let shape = [resets.time() as i64, batch as i64];
    let on_device =
        |numbers: &[i64]| Tensor::from_slice(numbers).view(shape).to_device(before.device());
    let rows = ages.iter().enumerate();
    let since: Vec<i64> = rows.map(|(row, age)| age.unwrap_or((row / batch) as i64)).collect();
    let continued: Vec<i64> = ages.iter().map(|age| i64::from(age.is_none())).collect();
    match continued.contains(&1) {
        true => on_device(&since) + on_device(&continued) * before,
        false => on_device(&since),
    }
}
