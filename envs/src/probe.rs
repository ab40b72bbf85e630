//! Probe environments: each is so small that an agent which fails it fails for one reason.
//!
//! | environment | an agent that fails it |
//! |---|---|
//! | [`counting`] | loses, doubles or reorders frames |
//! | [`bandit`] | cannot tell a good action from a bad one |
//! | [`delayed_reward`] | does not carry a reward back over time |
//! | [`truncation`] | takes a time limit for a terminal state |
//! | [`recall`] | does not remember |

pub mod counting;

pub mod bandit;

pub mod delayed_reward;

pub mod truncation;

pub mod recall;
