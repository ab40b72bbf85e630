//! Finding the way where the goal is hidden: cars between heaven and hell, a water maze, wind.
//!
//! | environment | hidden | after |
//! |---|---|---|
//! | `car-heaven-hell` | the side of heaven; a priest tells it | Yang & Nguyen 2021 |
//! | `car-heaven-hell-top`, `car-heaven-hell-relative` | the same, by jumps | Yang & Nguyen 2021 |
//! | `water-maze` | a platform | Yang & Nguyen 2021 |
//! | `wind` | a wind that blows all the time | RESeL (Luo et al. 2024) |
//!
//! Yang & Nguyen 2021: <https://arxiv.org/abs/2110.12628>; Luo et al. 2024:
//! <https://arxiv.org/abs/2405.15384>.

pub mod car;
pub mod car_jumps;
pub mod water_maze;
pub mod wind;

mod road;
