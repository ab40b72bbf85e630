//! Random shifts of images before they are learned from: Kostrikov et al. 2020 (DrQ),
//! <https://arxiv.org/abs/2004.13649>, and the random crops of Yarats et al. 2021.
//!
//! An image moves by up to `pixels` up or down and to the left or right; its edge is repeated where
//! it leaves a gap. That is a crop, at random, of an image padded by as much. All frames of a
//! sequence move alike, so that a memory sees no motion that was not there; of single decisions
//! each frame moves by itself, as in DrQ.

use engram_mdp::{EnvSpec, Generator, Seed};
use rand::RngExt;
use tch::{Device, Kind, Tensor};

use crate::config::{OffPolicyConfig, OutOfRange, require};

/// Shifts of images at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomShift {
    /// Pixels, at most and in each direction.
    pixels: u32,
    /// True if all frames of a sequence move alike.
    per_sequence: bool,
}

impl RandomShift {
    /// Shift that `config` asks for, if it does. Refused where there are no images.
    pub fn of(config: &OffPolicyConfig, spec: &EnvSpec) -> Result<Option<Self>, OutOfRange> {
        let pixels = config.random_shift;
        let range = "left out where the environment shows no images [channels, height, width]";
        let has_images = spec.observation.shape.len() == 3;
        require(pixels == 0 || has_images, "random_shift", pixels, range)?;
        let per_sequence = !config.replay.has_no_past();
        Ok((pixels > 0).then_some(RandomShift { pixels, per_sequence }))
    }

    /// Images `[T, B, C, H, W]`, each where `seed` puts it.
    pub(super) fn apply(self, images: &Tensor, seed: Seed) -> Tensor {
        let &[time, batch, channels, height, width] = images.size().as_slice() else {
            panic!("images [T, B, C, H, W], which was checked")
        };
        let (most, mut generator) = (i64::from(self.pixels), seed.generator());
        let mut along = |side| {
            let rows = if self.per_sequence { 1 } else { time };
            let shifts = draw(rows * batch, most, &mut generator).view([rows, batch, 1]);
            let places = Tensor::arange(side, (Kind::Int64, Device::Cpu));
            (places + shifts).clamp(0, side - 1).expand([time, batch, side], false)
        };
        let (down, right) = (along(height), along(width));
        let down = down.reshape([time, batch, 1, height, 1]).to_device(images.device());
        let right = right.reshape([time, batch, 1, 1, width]).to_device(images.device());
        let shape = [time, batch, channels, height, width];
        let moved = images.gather(3, &down.expand(shape, false), false);
        moved.gather(4, &right.expand(shape, false), false)
    }
}

/// Whole numbers from `-most` to `most`.
fn draw(count: i64, most: i64, generator: &mut Generator) -> Tensor {
    let drawn: Vec<i64> = (0..count).map(|_| generator.random_range(-most..=most)).collect();
    Tensor::from_slice(&drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images whose numbers say row and column, and their shifts, found again from the middle.
    fn shifted(per_sequence: bool) -> (Tensor, Vec<(i64, i64)>) {
        let (time, batch, side) = (3, 4, 9);
        let places = Tensor::arange(side, (Kind::Int64, Device::Cpu));
        let image = places.view([side, 1]) * 10 + places.view([1, side]);
        let images = image.to_kind(Kind::Uint8).expand([time, batch, 2, side, side], false);
        let found = RandomShift { pixels: 2, per_sequence }.apply(&images, Seed::new(7));
        let of = |t: i64, b: i64| {
            let middle = found.int64_value(&[t, b, 0, 4, 4]);
            (middle / 10 - 4, middle % 10 - 4)
        };
        let shifts = (0..time).flat_map(|t| (0..batch).map(move |b| (t, b))).map(|(t, b)| of(t, b));
        let shifts = shifts.collect();
        (found, shifts)
    }

    #[test]
    fn an_image_moves_whole_and_its_edge_is_repeated() {
        let (found, shifts) = shifted(false);
        for (number, (down, right)) in shifts.iter().enumerate() {
            let (t, b) = (number as i64 / 4, number as i64 % 4);
            for channel in 0..2 {
                for row in 0..9 {
                    for column in 0..9 {
                        let from = |place: i64, shift: &i64| (place + shift).clamp(0, 8);
                        let expected = from(row, down) * 10 + from(column, right);
                        let at = [t, b, channel, row, column];
                        assert_eq!(found.int64_value(&at), expected, "{at:?}");
                    }
                }
            }
        }
        assert!(shifts.iter().any(|shift| *shift != shifts[0]), "{shifts:?}");
        assert!(shifts.iter().all(|(down, right)| down.abs() <= 2 && right.abs() <= 2));
    }

    #[test]
    fn frames_of_a_sequence_move_alike() {
        let (_, shifts) = shifted(true);
        assert_eq!(shifts[..4], shifts[4..8]);
        assert_eq!(shifts[..4], shifts[8..]);
        assert!(shifts[..4].iter().any(|shift| *shift != shifts[0]), "{shifts:?}");
    }
}
