//! Pictures: the last two screens of a decision become one, gray and small.
//!
//! A pixel of a screen is the number of a color, so a table tells the gray of two of them. The
//! result is made smaller as OpenCV's `INTER_AREA` does: every pixel is the mean of the area that
//! it covers, columns first, then rows, in single precision, so that bytes are the same. Rows in
//! which nothing has moved keep their columns' sums.

use super::emulator::Emulator;
use super::settings::Pooling;

/// Colors of the palette. The last bit of a pixel is always zero.
const COLORS: usize = 128;
/// Parts of a pixel's width or height below which it does not count, as in OpenCV.
const EPSILON: f64 = 1e-3;

/// Memory of the last screens.
pub(super) struct Picture {
    palette: Palette,
    screens: [Screen; 2],
    columns: Vec<Span>,
    rows: Vec<Span>,
    /// Every row of the screen, with the columns of the picture.
    narrow: Vec<f32>,
    width: usize,
}

/// Place of a screen among the last two of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The one before the last.
    First = 0,
    /// The last one.
    Second = 1,
}

impl Picture {
    /// Pictures of a machine's screens.
    pub(super) fn new(emulator: &Emulator, [height, width]: [usize; 2], pooling: Pooling) -> Self {
        let screen = || Screen {
            pixels: vec![0; emulator.height() * emulator.width()],
            moved: vec![true; emulator.height()],
        };
        Picture {
            palette: Palette::new(pooling),
            screens: [screen(), screen()],
            columns: spans(emulator.width(), width),
            rows: spans(emulator.height(), height),
            narrow: vec![0.0; emulator.height() * width],
            width,
        }
    }

    /// Takes the present screen.
    pub(super) fn take(&mut self, emulator: &Emulator, place: Place) {
        let screen = &mut self.screens[place as usize];
        let now = &mut self.palette.scratch;
        now.resize(screen.pixels.len(), 0);
        emulator.colors(now);
        let width = emulator.width();
        let rows = screen.pixels.chunks_exact_mut(width).zip(now.chunks_exact(width));
        let mut unknown = false;
        for ((before, now), moved) in rows.zip(&mut screen.moved) {
            if before != now {
                before.copy_from_slice(now);
                *moved = true;
                unknown |= now.iter().any(|&pixel| !self.palette.known[usize::from(pixel)]);
            }
        }
        if unknown || !self.palette.begun {
            self.palette.learn(emulator);
        }
    }

    /// Draws the picture of the two screens.
    pub(super) fn draw(&mut self, picture: &mut [u8]) {
        let [first, second] = &mut self.screens;
        let screen_width = first.pixels.len() / first.moved.len();
        let mut gray = vec![0.0; screen_width];
        for row in 0..first.moved.len() {
            if !first.moved[row] && !second.moved[row] {
                continue;
            }
            (first.moved[row], second.moved[row]) = (false, false);
            let at = row * screen_width..(row + 1) * screen_width;
            let pairs = first.pixels[at.clone()].iter().zip(&second.pixels[at]);
            for (gray, (&first, &second)) in gray.iter_mut().zip(pairs) {
                *gray = f32::from(self.palette.gray_of_two(first, second));
            }
            let narrow = &mut self.narrow[row * self.width..(row + 1) * self.width];
            for (to, span) in narrow.iter_mut().zip(&self.columns) {
                let parts = gray[span.start..].iter().zip(&span.weights);
                *to = parts.fold(0.0, |sum, (gray, weight)| sum + gray * weight);
            }
        }
        let mut sums = vec![0.0; self.width];
        for (to, span) in picture.chunks_exact_mut(self.width).zip(&self.rows) {
            sums.fill(0.0);
            let rows = self.narrow[span.start * self.width..].chunks_exact(self.width);
            for (row, weight) in rows.zip(&span.weights) {
                sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += number * weight);
            }
            for (to, sum) in to.iter_mut().zip(&sums) {
                *to = sum.round_ties_even() as u8;
            }
        }
    }
}

struct Screen {
    pixels: Vec<u8>,
    /// Rows that have changed since the last picture.
    moved: Vec<bool>,
}

/// Colors, and the gray of any two of them. The emulator tells the colors of a screen only, so they
/// are learned as they are seen.
struct Palette {
    pooling: Pooling,
    begun: bool,
    known: [bool; 2 * COLORS],
    rgb: [[u8; 3]; COLORS],
    gray: [u8; COLORS],
    pairs: Vec<u8>,
    scratch: Vec<u8>,
}

impl Palette {
    fn new(pooling: Pooling) -> Palette {
        Palette {
            pooling,
            begun: false,
            known: [false; 2 * COLORS],
            rgb: [[0; 3]; COLORS],
            gray: [0; COLORS],
            pairs: vec![0; COLORS * COLORS],
            scratch: Vec::new(),
        }
    }

    fn gray_of_two(&self, first: u8, second: u8) -> u8 {
        self.pairs[usize::from(first >> 1) * COLORS + usize::from(second >> 1)]
    }

    /// Learns the colors of the present screen, whose pixels are in `scratch`.
    fn learn(&mut self, emulator: &Emulator) {
        self.begun = true;
        let mut rgb = vec![0; 3 * self.scratch.len()];
        let mut gray = vec![0; self.scratch.len()];
        emulator.rgb(&mut rgb);
        emulator.gray(&mut gray);
        let (colors, _) = rgb.as_chunks::<3>();
        for ((&pixel, &color), &gray) in self.scratch.iter().zip(colors).zip(&gray) {
            assert!(pixel.is_multiple_of(2), "the palette has 128 colors");
            let number = usize::from(pixel >> 1);
            (self.rgb[number], self.gray[number]) = (color, gray);
            self.known[usize::from(pixel)] = true;
        }
        for first in 0..COLORS {
            for second in 0..COLORS {
                self.pairs[first * COLORS + second] = self.pooled(first, second);
            }
        }
    }

    fn pooled(&self, first: usize, second: usize) -> u8 {
        match self.pooling {
            Pooling::Gray => self.gray[first].max(self.gray[second]),
            Pooling::Color => {
                let larger = |i: usize| u32::from(self.rgb[first][i].max(self.rgb[second][i]));
                luma([0, 1, 2].map(larger))
            }
        }
    }
}

/// Gray of a color (ITU-R BT.601), in OpenCV's whole numbers: shares of 2¹⁵.
fn luma([red, green, blue]: [u32; 3]) -> u8 {
    ((red * 9798 + green * 19235 + blue * 3735 + (1 << 14)) >> 15) as u8
}

/// Pixels that one pixel of a smaller picture covers, and the share of each.
struct Span {
    start: usize,
    weights: Vec<f32>,
}

/// Spans of `to` pixels over `from`.
fn spans(from: usize, to: usize) -> Vec<Span> {
    let scale = from as f64 / to as f64;
    let span = |pixel: usize| {
        let start = pixel as f64 * scale;
        let end = (start + scale).min(from as f64);
        let share = |pixel: usize| {
            let covered = (end.min(pixel as f64 + 1.0) - start.max(pixel as f64)) / (end - start);
            covered as f32
        };
        let first = if start.ceil() - start > EPSILON { start.floor() } else { start.ceil() };
        let last = if end - end.floor() > EPSILON { end.ceil() } else { end.floor() };
        let pixels = first as usize..last as usize;
        Span { start: pixels.start, weights: pixels.map(share).collect() }
    };
    (0..to).map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_of_the_screen_counts_as_much_as_any_other() {
        for (from, to) in [(210, 84), (160, 84), (250, 84), (210, 105), (160, 160), (210, 8)] {
            let mut shares = vec![0.0; from];
            for span in spans(from, to) {
                let sum: f32 = span.weights.iter().sum();
                assert!((sum - 1.0).abs() < 1e-5);
                for (share, weight) in shares[span.start..].iter_mut().zip(&span.weights) {
                    *share += weight;
                }
            }
            let expected = to as f32 / from as f32;
            assert!(shares.iter().all(|share| (share - expected).abs() < 1e-4), "{from} {to}");
        }
    }

    #[test]
    fn gray_of_gray_is_the_same() {
        (0..=255).for_each(|gray| assert_eq!(u32::from(luma([gray; 3])), gray));
    }
}
