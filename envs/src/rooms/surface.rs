//! Walls, floors and the sky: how each of them is painted.

use std::sync::LazyLock;

use super::texture::{Texture, lit, noise, pack};
use crate::canvas::{Color, mix};

/// Logarithm of a surface's side in texels: 64 on the side of a cell.
const LOG: u32 = 6;
const SIDE: usize = 1 << LOG;
/// Columns of the sky, all around, and its rows, up to where a row is as high above the horizon as
/// it is away.
pub(crate) const SKY_COLUMNS: usize = 1024;
pub(crate) const SKY_ROWS: usize = 128;

/// Material of a wall or a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Surface {
    SlatePanel,
    SandPanel,
    Brick,
    Stone,
    Planks,
    Hedge,
    /// Pictures on a wall, landmarks that differ from each other.
    Rings,
    Stripes,
    Checks,
    Diamond,
    /// The low wall around a room.
    Parapet,
    RedDoor,
    GreenDoor,
    BlueDoor,
    WhiteDoor,
    BlackDoor,
    OrangeTiles,
    WaterTiles,
    GrayTiles,
    /// The ground beyond the world.
    Sea,
}

impl Surface {
    /// Every surface, in order.
    const ALL: [Surface; 20] = [
        Surface::SlatePanel,
        Surface::SandPanel,
        Surface::Brick,
        Surface::Stone,
        Surface::Planks,
        Surface::Hedge,
        Surface::Rings,
        Surface::Stripes,
        Surface::Checks,
        Surface::Diamond,
        Surface::Parapet,
        Surface::RedDoor,
        Surface::GreenDoor,
        Surface::BlueDoor,
        Surface::WhiteDoor,
        Surface::BlackDoor,
        Surface::OrangeTiles,
        Surface::WaterTiles,
        Surface::GrayTiles,
        Surface::Sea,
    ];

    pub(crate) fn texture(self) -> &'static Texture {
        static ALL: LazyLock<Vec<Texture>> = LazyLock::new(|| {
            Surface::ALL.map(|surface| Texture::paint(LOG, |x, y| Some(surface.texel(x, y)))).into()
        });
        &ALL[self as usize]
    }

    /// The color of the surface as a whole, for maps.
    pub(crate) fn color(self) -> Color {
        super::texture::unpack(self.texture().level(SIDE as f32).at(0, 0))
    }

    fn texel(self, x: usize, y: usize) -> Color {
        let grain = 0.9 + 0.2 * noise(x, y, 1);
        let color =
            match self {
                Surface::SlatePanel => panel(x, y, [104, 108, 130]),
                Surface::SandPanel => panel(x, y, [158, 146, 116]),
                Surface::Brick => brick(x, y, [178, 74, 56]),
                Surface::Stone => stone(x, y, [132, 132, 140]),
                Surface::Planks => planks(x, y, [196, 150, 72]),
                Surface::Hedge => lit([58, 128, 52], 0.6 + 0.7 * noise(x / 3, y / 3, 2)),
                Surface::Rings => framed(x, y, |x, y| {
                    let ring = (x * x + y * y).sqrt() * 4.0;
                    if (ring as u32).is_multiple_of(2) { [214, 48, 60] } else { [246, 240, 226] }
                }),
                Surface::Stripes => framed(x, y, |x, y| {
                    if (((x + y + 4.0) * 3.0) as u32).is_multiple_of(2) {
                        [34, 60, 160]
                    } else {
                        [250, 206, 50]
                    }
                }),
                Surface::Checks => framed(x, y, |x, y| {
                    let dark =
                        (((x + 1.0) * 3.0) as u32 + ((y + 1.0) * 3.0) as u32).is_multiple_of(2);
                    if dark { [24, 24, 30] } else { [240, 240, 240] }
                }),
                Surface::Diamond => framed(x, y, |x, y| {
                    if x.abs() + y.abs() < 0.8 { [226, 60, 190] } else { [40, 196, 190] }
                }),
                Surface::Parapet => stone(x, y, [172, 160, 140]),
                Surface::RedDoor => door(x, y, DOORS[0]),
                Surface::GreenDoor => door(x, y, DOORS[1]),
                Surface::BlueDoor => door(x, y, DOORS[2]),
                Surface::WhiteDoor => door(x, y, DOORS[3]),
                Surface::BlackDoor => door(x, y, DOORS[4]),
                Surface::OrangeTiles => tiles(x, y, [206, 134, 70], 2),
                Surface::WaterTiles => tiles(x, y, [104, 160, 188], 2),
                Surface::GrayTiles => tiles(x, y, [150, 150, 142], 2),
                Surface::Sea => lit([40, 92, 120], 0.9 + 0.2 * noise(x / 8, y / 2, 3)),
            };
        lit(color, grain)
    }
}

/// The colors of doors and their keys: red, green, blue, white, black.
pub(crate) const DOORS: [Color; 5] =
    [[216, 44, 40], [40, 172, 60], [46, 84, 226], [240, 240, 240], [28, 28, 32]];

/// Metal sheets with a seam, bolts, and a bright line at half height.
fn panel(x: usize, y: usize, color: Color) -> Color {
    let seam = x % 32 < 2 || y % 32 < 2;
    let bolt = (4..6).contains(&(x % 32)) && (4..6).contains(&(y % 32));
    let line = (28..31).contains(&y);
    match (line, seam, bolt) {
        (true, ..) => lit(color, 1.6),
        (_, true, _) => lit(color, 0.55),
        (_, _, true) => lit(color, 1.3),
        _ => color,
    }
}

fn brick(x: usize, y: usize, color: Color) -> Color {
    let row = y / 8;
    let along = x + if row.is_multiple_of(2) { 0 } else { 8 };
    if y.is_multiple_of(8) || along.is_multiple_of(16) {
        return [196, 186, 172];
    }
    lit(color, 0.8 + 0.4 * noise(along / 16 % 4, row, 5))
}

fn stone(x: usize, y: usize, color: Color) -> Color {
    let row = y / 16;
    let along = x + if row.is_multiple_of(2) { 0 } else { 11 };
    if y.is_multiple_of(16) || along.is_multiple_of(22) {
        return lit(color, 0.55);
    }
    lit(color, 0.85 + 0.3 * noise(along / 22 % 3, row, 6))
}

fn planks(x: usize, y: usize, color: Color) -> Color {
    if x.is_multiple_of(16) {
        return lit(color, 0.5);
    }
    lit(color, 0.85 + 0.2 * noise(x / 16, 0, 7) + 0.12 * noise(x, y / 16, 8))
}

/// Square tiles with joints, `count` on a side.
fn tiles(x: usize, y: usize, color: Color, count: usize) -> Color {
    let side = SIDE / count;
    if x.is_multiple_of(side) || y.is_multiple_of(side) {
        return lit(color, 0.7);
    }
    lit(color, if (x / side + y / side).is_multiple_of(2) { 1.06 } else { 0.88 })
}

/// A picture in a frame on a gray wall; coordinates of the picture go from -1 to 1.
fn framed(x: usize, y: usize, picture: impl Fn(f32, f32) -> Color) -> Color {
    let [across, down] = [x, y].map(|texel| (texel as f32 + 0.5) / (SIDE / 2) as f32 - 1.0);
    match across.abs().max(down.abs()) {
        far if far < 0.78 => picture(across / 0.78, down / 0.78),
        far if far < 0.88 => [70, 48, 30],
        _ => stone(x, y, [132, 132, 140]),
    }
}

/// A door in its color, in a frame of gray metal, with a keyhole.
fn door(x: usize, y: usize, color: Color) -> Color {
    let [across, down] = [x, y].map(|texel| texel as f32 + 0.5 - (SIDE / 2) as f32);
    let plate = across.abs() < 7.0 && down.abs() < 11.0;
    let hole = across.hypot(down + 3.0) < 3.5 || (across.abs() < 1.5 && (0.0..8.0).contains(&down));
    match across.abs().max(down.abs()) {
        _ if hole => [20, 20, 20],
        _ if plate => [210, 180, 80],
        far if far > 28.0 => [110, 112, 118],
        _ if (down.abs() as u32).is_multiple_of(14) => lit(color, 0.7),
        _ => color,
    }
}

/// The sky all around, row by row from the horizon up: hills, a sun in the north-east, and four towers whose
/// colors tell the directions of the compass.
pub(crate) fn sky() -> &'static [u32] {
    static SKY: LazyLock<Vec<u32>> = LazyLock::new(|| {
        let texel = |at: usize| pack(sky_color(at % SKY_COLUMNS, at / SKY_COLUMNS));
        (0..SKY_COLUMNS * SKY_ROWS).map(texel).collect()
    });
    &SKY
}

/// A tower of the sky: its middle column, its color.
const TOWERS: [(f32, Color); 4] = [
    (0.0, [206, 60, 50]),
    (256.0, [70, 70, 190]),
    (512.0, [236, 190, 60]),
    (768.0, [235, 235, 235]),
];

fn sky_color(column: usize, row: usize) -> Color {
    let (across, up) = (column as f32, row as f32);
    for (middle, color) in TOWERS {
        let away = ((across - middle + 512.0).rem_euclid(1024.0) - 512.0).abs();
        if (away < 16.0 && up < 44.0) || (away < 22.0 && (36.0..44.0).contains(&up)) {
            let window = (away < 5.0 && (up as u32 / 6).is_multiple_of(2)) || up >= 42.0;
            return if window { lit(color, 0.5) } else { color };
        }
    }
    // Whole waves all around.
    let wave = |count: f64, phase: f64| {
        let angle = f64::from(across) / SKY_COLUMNS as f64 * std::f64::consts::TAU;
        (count * angle + phase).sin() as f32
    };
    let hills = 9.0 + 4.0 * wave(3.0, 0.3) + 3.0 * wave(7.0, 1.1) + 1.5 * wave(16.0, 2.0);
    if up < hills {
        return lit([84, 122, 84], 0.75 + 0.03 * up);
    }
    let sun = (across - 880.0).hypot(up - 84.0);
    let blue = mix([196, 220, 240], [92, 148, 222], up / SKY_ROWS as f32);
    if sun < 14.0 { [255, 246, 196] } else { mix([255, 246, 206], blue, (sun / 70.0).min(1.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surfaces_are_listed_in_their_order_and_look_different() {
        for (number, surface) in Surface::ALL.into_iter().enumerate() {
            assert_eq!(surface as usize, number);
        }
        let doors = [
            Surface::RedDoor,
            Surface::GreenDoor,
            Surface::BlueDoor,
            Surface::WhiteDoor,
            Surface::BlackDoor,
        ];
        for (number, door) in doors.into_iter().enumerate() {
            for other in &doors[..number] {
                let (one, two) = (door.color(), other.color());
                let apart: u32 = (0..3).map(|i| u32::from(one[i].abs_diff(two[i]))).sum();
                assert!(apart > 100, "{door:?} and {other:?} look alike: {one:?}, {two:?}");
            }
        }
    }
}
