//! Engine of first-person worlds, and of their episodes: rooms with textured walls and floors, seen by a player who
//! walks and turns.
//!
//! After DeepMind Lab (Beattie et al. 2016, <https://arxiv.org/abs/1612.03801>): its nine actions as
//! IMPALA and R2AC use them, its player's movement, 90 degrees of sight, 60 frames a second of which a
//! decision takes four. Lengths are in its units: a player is 30 wide, sees from a height of 50, runs 320 in
//! a second. Worlds, textures and pictures are this project's own.
//!
//! In reading order:
//!
//! | file | question |
//! |---|---|
//! | `rooms/game.rs` | how does an episode go? |
//! | `rooms/walker.rs` | where does an action lead? |
//! | `rooms/scene.rs`, `rooms/plan.rs` | what is there? |
//! | `rooms/camera.rs` | what of it is seen? |
//! | `rooms/texture.rs`, `rooms/surface.rs`, `rooms/figure.rs` | what does it look like? |
//! | `rooms/drawing.rs` | how is it shown to people? |
//!
//! A game is a `Task`: its world and its rules. They are in [`environments::rooms`](crate::environments::rooms).

mod camera;
mod drawing;
mod figure;
mod game;
mod plan;
mod scene;
mod surface;
#[cfg(test)]
pub(crate) mod testing;
mod texture;
#[cfg(test)]
mod views;
mod walker;

pub(crate) use figure::{Figure, OBJECTS};
pub(crate) use game::{Event, Game, GameSettings, Task};
pub(crate) use plan::{Block, Plan};
pub(crate) use scene::{Mark, Scene, Thing};
pub(crate) use surface::{DOORS, Surface};
pub(crate) use walker::{BODY, FRAMES_PER_SECOND, REACH, Walker};
