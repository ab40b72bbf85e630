//! Canvas: an environment drawn for people, with a caption and a few shapes.
//!
//! Agents never see one: a canvas shows the whole state, an observation may hide some of it.
//! Coordinates are pixels from the upper left corner; edges of lines and discs are smooth.

/// Red, green, blue.
pub type Color = [u8; 3];

/// Background.
pub const PAPER: Color = [250, 250, 247];
/// Lines and letters.
pub const INK: Color = [52, 58, 64];
/// Scenery.
pub const FAINT: Color = [222, 222, 216];
/// The agent's body.
pub const ACTOR: Color = [228, 120, 70];
/// Goals and rewards.
pub const GOAL: Color = [46, 139, 87];
/// Marks of the agent's observation.
pub const SIGHT: Color = [38, 99, 184];

/// Height of the strip at the bottom that shows how far an episode has come.
const STRIP: f32 = 20.0;
/// Pixels between the strip's parts.
const GAP: f32 = 2.0;

/// Pixels and a caption.
#[derive(Clone, Debug, PartialEq)]
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    caption: String,
}

/// Square cells in rows and columns, as large as fit, in the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    left: f32,
    top: f32,
    /// The side of a cell.
    pub(crate) side: f32,
}

/// A part of a canvas: left, top, width, height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub(crate) left: f32,
    pub(crate) top: f32,
    pub(crate) width: f32,
    pub(crate) height: f32,
}

/// A color between two: `share` of the second.
pub fn mix(first: Color, second: Color, share: f32) -> Color {
    let mixed = |i: usize| f32::from(first[i]) * (1.0 - share) + f32::from(second[i]) * share;
    [0, 1, 2].map(|i| mixed(i).round() as u8)
}

impl Canvas {
    /// An empty canvas.
    pub fn new(width: usize, height: usize) -> Canvas {
        let pixels = PAPER.repeat(width * height);
        Canvas { width, height, pixels, caption: String::new() }
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All pixels, row by row, three bytes each.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All pixels, to be drawn upon by other means.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// One line of text about this moment.
    pub fn caption(&self) -> &str {
        &self.caption
    }

    pub(crate) fn set_caption(&mut self, caption: impl Into<String>) {
        self.caption = caption.into();
    }

    /// Removes everything, keeping the memory.
    pub fn clear(&mut self) {
        self.pixels.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&PAPER));
        self.caption.clear();
    }

    /// Copies another canvas into this one, which is large enough.
    pub fn paste(&mut self, other: &Canvas, left: usize, top: usize) {
        for row in 0..other.height {
            let to = 3 * ((top + row) * self.width + left);
            let from = 3 * row * other.width;
            let length = 3 * other.width;
            self.pixels[to..to + length].copy_from_slice(&other.pixels[from..from + length]);
        }
    }

    /// Shows a picture of red, green and blue bytes, as large as fits, in the middle.
    pub(crate) fn picture(&mut self, width: usize, height: usize, pixels: &[u8]) {
        let scale = (self.width as f32 / width as f32).min(self.height as f32 / height as f32);
        let size =
            |side: usize, most: usize| ((side as f32 * scale).round() as usize).clamp(1, most);
        let (wide, high) = (size(width, self.width), size(height, self.height));
        let (left, top) = ((self.width - wide) / 2, (self.height - high) / 2);
        for row in 0..high {
            let rows = covered(row, high, height);
            for column in 0..wide {
                let columns = covered(column, wide, width);
                let mean = |channel: usize| {
                    let pixel =
                        |y: usize, x: usize| u32::from(pixels[3 * (y * width + x) + channel]);
                    let sum: u32 =
                        rows.clone().flat_map(|y| columns.clone().map(move |x| pixel(y, x))).sum();
                    (sum / (rows.len() * columns.len()) as u32) as u8
                };
                let at = 3 * ((top + row) * self.width + left + column);
                self.pixels[at..at + 3].copy_from_slice(&[0, 1, 2].map(mean));
            }
        }
    }

    /// Fills a rectangle whose edges are rounded to pixels.
    pub fn rectangle(&mut self, [left, top]: [f32; 2], [width, height]: [f32; 2], color: Color) {
        let columns = span(left, left + width, self.width);
        for row in span(top, top + height, self.height) {
            for column in columns.clone() {
                self.blend(column, row, color, 1.0);
            }
        }
    }

    /// Draws the edges of a rectangle, inwards.
    pub fn frame(&mut self, corner: [f32; 2], size: [f32; 2], thickness: f32, color: Color) {
        let ([left, top], [width, height]) = (corner, size);
        self.rectangle(corner, [width, thickness], color);
        self.rectangle([left, top + height - thickness], [width, thickness], color);
        self.rectangle(corner, [thickness, height], color);
        self.rectangle([left + width - thickness, top], [thickness, height], color);
    }

    /// Draws a line with round ends; a disc, if both are the same.
    pub(crate) fn line(&mut self, from: [f32; 2], to: [f32; 2], thickness: f32, color: Color) {
        let radius = thickness / 2.0;
        let ([x0, y0], [x1, y1]) = (from, to);
        let (dx, dy) = (x1 - x0, y1 - y0);
        let length = dx.hypot(dy).max(1e-6);
        for row in span(y0.min(y1) - radius - 1.0, y0.max(y1) + radius + 1.0, self.height) {
            for column in span(x0.min(x1) - radius - 1.0, x0.max(x1) + radius + 1.0, self.width) {
                let (x, y) = (column as f32 + 0.5 - x0, row as f32 + 0.5 - y0);
                let along = ((x * dx + y * dy) / (length * length)).clamp(0.0, 1.0);
                let distance = (x - along * dx).hypot(y - along * dy);
                self.blend(column, row, color, (radius + 0.5 - distance).clamp(0.0, 1.0));
            }
        }
    }

    pub(crate) fn disc(&mut self, center: [f32; 2], radius: f32, color: Color) {
        self.line(center, center, 2.0 * radius, color);
    }

    /// Draws an arrow; none where it would be shorter than its head.
    pub(crate) fn arrow(&mut self, from: [f32; 2], to: [f32; 2], color: Color) {
        const HEAD: f32 = 5.0;
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = dx.hypot(dy);
        if length <= HEAD {
            return;
        }
        let (x, y) = (HEAD * dx / length, HEAD * dy / length);
        self.line(from, to, 2.0, color);
        self.line(to, [to[0] - x - y, to[1] - y + x], 2.0, color);
        self.line(to, [to[0] - x + y, to[1] - y - x], 2.0, color);
    }

    /// The canvas without the strip at its bottom.
    pub(crate) fn area(&self) -> Area {
        let height = self.height as f32 - STRIP;
        Area { left: 0.0, top: 0.0, width: self.width as f32, height }
    }

    /// Cells that fill the canvas but the strip at its bottom.
    pub(crate) fn grid(&self, rows: usize, columns: usize) -> Grid {
        let area = self.area();
        let side = (area.width / columns as f32).min(area.height / rows as f32);
        let side = if side > 1.0 { side.floor() } else { side };
        Grid {
            left: ((area.width - side * columns as f32) / 2.0).floor(),
            top: ((area.height - side * rows as f32) / 2.0).floor(),
            side,
        }
    }

    /// Draws the strip at the bottom: the parts of an episode, as long as they last, and `time`.
    pub(crate) fn timeline(&mut self, parts: &[u32], time: u32) {
        let total = parts.iter().sum::<u32>().max(1) as f32;
        let (top, height) = (self.height as f32 - 8.0, 6.0);
        let scale = self.width as f32 / total;
        let mut begin = 0;
        for &part in parts {
            let passed = time.saturating_sub(begin).min(part);
            let left = begin as f32 * scale;
            let width = |frames: u32| (frames as f32 * scale - GAP).max(0.0);
            self.rectangle([left, top], [width(part), height], FAINT);
            self.rectangle([left, top], [width(passed), height], mix(PAPER, INK, 0.6));
            begin += part;
        }
    }

    fn blend(&mut self, column: usize, row: usize, color: Color, share: f32) {
        let at = 3 * (row * self.width + column);
        let pixel = &mut self.pixels[at..at + 3];
        pixel.copy_from_slice(&mix([pixel[0], pixel[1], pixel[2]], color, share));
    }
}

impl Grid {
    /// The upper left corner of a cell, or of none beyond the grid.
    pub(crate) fn corner(&self, row: i32, column: i32) -> [f32; 2] {
        [self.left + column as f32 * self.side, self.top + row as f32 * self.side]
    }

    /// The middle of a cell.
    pub(crate) fn center(&self, row: i32, column: i32) -> [f32; 2] {
        self.corner(row, column).map(|x| x + self.side / 2.0)
    }

    /// Fills a cell; cells that are large enough leave a gap between them.
    pub(crate) fn fill(&self, canvas: &mut Canvas, row: i32, column: i32, color: Color) {
        let gap = if self.side >= 8.0 { 1.0 } else { 0.0 };
        canvas.rectangle(self.corner(row, column), [(self.side - gap).max(1.0); 2], color);
    }
}

/// The pixels of a side of `from` that pixel `at` of the same side in `to` pixels covers.
fn covered(at: usize, to: usize, from: usize) -> std::ops::Range<usize> {
    let first = at * from / to;
    first..((at + 1) * from / to).max(first + 1)
}

/// The pixels between two coordinates, within `0..end`.
fn span(from: f32, to: f32, end: usize) -> std::ops::Range<usize> {
    // What is negative or not a number becomes 0.
    (from.round() as usize).min(end)..(to.round() as usize).min(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(canvas: &Canvas, column: usize, row: usize) -> &[u8] {
        let at = 3 * (row * canvas.width() + column);
        &canvas.pixels()[at..at + 3]
    }

    #[test]
    fn shapes_cover_their_pixels_and_no_others() {
        let mut canvas = Canvas::new(20, 50);
        canvas.rectangle([2.0, 3.0], [4.0, 2.0], INK);
        let inked = canvas.pixels().chunks_exact(3).filter(|pixel| **pixel == INK).count();
        assert_eq!(inked, 8);
        assert_eq!((at(&canvas, 2, 3), at(&canvas, 5, 4)), (&INK[..], &INK[..]));
        canvas.clear();
        assert_eq!(canvas, Canvas::new(20, 50));
        canvas.disc([10.0, 10.0], 5.0, ACTOR);
        assert_eq!(at(&canvas, 10, 10), ACTOR);
        assert_eq!(at(&canvas, 10, 4), PAPER);
        assert_eq!(at(&canvas, 5, 5), PAPER, "a disc has no corners");
        let covered: f32 = canvas
            .pixels()
            .chunks_exact(3)
            .map(|pixel| f32::from(PAPER[2] - pixel[2]) / f32::from(PAPER[2] - ACTOR[2]))
            .sum();
        assert!((covered - 78.5).abs() < 1.5, "its area is 25 π, not {covered}");
    }

    #[test]
    fn what_lies_outside_is_cut_off() {
        let mut canvas = Canvas::new(8, 8);
        canvas.rectangle([-5.0, -5.0], [100.0, 7.0], INK);
        canvas.line([-20.0, 6.0], [40.0, 6.0], 2.0, GOAL);
        canvas.disc([f32::NAN, 1.0], 3.0, GOAL);
        assert_eq!((at(&canvas, 0, 1), at(&canvas, 7, 2)), (&INK[..], &PAPER[..]));
        assert_eq!(at(&canvas, 7, 6), GOAL);
    }

    #[test]
    fn a_picture_of_any_size_is_shown_in_the_middle_without_loss_of_light() {
        let mut canvas = Canvas::new(8, 4);
        let left_half = |x: usize| if x < 6 { GOAL } else { INK };
        let pixels: Vec<u8> = (0..12 * 12).flat_map(|i| left_half(i % 12)).collect();
        canvas.picture(12, 12, &pixels);
        assert_eq!((at(&canvas, 1, 0), at(&canvas, 6, 3)), (&PAPER[..], &PAPER[..]));
        assert_eq!((at(&canvas, 2, 0), at(&canvas, 3, 3)), (&GOAL[..], &GOAL[..]));
        assert_eq!((at(&canvas, 4, 0), at(&canvas, 5, 3)), (&INK[..], &INK[..]));
        canvas.picture(1, 1, &ACTOR);
        assert_eq!((at(&canvas, 2, 0), at(&canvas, 5, 3)), (&ACTOR[..], &ACTOR[..]));
    }

    #[test]
    fn the_timeline_is_filled_as_far_as_the_episode_has_come() {
        let mut canvas = Canvas::new(100, 40);
        canvas.timeline(&[50, 50], 25);
        let row = 40 - 6;
        let dark = (0..100).filter(|&column| at(&canvas, column, row) == mix(PAPER, INK, 0.6));
        assert_eq!(dark.collect::<Vec<_>>(), (0..23).collect::<Vec<_>>());
        assert_eq!((at(&canvas, 30, row), at(&canvas, 49, row)), (&FAINT[..], &PAPER[..]));
    }

    #[test]
    fn a_picture_is_pasted_where_it_belongs() {
        let mut small = Canvas::new(2, 2);
        small.rectangle([1.0, 0.0], [1.0, 1.0], INK);
        let mut large = Canvas::new(5, 5);
        large.paste(&small, 2, 3);
        assert_eq!(at(&large, 3, 3), INK);
        assert_eq!(large.pixels().chunks_exact(3).filter(|pixel| **pixel == INK).count(), 1);
    }
}
