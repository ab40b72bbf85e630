//! The player: DMLab's nine actions, and how it walks, turns and bumps into things.
//!
//! DMLab moves players as Quake III does, 60 times a second: first friction takes
//! `max(speed, 100) × 6` units per second from the speed, then the player gains up to `10 × 320` in the
//! direction it wants to go, up to 320. Its body is a square of 30 units, which slides along what it meets.
//! Units are Quake's throughout, seconds, and degrees clockwise from east as seen from above; `y`
//! grows to the south.

use engram_mdp::Generator;
use rand::RngExt;

use super::plan::Plan;

/// Actions of DMLab as IMPALA chose them (Espeholt et al. 2018, table D.2): forward, backward, strafe
/// left and right, look left and right, both of these while walking, and fire, which does nothing
/// here.
pub(crate) const ACTIONS: usize = 9;
/// Frames of the world per decision.
pub(crate) const ACTION_REPEAT: u32 = 4;
/// Frames of the world per second.
pub(crate) const FRAMES_PER_SECOND: f32 = 60.0;
/// Degrees of a turn in one frame: by 20 of DMLab's pixels, of which 57 a frame are a full turn per second.
const TURN: f32 = 20.0 * 360.0 / (57.0 * FRAMES_PER_SECOND);
/// Half the side of the body.
pub(crate) const BODY: f32 = 15.0;
/// Distance from a thing's middle at which players take it; Quake III takes it within a square of
/// about this half side.
pub(crate) const REACH: f32 = 45.0;
/// The eyes' height above the floor.
pub(crate) const EYES: f32 = 50.0;

const TOP_SPEED: f32 = 320.0;
const STOP_SPEED: f32 = 100.0;
const FRICTION: f32 = 6.0;
const ACCELERATION: f32 = 10.0;
/// Players are put down looking up to this many degrees beside the way they should look.
const SPREAD: f32 = 10.0;
/// Distance that is kept to what was bumped into, so that rounding never puts the body inside.
const SKIN: f32 = 0.03;

/// Wish of an action: steps forward and to the right, turns to the right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wish {
    forward: f32,
    right: f32,
    turn: f32,
}

impl Wish {
    pub(crate) fn of(action: usize) -> Wish {
        let (forward, right, turn) = match action {
            0 => (1.0, 0.0, 0.0),
            1 => (-1.0, 0.0, 0.0),
            2 => (0.0, -1.0, 0.0),
            3 => (0.0, 1.0, 0.0),
            4 => (0.0, 0.0, -1.0),
            5 => (0.0, 0.0, 1.0),
            6 => (1.0, 0.0, -1.0),
            7 => (1.0, 0.0, 1.0),
            _ => (0.0, 0.0, 0.0),
        };
        Wish { forward, right, turn }
    }
}

/// The player's body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Walker {
    pub(crate) place: [f32; 2],
    pub(crate) velocity: [f32; 2],
    /// Direction in which it looks, in degrees.
    pub(crate) heading: f32,
}

impl Walker {
    pub(crate) fn new(place: [f32; 2], heading: f32) -> Walker {
        Walker { place, velocity: [0.0; 2], heading }
    }

    /// A player at rest that looks about where it should.
    pub(crate) fn spread(place: [f32; 2], heading: f32, generator: &mut Generator) -> Walker {
        Walker::new(place, heading + generator.random_range(-SPREAD..SPREAD))
    }

    /// Unit vectors to the front and to the right.
    pub(crate) fn axes(&self) -> [[f32; 2]; 2] {
        // In double precision, so that every machine rounds to the same numbers.
        let (sin, cos) = f64::from(self.heading).to_radians().sin_cos();
        let (sin, cos) = (sin as f32, cos as f32);
        [[cos, sin], [-sin, cos]]
    }

    /// One frame.
    pub(crate) fn walk(&mut self, wish: Wish, plan: &Plan) {
        self.heading = (self.heading + TURN * wish.turn).rem_euclid(360.0);
        self.slow_down();
        let [front, right] = self.axes();
        let direction = [0, 1].map(|i| wish.forward * front[i] + wish.right * right[i]);
        self.speed_up(direction);
        for axis in 0..2 {
            self.advance(axis, plan);
        }
    }

    fn slow_down(&mut self) {
        let speed = self.velocity[0].hypot(self.velocity[1]);
        let lost = speed.max(STOP_SPEED) * FRICTION / FRAMES_PER_SECOND;
        let left = if speed < 1.0 { 0.0 } else { (speed - lost).max(0.0) / speed };
        self.velocity = self.velocity.map(|speed| speed * left);
    }

    /// Accelerates in a direction of length 1, or 0 for none.
    fn speed_up(&mut self, direction: [f32; 2]) {
        let wanted = TOP_SPEED * direction[0].hypot(direction[1]);
        let along = self.velocity[0] * direction[0] + self.velocity[1] * direction[1];
        let gain = (wanted - along).clamp(0.0, ACCELERATION * wanted / FRAMES_PER_SECOND);
        self.velocity = [0, 1].map(|axis| self.velocity[axis] + gain * direction[axis]);
    }

    /// Moves along one axis, as far as nothing is in the way.
    fn advance(&mut self, axis: usize, plan: &Plan) {
        let step = self.velocity[axis] / FRAMES_PER_SECOND;
        let mut to = self.place;
        to[axis] += step;
        let Some(obstacle) = plan.obstacle(to, BODY) else {
            self.place = to;
            return;
        };
        // Up to its edge, which is less than a frame's way from here.
        let edge = if step > 0.0 {
            obstacle[axis][0] - BODY - SKIN
        } else {
            obstacle[axis][1] + BODY + SKIN
        };
        to[axis] = edge;
        self.velocity[axis] = 0.0;
        if plan.obstacle(to, BODY).is_none() && (edge - self.place[axis]).abs() <= step.abs() + SKIN
        {
            self.place = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::surface::Surface;

    fn yard() -> Plan {
        Plan::yard(9, 7, 100.0, Surface::Brick, Surface::GrayTiles)
    }

    fn walked(from: Walker, action: usize, frames: u32) -> Walker {
        let (mut walker, plan) = (from, yard());
        (0..frames).for_each(|_| walker.walk(Wish::of(action), &plan));
        walker
    }

    #[test]
    fn actions_lead_where_they_say() {
        let start = Walker::new([450.0, 350.0], 0.0);
        let moved = |action: usize| {
            let walker = walked(start, action, 4);
            ([0, 1].map(|i| walker.place[i] - start.place[i]), walker.heading)
        };
        // Looking east, the north is on the left, where y is smaller.
        assert!(moved(0).0[0] > 5.0 && moved(0).0[1].abs() < 1e-3);
        assert!(moved(1).0[0] < -5.0);
        assert!(moved(2).0[1] < -5.0 && moved(2).0[0].abs() < 1e-3, "left is north");
        assert!(moved(3).0[1] > 5.0, "right is south");
        assert!((moved(4).1 - (360.0 - 8.421)).abs() < 0.01, "{:?}", moved(4));
        assert!((moved(5).1 - 8.421).abs() < 0.01, "four frames of 20 pixels");
        assert!(moved(6).0[1] < 0.0 && moved(7).0[1] > 0.0, "walking in a bow");
        assert_eq!(moved(8), ([0.0; 2], 0.0));
    }

    #[test]
    fn speed_grows_to_320_within_a_few_frames_and_dies_away() {
        let start = Walker::new([200.0, 350.0], 0.0);
        assert!((walked(start, 0, 1).velocity[0] - 320.0 * 10.0 / 60.0).abs() < 0.01);
        assert!((walked(start, 0, 30).velocity[0] - 320.0).abs() < 0.01);
        let stopped = walked(walked(start, 0, 30), 8, 40);
        assert_eq!(stopped.velocity, [0.0; 2]);
        assert!(
            stopped.place[0] > walked(start, 0, 30).place[0] + 30.0,
            "it slides on for a while"
        );
    }

    #[test]
    fn walls_stop_the_body_at_their_face_and_let_it_slide() {
        let ahead = walked(Walker::new([700.0, 350.0], 0.0), 0, 60);
        assert!((ahead.place[0] - (800.0 - BODY)).abs() < 0.1, "{ahead:?}");
        assert_eq!(ahead.velocity[0], 0.0);
        let slanting = walked(Walker::new([700.0, 250.0], 45.0), 0, 40);
        assert!((slanting.place[0] - (800.0 - BODY)).abs() < 0.1);
        assert!(slanting.place[1] > 380.0, "{slanting:?} goes on along the wall");
    }
}
