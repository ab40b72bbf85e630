//! Three memory and planning tasks in first-person worlds, after those of DeepMind Lab's DMLab-30 on which R2AC
//! (Irie et al. 2023, <https://arxiv.org/abs/2305.19044>) is trained. The engine is [`crate::rooms`].
//!
//! Rules, rewards, lengths and what is drawn at random are theirs, as far as their level scripts say so. What the
//! engine decides there (where exactly one starts in the water maze, how large its platform is and how often it
//! pays) is decided here, and said at the constants.

pub mod keys_doors;
pub mod nonmatching;
pub mod watermaze;
