//! Grid worlds by the rules of MiniGrid 3 (Chevalier-Boisvert et al. 2023,
//! <https://arxiv.org/abs/2306.13831>): who acts turns, walks, and sees the 7 × 7 cells in front.
//!
//! In reading order: `minigrid/grid.rs` holds cells and the view; then the worlds, one file each.

mod grid;
pub mod memory;
