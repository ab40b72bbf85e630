//! Vocabulary of Engram: specs of environments ([`spec`]), frames ([`frame`], in [`columns`]),
//! trajectories ([`trajectory`]), reports of finished episodes ([`episode`]) and what they come to
//! ([`score`]), and seeds ([`seed`]).
//!
//! Everything here is plain memory: no tensors, no network. Data that crosses a boundary becomes
//! one of these types once, checked, and is trusted from then on.
//!
//! ```text
//! frame      t:      0        1        2        3        4        5
//!                  First     Mid      Mid     Last     First     Mid     T + 1 = 6 frames
//! decision at t:     a0       a1       a2       –        a4              T = 5 decisions
//! reward after t:    r0       r1       r2       –        r4
//! ```
//!
//! A decision at a Last frame means nothing: its weight in every loss is zero, and the next frame
//! is the First of a new episode.

pub mod spec;

pub mod columns;

pub mod frame;

pub mod trajectory;

pub mod episode;

pub mod score;

pub mod seed;

pub use columns::{Action, Actions, ObservationMut, Observations};
pub use episode::{Episode, Finish};
pub use frame::{Ending, FrameError, Frames, StepType};
pub use score::Score;
pub use seed::{Generator, Seed};
pub use spec::{ActionSpec, Dtype, EnvSpec, ObservationSpec, SpecError};
pub use trajectory::{Decision, StreamId, Trajectory, TrajectoryBuilder, TrajectoryError};
