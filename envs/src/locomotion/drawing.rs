//! Drawing of a robot from the side.

use crate::canvas::{ACTOR, Canvas, INK, PAPER, mix};

use super::body::Body;
use super::robot::{Robot, Side};

/// Draws the robot on its floor; the camera follows the torso.
pub(super) fn draw(canvas: &mut Canvas, robot: &Robot, body: &Body) {
    canvas.set_caption(robot.caption);
    let area = canvas.area();
    // Two meters high; the marks on the floor are a meter apart.
    let scale = 0.85 * area.height / 2.0;
    let floor = 0.9 * area.height;
    let camera = body.seen().torso.translation.x;
    let place = |x: f32, z: f32| [area.width / 2.0 + (x - camera) * scale, floor - z * scale];
    canvas.line([0.0, floor + 2.0], [area.width, floor + 2.0], 3.0, INK);
    let reach = (area.width / scale / 2.0).ceil() as i32;
    for meter in -reach..=reach {
        let [x, _] = place(camera.floor() + meter as f32, 0.0);
        canvas.line([x, floor + 2.0], [x, floor + 10.0], 2.0, INK);
    }
    for (link, shape, [from, to]) in body.shapes(robot) {
        let far = link > 0 && robot.limbs[link - 1].side == Side::Far;
        let color = mix(ACTOR, INK, if link % 2 == 0 { 0.0 } else { 0.35 });
        let color = mix(color, PAPER, if far { 0.5 } else { 0.0 });
        canvas.line(place(from.x, from.z), place(to.x, to.z), 2.0 * shape.radius() * scale, color);
    }
}
