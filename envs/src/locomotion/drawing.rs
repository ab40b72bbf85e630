//! Drawing of a robot from its right side, a little from above.
//!
//! What is farther away is drawn higher and to the right, and before what is nearer. The camera
//! follows the torso; lines across the floor are a meter apart, every fifth is thick.

use rapier3d::math::Vector;

use super::body::Body;
use super::robot::{Robot, Side};
use crate::canvas::{ACTOR, Canvas, Color, FAINT, GOAL, INK, PAPER, mix};

/// Meters that the picture shows upwards.
const HEIGHT: f32 = 2.0;
/// Steps to the right, and up, of what is a meter farther away.
const DEPTH: [f32; 2] = [0.35, 0.22];
/// Half the width of the floor, in meters.
const FLOOR: f32 = 0.9;

/// The picture's frame.
struct Camera {
    x: f32,
    /// Pixels of a meter.
    scale: f32,
    /// The pixel of the origin of x and z, at the camera's x.
    origin: [f32; 2],
}

/// A line with round ends, and how far away it is.
struct Stroke {
    ends: [[f32; 2]; 2],
    thickness: f32,
    depth: f32,
    color: Color,
}

/// Draws the robot on its floor, and an arrow where it shall go: meters along x and y.
pub(super) fn draw(canvas: &mut Canvas, robot: &Robot, body: &Body, arrow: Option<[f32; 2]>) {
    canvas.set_caption(robot.caption);
    let area = canvas.area();
    let scale = area.height / (HEIGHT + 2.0 * FLOOR * DEPTH[1]);
    let camera = Camera {
        x: body.seen().torso.translation.x,
        scale,
        origin: [area.width / 2.0, area.height - FLOOR * DEPTH[1] * scale],
    };
    draw_floor(canvas, &camera, area.width);
    let mut strokes = Vec::new();
    for (link, shape, ends) in body.shapes(robot) {
        let thickness = 2.0 * shape.radius() * camera.scale;
        let [from, to] = ends.map(|end| camera.place(end * Vector::new(1.0, 1.0, 0.0)));
        canvas.line(from, to, 0.6 * thickness, mix(FAINT, INK, 0.25));
        // Limbs of one plane: the far ones come first, the torso last.
        let far = link.checked_sub(1).map(|limb| robot.limbs[limb].side == Side::Far);
        let order = far.map_or(-1e-3, |far| if far { 1e-3 } else { 0.0 });
        let depth = (ends[0].y + ends[1].y) / 2.0 + order;
        let ends = ends.map(|end| camera.place(end));
        strokes.push(Stroke { ends, thickness, depth, color: color(robot, link) });
    }
    if let Some([x, y]) = arrow {
        draw_arrow(canvas, &camera, Vector::new(x, y, 0.0));
    }
    strokes.sort_by(|a, b| b.depth.total_cmp(&a.depth));
    for Stroke { ends: [from, to], thickness, color, .. } in strokes {
        canvas.line(from, to, thickness, mix(color, INK, 0.45));
        canvas.line(from, to, thickness - 3.0, color);
    }
}

/// Links take turns in shade; those on the far side are pale.
fn color(robot: &Robot, link: usize) -> Color {
    let Some(limb) = link.checked_sub(1) else {
        return ACTOR;
    };
    let shade = mix(ACTOR, INK, if limb % 2 == 0 { 0.3 } else { 0.1 });
    mix(shade, PAPER, if robot.limbs[limb].side == Side::Far { 0.55 } else { 0.0 })
}

/// An arrow on the floor, away from below the camera.
fn draw_arrow(canvas: &mut Canvas, camera: &Camera, arrow: Vector) {
    let start = Vector::new(camera.x, 0.0, 0.0);
    let tip = camera.place(start + arrow);
    canvas.line(camera.place(start + arrow * 0.3), tip, 5.0, GOAL);
    let side = Vector::new(-arrow.y, arrow.x, 0.0) * 0.15;
    for side in [side, -side] {
        canvas.line(tip, camera.place(start + arrow * 0.75 + side), 5.0, GOAL);
    }
}

fn draw_floor(canvas: &mut Canvas, camera: &Camera, width: f32) {
    let [far, near] = [FLOOR, -FLOOR].map(|y| camera.place(Vector::new(camera.x, y, 0.0))[1]);
    canvas.rectangle([0.0, far], [width, near - far], FAINT);
    canvas.line([0.0, far], [width, far], 2.0, mix(FAINT, INK, 0.5));
    let reach = (width / camera.scale / 2.0 + 1.0).ceil();
    let (first, last) = ((camera.x - reach).floor() as i32, (camera.x + reach).ceil() as i32);
    for meter in first..=last {
        let [from, to] = [-FLOOR, FLOOR].map(|y| camera.place(Vector::new(meter as f32, y, 0.0)));
        let thickness = if meter % 5 == 0 { 4.0 } else { 1.5 };
        canvas.line(from, to, thickness, mix(FAINT, INK, 0.3));
    }
}

impl Camera {
    fn place(&self, point: Vector) -> [f32; 2] {
        let (right, up) = (point.x - self.x + DEPTH[0] * point.y, point.z + DEPTH[1] * point.y);
        [self.origin[0] + right * self.scale, self.origin[1] - up * self.scale]
    }
}
