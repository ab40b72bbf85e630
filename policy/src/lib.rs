//! Networks: from what an agent sees to what it does.
//!
//! ```text
//! observation ──▶ torso ──▶ embedder ─┐
//! previous action ────────▶ embedder ─┼─▶ memory ──▶ heads ──▶ distribution of actions, value
//! previous reward ────────▶ embedder ─┘    ▲ │
//!                                core state └─┘
//! ```
//!
//! In reading order: [`config`] is the `[seq]` part of an experiment; [`policy`] is the whole
//! network, and [`unroll_context`] how its gradients reach back before an unroll; [`inputs`] is
//! what it is fed, and `resets` where episodes begin in it; the `encoder` (a `torso`, and
//! `embedders` of all inputs), [`memory`] (one file per layer) and [`heads`] are its parts,
//! [`distribution`] what comes out, [`exploration`] how it is acted upon, [`state`] what is
//! remembered between steps, [`carry`] what learners keep between unrolls, and [`slots`] a table of
//! either. [`batch`] turns trajectories into tensors, `weights` a policy into bytes that describe
//! themselves, and `parts` names some of them. [`device`] finds the accelerator,
//! [`parity`] compares it with the CPU, `parameters` holds
//! the trainable tensors, `random` makes the numbers that they start from, and `range` bounds
//! settings. `python/engram_policy.py` is all of it in PyTorch.
//!
//! Shapes are time-major: T time, B batch, O observation, D features, H hidden, A action. Wrong
//! shapes are bugs and panic; wrong files and configurations are [`PolicyError`]s.
//!
//! Adding a memory layer: `docs/guide/own-memory-layer.md`.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
mod error;
mod initialization;

pub mod policy;
pub mod unroll_context;

pub mod inputs;
mod resets;

mod encoder;
pub mod heads;
pub mod memory;

mod embedders;
mod torso;

pub mod acting;
pub mod carry;
pub mod distribution;
pub mod exploration;
pub mod slots;
pub mod state;

pub mod batch;
mod weights;

mod parts;

pub mod device;

pub mod parity;

mod bf16;
mod mlp;
mod normalize;
mod observation_stack;
mod parameters;
mod random;
mod range;

pub use batch::Batch;
pub use carry::Carry;
pub use config::{
    Activation, CnnOutput, Convolution, EmbedConfig, HeadConfig, HeadInit, MemoryInput,
    PolicyConfig, SkipConfig, TorsoConfig,
};
pub use device::{Device, DeviceError};
pub use distribution::Distribution;
pub use error::PolicyError;
pub use exploration::Exploration;
pub use heads::{ActionValues, Outputs, Returns, Values, VectorSpread};
pub use initialization::Initialization;
pub use inputs::Inputs;
pub use memory::MemoryConfig;
pub use memory::gpt2::Positions;
pub use memory::rtrl::Gradient;
pub use normalize::Norm;
pub use policy::{Policy, PolicyOutput, Unrolled};
pub use resets::Resets;
pub use slots::StateTable;
pub use state::{Batched, CoreState};
pub use unroll_context::UnrollContext;
pub use weights::{Loaded, Snapshot};
