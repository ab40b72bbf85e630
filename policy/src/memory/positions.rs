//! Sine positions: a frame's number n in its episode as W numbers, sin(n / 10⁴^(2i/W)) at dimension
//! 2i and its cosine at 2i + 1 (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>). They know
//! no longest episode.

use tch::{Device, Kind, Tensor};

/// The longest wave, in 2π frames.
const BASE: f64 = 1e4;

/// Waves of W positions.
pub(super) struct SinePositions {
    /// Radians per frame of each wave, 10⁴^(−2i/W): `[⌈W / 2⌉]`.
    frequencies: Tensor,
    width: i64,
}

impl SinePositions {
    pub(super) fn new(width: i64, (kind, device): (Kind, Device)) -> Self {
        let frequency = |i: i64| BASE.powf(-2.0 * i as f64 / width as f64);
        let frequencies = (0..(width + 1) / 2).map(frequency).collect::<Vec<_>>();
        let frequencies = Tensor::from_slice(&frequencies).to_kind(kind).to_device(device);
        SinePositions { frequencies, width }
    }

    /// Numbers `[T, B]` to positions `[T, B, W]`.
    pub(super) fn at(&self, numbers: &Tensor) -> Tensor {
        let angles = numbers.to_kind(self.frequencies.kind()).unsqueeze(-1) * &self.frequencies;
        let pairs = Tensor::stack(&[angles.sin(), angles.cos()], -1);
        pairs.flatten(-2, -1).narrow(-1, 0, self.width)
    }
}
