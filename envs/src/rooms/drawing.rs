//! A game for people: what the player sees, and beside it the world from above.

use super::camera::Camera;
use super::scene::{Mark, Scene};
use super::texture::lit;
use super::walker::BODY;
use crate::canvas::{ACTOR, Area, Canvas, INK, SIGHT};

/// Share of the width that the picture takes, and pixels between it and the map.
const PICTURE: f32 = 0.58;
const GAP: f32 = 8.0;

/// Draws a scene; `aspect` is the height of the player's picture as a share of its width.
pub(super) fn draw(scene: &Scene, marks: &[Mark], aspect: f32, canvas: &mut Canvas) {
    let area = canvas.area();
    let width = (PICTURE * (area.width - GAP)).floor().min((area.height / aspect).floor());
    let height = (width * aspect).floor();
    let top = area.top + ((area.height - height) / 2.0).floor();
    draw_picture(scene, [0.0, top], [width, height], canvas);
    let left = area.left + width + GAP;
    let map = Area { left, top: area.top, width: area.width - width - GAP, height: area.height };
    draw_map(scene, marks, map, canvas);
}

fn draw_picture(
    scene: &Scene,
    [left, top]: [f32; 2],
    [width, height]: [f32; 2],
    canvas: &mut Canvas,
) {
    let (columns, rows) = (width as usize, height as usize);
    if columns < 2 || rows < 2 {
        return;
    }
    let mut camera = Camera::new(columns, rows);
    camera.look(scene);
    let mut picture = Canvas::new(columns, rows);
    for row in 0..rows {
        let line = &mut picture.pixels_mut()[3 * row * columns..][..3 * columns];
        for (pixel, color) in line.chunks_exact_mut(3).zip(camera.row(row)) {
            pixel.copy_from_slice(&color);
        }
    }
    canvas.paste(&picture, left as usize, top as usize);
}

fn draw_map(scene: &Scene, marks: &[Mark], area: Area, canvas: &mut Canvas) {
    let plan = &scene.plan;
    let side = (area.width / plan.columns as f32).min(area.height / plan.rows as f32);
    let left = area.left + (area.width - side * plan.columns as f32) / 2.0;
    let top = area.top + (area.height - side * plan.rows as f32) / 2.0;
    let scale = side / plan.cell;
    let at = |[x, y]: [f32; 2]| [left + scale * x, top + scale * y];
    for row in 0..plan.rows {
        for column in 0..plan.columns {
            let block = plan.block(column as i32, row as i32);
            let floor = plan.floor(column as i32, row as i32);
            let surface = block.map_or(floor, |block| block.surface);
            let light = if block.is_some() { 0.8 } else { 1.25 };
            let corner = at([column as f32 * plan.cell, row as f32 * plan.cell]);
            canvas.rectangle(corner, [side; 2], lit(surface.color(), light));
        }
    }
    for mark in marks {
        canvas.disc(at(mark.place), scale * mark.radius, mark.color);
    }
    for thing in &scene.things {
        let radius = (0.3 * scale * thing.figure.size()).max(2.5);
        canvas.disc(at(thing.place), radius + 1.0, INK);
        canvas.disc(at(thing.place), radius, thing.figure.color());
    }
    let [front, right] = scene.player.axes();
    let player = at(scene.player.place);
    let ray = |aside: f32| [0, 1].map(|i| player[i] + 0.9 * side * (front[i] + aside * right[i]));
    canvas.line(player, ray(-1.0), 1.0, SIGHT);
    canvas.line(player, ray(1.0), 1.0, SIGHT);
    canvas.disc(player, (1.6 * scale * BODY).max(3.0), ACTOR);
}
