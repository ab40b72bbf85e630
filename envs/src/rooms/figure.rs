//! Figures: what stands in a world and turns its front to whoever looks. Twelve shapes in three
//! paints each, keys in the doors' colors, a goal, and a teleporter.

use std::sync::LazyLock;

use super::surface::DOORS;
use super::texture::{Texture, lit};
use crate::canvas::{Color, mix};

/// Logarithm of a figure's side in texels.
const LOG: u32 = 5;
/// Half a side.
const HALF: f32 = (1 << LOG) as f32 / 2.0;
/// Shapes of objects, and paints of each.
const SHAPES: u8 = 12;
const PAINTS: u8 = 3;
/// Different objects.
pub(crate) const OBJECTS: u8 = SHAPES * PAINTS;

/// Main color and second color of every shape's paints.
const COLORS: [[Color; 2]; 6] = [
    [[224, 64, 56], [255, 224, 120]],
    [[52, 96, 220], [240, 240, 250]],
    [[44, 170, 78], [20, 60, 40]],
    [[240, 176, 40], [140, 50, 160]],
    [[176, 76, 200], [250, 210, 240]],
    [[40, 190, 200], [230, 90, 40]],
];

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// One of [`OBJECTS`] objects, on a pedestal.
    Object(u8),
    /// A key for the door of this number.
    Key(u8),
    /// An ice lolly.
    Goal,
    /// A beam over a pad.
    Teleporter,
}

impl Figure {
    pub(crate) fn texture(self) -> &'static Texture {
        static ALL: LazyLock<Vec<Texture>> = LazyLock::new(|| {
            let objects = (0..OBJECTS).map(Figure::Object);
            let keys = (0..DOORS.len() as u8).map(Figure::Key);
            let all = objects.chain(keys).chain([Figure::Goal, Figure::Teleporter]);
            let coordinate = |texel: usize| (texel as f32 + 0.5 - HALF) / HALF;
            all.map(|figure| Texture::paint(LOG, |x, y| figure.texel(coordinate(x), coordinate(y))))
                .collect()
        });
        let number = match self {
            Figure::Object(number) => number,
            Figure::Key(color) => OBJECTS + color,
            Figure::Goal => OBJECTS + DOORS.len() as u8,
            Figure::Teleporter => OBJECTS + DOORS.len() as u8 + 1,
        };
        &ALL[usize::from(number)]
    }

    /// Height of the square that the figure fills, in DMLab's units.
    pub(crate) fn size(self) -> f32 {
        match self {
            Figure::Object(_) => 72.0,
            Figure::Key(_) | Figure::Goal => 56.0,
            Figure::Teleporter => 96.0,
        }
    }

    /// A color for maps.
    pub(crate) fn color(self) -> Color {
        match self {
            Figure::Object(number) => paint(number)[0],
            Figure::Key(color) => DOORS[usize::from(color)],
            Figure::Goal => [255, 150, 20],
            Figure::Teleporter => [90, 200, 255],
        }
    }

    /// The color at a place of the square, whose coordinates go from -1 to 1, to the right and down.
    fn texel(self, x: f32, y: f32) -> Option<Color> {
        match self {
            Figure::Object(number) => object(number, x, y),
            Figure::Key(color) => key(DOORS[usize::from(color)], x, y),
            Figure::Goal => goal(x, y),
            Figure::Teleporter => teleporter(x, y),
        }
    }
}

/// Colors of an object: neighbors in number and the paints of a shape differ.
fn paint(number: u8) -> [Color; 2] {
    let (shape, paint) = (number % SHAPES, number / SHAPES);
    COLORS[usize::from((shape + 2 * paint) % 6)]
}

fn object(number: u8, x: f32, y: f32) -> Option<Color> {
    let [main, second] = paint(number);
    // The pedestal, a gray box below.
    if y > 0.72 {
        let light = if y < 0.8 { 1.1 } else { 0.8 - 0.2 * x };
        return (x.abs() < 0.62).then(|| lit([128, 128, 136], light));
    }
    // The object, above it.
    let (x, y) = (x / 0.8, (y + 0.12) / 0.82);
    // Lit from the upper left, as if it were round.
    let color = shape(number % SHAPES, x, y, main, second)?;
    Some(lit(color, (1.0 - 0.28 * (x + y)).clamp(0.5, 1.35)))
}

/// A shape's color at a place of its square.
fn shape(shape: u8, x: f32, y: f32, main: Color, second: Color) -> Option<Color> {
    let far = x.hypot(y);
    let stripes = |along: f32, count: f32| {
        if (((along + 1.0) * count) as u32).is_multiple_of(2) { main } else { second }
    };
    match shape {
        // A ball with a belt.
        0 => (far < 0.95).then_some(if y.abs() < 0.18 { second } else { main }),
        // A box with a cross.
        1 => (x.abs().max(y.abs()) < 0.82).then_some(if x.abs().min(y.abs()) < 0.14 {
            second
        } else {
            main
        }),
        // A cone with stripes.
        2 => (y.abs() < 0.95 && x.abs() < 0.45 * (y + 1.0)).then(|| stripes(y, 2.5)),
        // A ring.
        3 => (far < 0.95 && far > 0.45).then_some(if far > 0.72 { main } else { second }),
        // A plus.
        4 => (x.abs().min(y.abs()) < 0.3 && x.abs().max(y.abs()) < 0.95).then_some(if far < 0.3 {
            second
        } else {
            main
        }),
        // A star.
        5 => {
            let angle = f64::from(x).atan2(f64::from(-y));
            let reach = 0.66 + 0.3 * (5.0 * angle).cos() as f32;
            (far < reach).then_some(if far < 0.34 { second } else { main })
        }
        // A barbell.
        6 => {
            let ball = (x.abs() - 0.62).hypot(y) < 0.36;
            let bar = x.abs() < 0.5 && y.abs() < 0.13;
            if ball { Some(main) } else { bar.then_some(second) }
        }
        // A coil.
        7 => {
            let wave = 0.42 * f64::from(y * 9.0).sin() as f32;
            ((x - wave).abs() < 0.34 && y.abs() < 0.95).then(|| stripes(x - wave, 3.0))
        }
        // Two pyramids, tip to tip.
        8 => (y.abs() < 0.95 && x.abs() < 0.12 + 0.75 * y.abs()).then_some(if y < 0.0 {
            main
        } else {
            second
        }),
        // A cylinder with bands.
        9 => (x.abs() < 0.5 && y.abs() < 0.95).then(|| stripes(y, 3.5)),
        // A diamond.
        10 => {
            (x.abs() + y.abs() < 1.0).then_some(if x.abs() + y.abs() < 0.5 { second } else { main })
        }
        // A pot: a bowl with a lid.
        _ => {
            let bowl = y > -0.15 && x.hypot(y + 0.15) < 0.92;
            let lid = (-0.55..-0.15).contains(&y) && x.abs() < 0.25 - 0.9 * (y + 0.05);
            let knob = x.hypot(y + 0.7) < 0.2;
            if bowl { Some(main) } else { (lid || knob).then_some(second) }
        }
    }
}

/// A key with a thin edge, dark around bright colors and bright around dark ones.
fn key(color: Color, x: f32, y: f32) -> Option<Color> {
    let inside = |grown: f32| {
        let ring = (x.hypot(y + 0.45) - 0.3).abs() < 0.15 + grown;
        let shaft = x.abs() < 0.11 + grown && (-0.2..0.8 + grown).contains(&y);
        let tooth = |low: f32| {
            (-grown..0.42 + grown).contains(&x) && (low - grown..low + 0.16 + grown).contains(&y)
        };
        ring || shaft || tooth(0.64) || tooth(0.34)
    };
    let bright = color.iter().map(|&channel| u32::from(channel)).sum::<u32>() > 240;
    let edge = if bright { [16, 16, 16] } else { [190, 170, 100] };
    if inside(0.0) { Some(color) } else { inside(0.05).then_some(edge) }
}

/// An orange ice lolly.
fn goal(x: f32, y: f32) -> Option<Color> {
    let ice = x.abs() < 0.42 && (-0.5..0.45).contains(&y) || x.hypot(y + 0.5) < 0.42;
    let stick = x.abs() < 0.1 && (0.45..0.95).contains(&y);
    let bright = (x + 0.2).abs() < 0.07 && (-0.5..0.2).contains(&y);
    match (ice, stick) {
        (true, _) if bright => Some([255, 226, 170]),
        (true, _) => Some(lit([255, 150, 20], 1.0 - 0.3 * x)),
        (_, true) => Some([222, 190, 140]),
        _ => None,
    }
}

/// Rings of light that one can see through, over a pad.
fn teleporter(x: f32, y: f32) -> Option<Color> {
    let pad = (x / 0.7).hypot((y - 0.86) / 0.12) < 1.0;
    let ring = |height: f32| ((x / 0.55).hypot((y - height) / 0.16) - 1.0).abs() < 0.22;
    let rings = [-0.6, -0.2, 0.2, 0.55].into_iter().any(ring);
    match (rings, pad) {
        (true, _) => Some(mix([90, 200, 255], [255; 3], (0.5 - 0.5 * y).clamp(0.0, 1.0))),
        (_, true) => Some([60, 84, 120]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::texture::unpack;

    /// Texels of a figure on black.
    fn texels(figure: Figure) -> Vec<Color> {
        let level = figure.texture().level(1.0);
        let columns = (0..level.side()).flat_map(|x| level.column(x as f32 / level.side() as f32));
        columns.map(|&texel| unpack(texel)).collect()
    }

    fn apart(one: &[Color], two: &[Color]) -> f32 {
        let differ = |(one, two): (&Color, &Color)| {
            (0..3).map(|i| u32::from(one[i].abs_diff(two[i]))).sum::<u32>() > 60
        };
        one.iter().zip(two).filter(|pair| differ(*pair)).count() as f32 / one.len() as f32
    }

    #[test]
    fn any_two_objects_differ_in_a_good_part_of_their_texels() {
        let all: Vec<_> = (0..OBJECTS).map(|number| texels(Figure::Object(number))).collect();
        for one in 0..all.len() {
            for two in 0..one {
                let share = apart(&all[one], &all[two]);
                assert!(share > 0.08, "objects {one} and {two} differ in {share} of their texels");
            }
        }
    }

    #[test]
    fn a_shape_has_three_paints_and_keys_have_the_doors_colors() {
        for shape in 0..SHAPES {
            let paints = [0, 1, 2].map(|number| paint(shape + number * SHAPES));
            assert!(paints[0] != paints[1] && paints[1] != paints[2] && paints[2] != paints[0]);
        }
        for (number, color) in DOORS.into_iter().enumerate() {
            let key = texels(Figure::Key(number as u8));
            let share = key.iter().filter(|texel| **texel == color).count() as f32 / 1024.0;
            assert!(share > 0.12, "key {number} shows its color in {share}");
        }
    }
}
