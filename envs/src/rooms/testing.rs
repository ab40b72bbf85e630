//! Test players of a game: random ones, and some who know what the agent does not see.

use std::collections::{HashMap, VecDeque};

use engram_mdp::{Action, Ending, ObservationMut, Seed};
use rand::RngExt;

use super::game::{Game, Task};
use super::plan::Plan;
use super::surface::Surface;
use super::walker::{ACTIONS, BODY, Walker};
use crate::environment::{Environment, Outcome};

/// A game, and the episode that it is in.
pub(crate) struct Player<T> {
    pub(crate) game: Game<T>,
    pub(crate) image: Vec<u8>,
    pub(crate) steps: u32,
}

impl<T: Task> Player<T> {
    /// A player at the start of its first episode.
    pub(crate) fn new(game: Game<T>) -> Player<T> {
        let image = vec![0; game.spec().observation.len()];
        let mut player = Player { game, image, steps: 0 };
        player.reset();
        player
    }

    fn reset(&mut self) {
        self.game.reset(ObservationMut::U8(&mut self.image));
        self.steps = 0;
    }

    /// One decision. The player is never inside of anything, and never too fast.
    pub(crate) fn step(&mut self, choose: impl Fn(&Game<T>) -> usize) -> Outcome {
        let action = Action::Discrete(choose(&self.game));
        let outcome = self.game.step(action, ObservationMut::U8(&mut self.image));
        self.steps += 1;
        let player = &self.game.scene.player;
        let speed = player.velocity[0].hypot(player.velocity[1]);
        // As in Quake, who turns while running may be a little faster than 320.
        assert!(speed < 400.0 && player.heading.is_finite(), "{player:?}");
        let [column, row] = self.game.scene.plan.cell_of(player.place);
        let floor = self.game.scene.plan.floor(column, row);
        assert_ne!(floor, Surface::Sea, "{player:?} is out of the world");
        let inside = self.game.scene.plan.obstacle(player.place, BODY);
        assert!(inside.is_none(), "{player:?} is inside of {inside:?}");
        outcome
    }

    /// The return and the ending of a new episode.
    pub(crate) fn episode(&mut self, choose: impl Fn(&Game<T>) -> usize) -> (f32, Option<Ending>) {
        self.reset();
        let mut total = 0.0;
        loop {
            let outcome = self.step(&choose);
            total += outcome.reward;
            if outcome.ending.is_some() {
                return (total, outcome.ending);
            }
        }
    }

    /// The same with random actions.
    pub(crate) fn random_episode(&mut self, seed: u64) -> (f32, Option<Ending>) {
        self.reset();
        let mut generator = Seed::new(seed).derive("actions", 0).generator();
        let mut total = 0.0;
        loop {
            let action = generator.random_range(0..ACTIONS);
            let outcome = self.step(|_| action);
            total += outcome.reward;
            if outcome.ending.is_some() {
                return (total, outcome.ending);
            }
        }
    }
}

/// Plays at random, with actions that are held for a while so that the player gets around.
pub(crate) fn wander<T: Task>(game: Game<T>, seed: u64, steps: u32) {
    let mut player = Player::new(game);
    let mut generator = Seed::new(seed).derive("actions", 0).generator();
    let mut held = 0;
    for _ in 0..steps {
        if generator.random_bool(0.15) {
            held = generator.random_range(0..ACTIONS);
        }
        if player.step(|_| held).ending.is_some() {
            player.reset();
        }
    }
}

/// The action that leads to a place in a straight line; who looks further away from it than `slack`
/// degrees stops to turn.
pub(crate) fn steer(player: &Walker, to: [f32; 2], slack: f32) -> usize {
    let [front, right] = player.axes();
    let away = [0, 1].map(|i| to[i] - player.place[i]);
    let [ahead, aside] = [front, right].map(|way| way[0] * away[0] + way[1] * away[1]);
    let angle = aside.atan2(ahead).to_degrees();
    let [walk_left, walk_right, left, right] = [6, 7, 4, 5];
    match angle {
        angle if angle.abs() < 5.0 => 0,
        angle if angle.abs() < slack && angle < 0.0 => walk_left,
        angle if angle.abs() < slack => walk_right,
        angle if angle < 0.0 => left,
        _ => right,
    }
}

/// The middle of the next cell on a shortest way to a cell; that cell may be blocked, and others are
/// avoided.
pub(crate) fn next_on_way(
    plan: &Plan,
    from: [i32; 2],
    to: [i32; 2],
    avoid: &[[i32; 2]],
) -> Option<[f32; 2]> {
    // Backward from the goal, so that the cell before `from` is the next one.
    let mut after = HashMap::from([(to, to)]);
    let mut waiting = VecDeque::from([to]);
    while let Some(cell) = waiting.pop_front() {
        if cell == from {
            let [column, row] = after[&cell].map(|x| x as usize);
            return Some(plan.middle([column, row]));
        }
        for (right, down) in [(1, 0), (0, 1), (-1, 0), (0, -1)] {
            let next = [cell[0] + right, cell[1] + down];
            let free = plan.block(next[0], next[1]).is_none() && !avoid.contains(&next);
            if free && !after.contains_key(&next) {
                after.insert(next, cell);
                waiting.push_back(next);
            }
        }
    }
    None
}

/// Means of pairs.
pub(crate) fn mean(pairs: impl Iterator<Item = (f32, f32)>) -> (f32, f32) {
    let pairs: Vec<_> = pairs.collect();
    let count = pairs.len() as f32;
    let sum = pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    (sum.0 / count, sum.1 / count)
}
