//! The server as its peers see it, over connections in memory: real policies, plain clients, and a
//! learner that says what it is told to.

#![allow(clippy::unwrap_used)]

mod acting;
mod life;
mod program;
mod refusals;
mod support;
