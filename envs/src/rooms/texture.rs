//! Pictures on walls, floors and objects, with smaller copies of themselves for what is far away:
//! a texel is never smaller than a pixel, so that nothing flickers.
//!
//! A texel is `0xAARRGGBB`; alpha is 0 where one sees through, and 255 elsewhere.

use crate::canvas::{Color, mix};

/// Alpha of what is there.
const OPAQUE: u32 = 0xff00_0000;

/// A square picture whose side is a power of two.
pub(crate) struct Texture {
    /// The picture, and copies of it with half the side of the one before, down to one texel.
    /// Column after column, since walls and objects are drawn in columns.
    levels: Vec<Vec<u32>>,
}

/// One of a texture's copies.
#[derive(Clone, Copy)]
pub(crate) struct Level<'a> {
    texels: &'a [u32],
    /// Logarithm of the side.
    log: u32,
}

impl Texture {
    /// Paints a picture; `paint` gets the column and the row of a texel.
    pub(crate) fn paint(log: u32, paint: impl Fn(usize, usize) -> Option<Color>) -> Texture {
        let side = 1_usize << log;
        let texel = |at: usize| paint(at / side, at % side).map_or(0, pack);
        let mut levels = vec![(0..side * side).map(texel).collect::<Vec<u32>>()];
        for log in (0..log).rev() {
            let finer = levels.last().expect("the picture itself");
            levels.push(halved(finer, 1 << log));
        }
        Texture { levels }
    }

    /// The copy for `step` texels of the picture per pixel.
    pub(crate) fn level(&self, step: f32) -> Level<'_> {
        let finest = self.levels.len() - 1;
        // Rounded to the nearest power of two.
        let coarser = ((step * std::f32::consts::SQRT_2) as u32).max(1).ilog2();
        let level = (coarser as usize).min(finest);
        Level { texels: &self.levels[level], log: (finest - level) as u32 }
    }
}

impl<'a> Level<'a> {
    /// Texels of a side.
    pub(crate) fn side(self) -> usize {
        1 << self.log
    }

    /// The column at a share of the width, from 0 to 1.
    pub(crate) fn column(self, share: f32) -> &'a [u32] {
        let side = self.side();
        let column = ((share * side as f32) as usize).min(side - 1);
        &self.texels[column << self.log..][..side]
    }

    /// The texel at shares of width and height in 65536ths; whole parts are dropped.
    pub(crate) fn at(self, x: i32, y: i32) -> u32 {
        let mask = (1 << self.log) - 1;
        let [column, row] = [x, y].map(|share| (share >> (16 - self.log)) as usize & mask);
        self.texels[column << self.log | row]
    }
}

/// A color as a texel.
pub(crate) fn pack([red, green, blue]: Color) -> u32 {
    OPAQUE | u32::from(red) << 16 | u32::from(green) << 8 | u32::from(blue)
}

/// A texel's color.
pub(crate) fn unpack(texel: u32) -> Color {
    [texel >> 16, texel >> 8, texel].map(|channel| (channel & 255) as u8)
}

/// A texel with `light` 256ths of its brightness.
pub(crate) fn shade(texel: u32, light: u32) -> u32 {
    let red_blue = (((texel & 0x00ff_00ff) * light) >> 8) & 0x00ff_00ff;
    let green = (((texel & 0x0000_ff00) * light) >> 8) & 0x0000_ff00;
    OPAQUE | red_blue | green
}

/// A number from 0 to 1 that looks random, the same for the same place.
pub(crate) fn noise(x: usize, y: usize, salt: u32) -> f32 {
    let mut hash = (x as u32).wrapping_mul(0x9e37_79b1)
        ^ (y as u32).wrapping_mul(0x85eb_ca77)
        ^ salt.wrapping_mul(0xc2b2_ae3d);
    hash = (hash ^ hash >> 15).wrapping_mul(0x2c1b_3c6d);
    hash = (hash ^ hash >> 12).wrapping_mul(0x297a_2d39);
    ((hash ^ hash >> 15) >> 8) as f32 / (1 << 24) as f32
}

/// A color made darker (`light` below 1) or brighter.
pub(crate) fn lit(color: Color, light: f32) -> Color {
    if light <= 1.0 { mix([0; 3], color, light) } else { mix(color, [255; 3], light - 1.0) }
}

/// A picture of half the size: the mean of what is there in every two by two texels, if two are.
fn halved(finer: &[u32], side: usize) -> Vec<u32> {
    let texel = |at: usize| {
        let (column, row) = (2 * (at / side), 2 * (at % side));
        let four = [0, 1, 2 * side, 2 * side + 1].map(|next| finer[column * 2 * side + row + next]);
        let there = four.iter().filter(|&&texel| texel & OPAQUE != 0);
        let count = there.clone().count() as u32;
        if count < 2 {
            return 0;
        }
        let mean = |shift: u32| {
            let sum: u32 = there.clone().map(|texel| texel >> shift & 255).sum();
            ((sum + count / 2) / count) << shift
        };
        OPAQUE | mean(16) | mean(8) | mean(0)
    };
    (0..side * side).map(texel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_have_the_picture_s_mean_color_and_its_holes() {
        let half = Texture::paint(3, |column, _| (column < 4).then_some([200, 100, 50]));
        let coarsest = half.level(8.0);
        assert_eq!((coarsest.side(), unpack(coarsest.at(0, 0))), (1, [200, 100, 50]));
        let middle = half.level(4.0);
        assert_eq!((middle.column(0.2)[0], middle.column(0.9)[1]), (pack([200, 100, 50]), 0));
        let checks = Texture::paint(2, |column, row| {
            Some([if (column + row) % 2 == 0 { 0 } else { 200 }; 3])
        });
        assert_eq!(unpack(checks.level(2.0).at(0, 0)), [100; 3]);
    }

    #[test]
    fn a_copy_is_chosen_whose_texels_are_about_a_pixel_large() {
        let texture = Texture::paint(6, |_, _| Some([9; 3]));
        let sides = [0.1, 1.0, 1.3, 1.5, 2.7, 3.0, 500.0].map(|step| texture.level(step).side());
        assert_eq!(sides, [64, 64, 64, 32, 32, 16, 1]);
    }

    #[test]
    fn shading_scales_every_channel_alone() {
        assert_eq!(unpack(shade(pack([255, 128, 3]), 128)), [127, 64, 1]);
        assert_eq!(shade(pack([7, 8, 9]), 256), pack([7, 8, 9]));
    }
}
