//! The camera: a world as its player sees it, by casting one ray per column of the picture.
//!
//! ```text
//! 1. sky      the rows above the horizon, from a panorama
//! 2. floor    the rows below it: all pixels of a row are equally far away, so that going from one to the
//!             next adds the same step (fixed point, 16 bits of fraction)
//! 3. blocks   every column's ray steps from cell to cell (Amanatides & Woo 1987) and draws what it
//!             meets, near things first, each above the ones before
//! 4. figures  far ones first; a column of one shows above the blocks that are nearer
//! 5. a square in the corner for what the player carries
//! ```
//!
//! The picture is 90 degrees wide, as DMLab's, and pixels are square. Depths are along the way the player
//! looks, in cells. What depends on the resolution alone is computed once.

use super::scene::{Scene, Thing};
use super::surface::{SKY_COLUMNS, SKY_ROWS, Surface, sky};
use super::texture::{lit, pack, shade, unpack};

/// Texels of a surface's and of a figure's side.
const SURFACE_TEXELS: f32 = 64.0;
const FIGURE_TEXELS: f32 = 32.0;
/// Light of what is infinitely far away, and the distance in units at which half of the rest is lost.
const FAR_LIGHT: f32 = 0.6;
const HALF_LIGHT: f32 = 600.0;
/// Light on faces that look north or south; the others have all of it.
const SIDE_LIGHT: f32 = 0.8;
/// Figures nearer than this, in units, are not seen.
const NEAREST: f32 = 6.0;

/// A camera of one resolution.
pub(crate) struct Camera {
    width: usize,
    height: usize,
    /// Pixels of something that is as wide as it is away.
    focal: f32,
    /// Steps to the right per step ahead, for every column.
    rays: Vec<f32>,
    /// Column of the sky that every column sees when the player looks east.
    sky_columns: Vec<usize>,
    pixels: Vec<u32>,
    /// Blocks that every column's ray has met, near things first, and where a column's part begins.
    covers: Vec<Cover>,
    begins: Vec<usize>,
    /// Depth and number of the figures in view.
    order: Vec<(f32, usize)>,
}

/// From this depth on a column shows only what is above a row.
#[derive(Clone, Copy)]
struct Cover {
    depth: f32,
    row: usize,
}

/// The player's view: its place in cells, the ways to the front and to the right, and the height of its eyes.
#[derive(Clone, Copy)]
struct View {
    place: [f32; 2],
    front: [f32; 2],
    right: [f32; 2],
    eyes: f32,
}

impl Camera {
    pub(crate) fn new(width: usize, height: usize) -> Camera {
        let focal = width as f32 / 2.0;
        let rays: Vec<f32> = (0..width).map(|x| (x as f32 + 0.5) / focal - 1.0).collect();
        let turn = |ray: &f32| f64::from(*ray).atan() / std::f64::consts::TAU + 1.0;
        let sky_columns =
            rays.iter().map(|ray| (turn(ray) * SKY_COLUMNS as f64) as usize).collect();
        Camera {
            width,
            height,
            focal,
            rays,
            sky_columns,
            pixels: vec![0; width * height],
            covers: Vec::with_capacity(8 * width),
            begins: vec![0; width + 1],
            order: Vec::new(),
        }
    }

    /// Takes a picture.
    pub(crate) fn look(&mut self, scene: &Scene) {
        let [front, right] = scene.player.axes();
        let place = scene.player.place.map(|x| x / scene.plan.cell);
        let view = View { place, front, right, eyes: scene.eyes() };
        self.draw_sky(scene.player.heading);
        self.draw_floor(scene, view);
        self.draw_blocks(scene, view);
        self.draw_figures(scene, view);
        self.draw_carried(scene);
    }

    /// Writes the picture as an image `[3, height, width]`.
    pub(crate) fn write(&self, image: &mut [u8]) {
        for (channel, plane) in image.chunks_exact_mut(self.pixels.len()).enumerate() {
            let shift = 16 - 8 * channel;
            for (byte, pixel) in plane.iter_mut().zip(&self.pixels) {
                *byte = (pixel >> shift) as u8;
            }
        }
    }

    /// The colors of a row of pixels.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = [u8; 3]> + '_ {
        self.pixels[row * self.width..][..self.width].iter().map(|&pixel| unpack(pixel))
    }

    fn draw_sky(&mut self, heading: f32) {
        let sky = sky();
        let turned = (heading / 360.0 * SKY_COLUMNS as f32) as usize;
        for row in 0..self.height / 2 {
            let up = (self.height as f32 / 2.0 - row as f32 - 0.5) / self.focal;
            let line = ((up * SKY_ROWS as f32) as usize).min(SKY_ROWS - 1);
            let line = &sky[line * SKY_COLUMNS..][..SKY_COLUMNS];
            let pixels = &mut self.pixels[row * self.width..][..self.width];
            for (pixel, column) in pixels.iter_mut().zip(&self.sky_columns) {
                *pixel = line[(turned + column) % SKY_COLUMNS];
            }
        }
    }

    fn draw_floor(&mut self, scene: &Scene, view: View) {
        for row in self.height / 2..self.height {
            // The middle row of a picture with an odd number of them is the horizon itself.
            let down = (row as f32 + 0.5 - self.height as f32 / 2.0).max(0.25);
            let depth = view.eyes * self.focal / down;
            let step = SURFACE_TEXELS * depth / self.focal;
            let light = light(depth * scene.plan.cell, 1.0);
            let fixed = |cells: f32| (cells * 65536.0) as i32;
            let [mut x, mut y] = [0, 1].map(|i| {
                let way = view.front[i] + view.right[i] * self.rays[0];
                fixed(view.place[i] + depth * way)
            });
            let [x_step, y_step] = [0, 1].map(|i| fixed(depth * view.right[i] / self.focal));
            let mut cell = [x >> 16, y >> 16];
            let level_of =
                |[column, row]: [i32; 2]| scene.plan.floor(column, row).texture().level(step);
            let mut level = level_of(cell);
            for pixel in &mut self.pixels[row * self.width..][..self.width] {
                if [x >> 16, y >> 16] != cell {
                    cell = [x >> 16, y >> 16];
                    level = level_of(cell);
                }
                *pixel = shade(level.at(x, y), light);
                (x, y) = (x + x_step, y + y_step);
            }
        }
    }

    fn draw_blocks(&mut self, scene: &Scene, view: View) {
        self.covers.clear();
        for column in 0..self.width {
            self.begins[column] = self.covers.len();
            self.draw_column(scene, view, column);
        }
        self.begins[self.width] = self.covers.len();
    }

    /// Follows one ray to the first block that is as high as can be, or out of the plan.
    fn draw_column(&mut self, scene: &Scene, view: View, column: usize) {
        let ray = [0, 1].map(|i| view.front[i] + view.right[i] * self.rays[column]);
        let mut cell = view.place.map(|x| x.floor() as i32);
        let sign = ray.map(|x| if x < 0.0 { -1 } else { 1 });
        // Depth per cell, and depth at which the ray enters the next cell, on either axis.
        let per_cell = ray.map(|x| 1.0 / x.abs().max(1e-6));
        let mut enters = [0, 1].map(|i| {
            let within = view.place[i] - cell[i] as f32;
            per_cell[i] * if sign[i] < 0 { within } else { 1.0 - within }
        });
        // Everything from this row down is drawn.
        let mut covered = self.height;
        loop {
            let axis = usize::from(enters[1] < enters[0]);
            let depth = enters[axis].max(1e-3);
            cell[axis] += sign[axis];
            enters[axis] += per_cell[axis];
            if cell[axis] < 0 || cell[axis] >= [scene.plan.columns, scene.plan.rows][axis] as i32 {
                return;
            }
            let Some(block) = scene.plan.block(cell[0], cell[1]) else { continue };
            let across = view.place[1 - axis] + depth * ray[1 - axis];
            let share = across - across.floor();
            // To the viewer's right, so that pictures on walls are not mirrored.
            let share = if (sign[axis] > 0) == (axis == 0) { share } else { 1.0 - share };
            let face = Face { depth, share, height: block.height, surface: block.surface, axis };
            covered = self.draw_face(column, face, view, scene.plan.cell, covered);
            if block.height < view.eyes {
                let back = enters[0].min(enters[1]);
                covered = self.draw_top(column, face, back, view, scene.plan.cell, covered);
            }
            self.covers.push(Cover { depth, row: covered });
            if block.height >= 1.0 || covered == 0 {
                return;
            }
        }
    }

    /// The row of a height at a depth, as a fraction.
    fn row_of(&self, height: f32, depth: f32, view: View) -> f32 {
        self.height as f32 / 2.0 - (height - view.eyes) * self.focal / depth
    }

    /// Draws the front of a block, and returns the row down from which everything is drawn now.
    fn draw_face(
        &mut self,
        column: usize,
        face: Face,
        view: View,
        cell: f32,
        covered: usize,
    ) -> usize {
        let top = self.row_of(face.height, face.depth, view);
        let from = round(top).min(covered);
        let to = round(self.row_of(0.0, face.depth, view)).min(covered);
        let per_pixel = face.depth / self.focal;
        let level = face.surface.texture().level(SURFACE_TEXELS * per_pixel);
        let texels = level.column(face.share);
        let side = texels.len() as f32;
        let down = 1.0 - face.height + (from as f32 + 0.5 - top) * per_pixel;
        let fixed = |texels: f32| (texels * 65536.0) as i32;
        let (mut texel, step) = (fixed(down * side), fixed(per_pixel * side));
        let light = light(face.depth * cell, if face.axis == 0 { 1.0 } else { SIDE_LIGHT });
        for row in from..to {
            let at = (texel >> 16) as usize & (texels.len() - 1);
            self.pixels[row * self.width + column] = shade(texels[at], light);
            texel += step;
        }
        // What is below the face is floor, unless nearer blocks are there.
        covered.min(from)
    }

    /// Draws the top of a block that the eyes look down upon.
    fn draw_top(
        &mut self,
        column: usize,
        face: Face,
        back: f32,
        view: View,
        cell: f32,
        covered: usize,
    ) -> usize {
        let from = round(self.row_of(face.height, back, view)).min(covered);
        let color = pack(lit(face.surface.color(), 1.12));
        let color = shade(color, light(back * cell, 1.0));
        for row in from..covered {
            self.pixels[row * self.width + column] = color;
        }
        from
    }

    fn draw_figures(&mut self, scene: &Scene, view: View) {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        for (number, thing) in scene.things.iter().enumerate() {
            let [ahead, _] = seen_from(thing, scene.plan.cell, view);
            if ahead * scene.plan.cell > NEAREST {
                order.push((ahead, number));
            }
        }
        order.sort_by(|one, two| two.0.total_cmp(&one.0));
        for &(_, number) in &order {
            self.draw_figure(&scene.things[number], scene.plan.cell, view);
        }
        self.order = order;
    }

    fn draw_figure(&mut self, thing: &Thing, cell: f32, view: View) {
        let [ahead, right] = seen_from(thing, cell, view);
        let size = thing.figure.size() / cell * self.focal / ahead;
        let left = self.width as f32 / 2.0 + right / ahead * self.focal - size / 2.0;
        let top = self.row_of(thing.figure.size() / cell, ahead, view);
        let columns = round(left).min(self.width)..round(left + size).min(self.width);
        let rows = round(top).min(self.height)..round(top + size).min(self.height);
        let level = thing.figure.texture().level(FIGURE_TEXELS / size);
        let light = light(ahead * cell, 1.0);
        for column in columns {
            let texels = level.column((column as f32 + 0.5 - left) / size);
            let scale = texels.len() as f32 / size;
            let covers = &self.covers[self.begins[column]..self.begins[column + 1]];
            let nearer = covers.iter().rev().find(|cover| cover.depth < ahead);
            let end = nearer.map_or(rows.end, |cover| rows.end.min(cover.row));
            for row in rows.start..end {
                let at = ((row as f32 + 0.5 - top) * scale) as usize;
                let texel = texels[at.min(texels.len() - 1)];
                if texel != 0 {
                    self.pixels[row * self.width + column] = shade(texel, light);
                }
            }
        }
    }

    /// A square where DMLab has it: 48 of 640 columns wide, 12 from the corner.
    fn draw_carried(&mut self, scene: &Scene) {
        let Some(color) = scene.carried else { return };
        let [from, to] = [12, 60].map(|column| column * self.width / 640);
        for row in from..to.min(self.height) {
            self.pixels[row * self.width..][from..to].fill(pack(color));
        }
    }
}

/// A block's face where a ray meets it.
#[derive(Clone, Copy)]
struct Face {
    depth: f32,
    /// Place across the face, from 0 to 1.
    share: f32,
    height: f32,
    surface: Surface,
    axis: usize,
}

/// Steps ahead and to the right to a figure, in cells.
fn seen_from(thing: &Thing, cell: f32, view: View) -> [f32; 2] {
    let away = [0, 1].map(|i| thing.place[i] / cell - view.place[i]);
    [view.front, view.right].map(|way| way[0] * away[0] + way[1] * away[1])
}

/// Light in 256ths at a distance in units.
fn light(distance: f32, side: f32) -> u32 {
    let left = FAR_LIGHT + (1.0 - FAR_LIGHT) * HALF_LIGHT / (HALF_LIGHT + distance);
    (256.0 * side * left) as u32
}

/// The first pixel whose middle is not before a coordinate; what is negative becomes 0.
fn round(coordinate: f32) -> usize {
    (coordinate + 0.5) as usize
}
