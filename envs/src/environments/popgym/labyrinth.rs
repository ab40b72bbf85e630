//! Labyrinth Escape and Labyrinth Explore: a maze, other in every episode, of which a small part is
//! seen. Actions 0 to 3 go left, right, up and down; a wall makes it a step on the spot. An episode
//! is cut off after 1,023 decisions.
//!
//! Escape starts in the outer wall and must find the way out on the other side. Every decision costs
//! 1 / 1,024, and the way out is worth 1. In Explore a new cell is worth 1 / cells that are free (the
//! start is not counted), any other decision costs 1 / 1,024, and the last cell ends the episode.
//!
//! The observation has ten classes of five: nine cells, row by row (free, wall, start, way out; the
//! fifth never occurs), and the last action (left, right, up, down, none). At the upper and the left
//! edge of the maze the view is not centered: rows and columns beyond the maze are left out, and
//! walls are added at its lower and right end.

use engram_mdp::{Action, ActionSpec};

use super::maze::{Cell, Maze, Place};
use super::{Level, World, one_hot};
use crate::canvas::{ACTOR, Canvas, FAINT, GOAL, INK, PAPER, SIGHT, mix};
use crate::chance::Chance;
use crate::environment::Outcome;

const CLASSES: usize = 5;
const NO_ACTION: usize = 4;
/// Cells of a side of the view.
const VIEW: usize = 3;
const MAX_STEPS: u32 = 1023;
const STEP_REWARD: f64 = -1.0 / 1024.0;

/// Labyrinth Escape.
#[derive(Debug)]
pub struct LabyrinthEscape(Walk);

/// Labyrinth Explore.
#[derive(Debug)]
pub struct LabyrinthExplore {
    walk: Walk,
    /// Cells that are free and were not visited.
    left: usize,
    new_cell_reward: f64,
}

/// A maze and who walks in it.
#[derive(Debug)]
struct Walk {
    maze: Maze,
    visited: Vec<bool>,
    place: Place,
    time: u32,
}

impl Walk {
    fn at(level: Level) -> Self {
        let maze = Maze::new(level.of([5, 7, 9]));
        let visited = vec![false; maze.side * maze.side];
        Walk { maze, visited, place: [0, 0], time: 0 }
    }

    fn begin(&mut self, chance: &mut impl Chance) {
        self.maze.build(chance);
        self.place = self.maze.start;
        self.maze.set(self.place, Cell::Start);
        self.visited.fill(false);
        self.visit();
        self.time = 0;
    }

    /// Marks the place as visited. Returns whether it is new.
    fn visit(&mut self) -> bool {
        let [row, column] = self.place;
        let visited = &mut self.visited[row * self.maze.side + column];
        !std::mem::replace(visited, true)
    }

    /// Walks by a cell. Returns whether the place is new.
    fn go(&mut self, action: usize) -> bool {
        let ([row, column], last) = (self.place, self.maze.side - 1);
        let next = match action {
            0 => [row, column.saturating_sub(1)],
            1 => [row, (column + 1).min(last)],
            2 => [row.saturating_sub(1), column],
            _ => [(row + 1).min(last), column],
        };
        if self.maze.at(next) != Cell::Wall {
            self.place = next;
        }
        self.time += 1;
        self.visit()
    }

    fn show(&self, last_action: usize, row: &mut [f32]) {
        let [top, left] = self.place.map(|at| at.saturating_sub(1));
        let [bottom, right] = self.place.map(|at| (at + 1).min(self.maze.side - 1));
        let (view, action) = row.split_at_mut(VIEW * VIEW * CLASSES);
        for (index, block) in view.chunks_exact_mut(CLASSES).enumerate() {
            let [row, column] = [top + index / VIEW, left + index % VIEW];
            let inside = row <= bottom && column <= right;
            let cell = if inside { self.maze.at([row, column]) } else { Cell::Wall };
            one_hot(block, cell as usize);
        }
        one_hot(action, last_action);
    }

    fn render(&self, canvas: &mut Canvas) {
        let grid = canvas.grid(self.maze.side, self.maze.side);
        for row in 0..self.maze.side {
            for column in 0..self.maze.side {
                let visited = self.visited[row * self.maze.side + column];
                let color = match self.maze.at([row, column]) {
                    Cell::Wall => INK,
                    Cell::Goal => GOAL,
                    Cell::Start => SIGHT,
                    Cell::Free if visited => mix(PAPER, SIGHT, 0.25),
                    Cell::Free => FAINT,
                };
                grid.fill(canvas, row as i32, column as i32, color);
            }
        }
        let [row, column] = self.place.map(|at| at as i32);
        canvas.disc(grid.center(row, column), 0.35 * grid.side, ACTOR);
        canvas.timeline(&[MAX_STEPS], self.time);
    }
}

impl World for LabyrinthEscape {
    const NAME: &'static str = "popgym-labyrinth-escape";

    fn at(level: Level) -> Self {
        LabyrinthEscape(Walk::at(level))
    }

    fn width(&self) -> usize {
        (VIEW * VIEW + 1) * CLASSES
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Discrete { count: 4 }
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.0.begin(chance);
        self.0.maze.set(self.0.maze.end, Cell::Goal);
        self.0.show(NO_ACTION, row);
    }

    fn step(&mut self, action: Action<'_>, _chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        self.0.go(action.index());
        self.0.show(action.index(), row);
        match self.success() {
            Some(true) => Outcome::terminated((STEP_REWARD + 1.0) as f32),
            _ => Outcome::until(MAX_STEPS, self.0.time, STEP_REWARD as f32),
        }
    }

    fn success(&self) -> Option<bool> {
        Some(self.0.maze.at(self.0.place) == Cell::Goal)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("find the way out, which is green");
        self.0.render(canvas);
    }
}

impl World for LabyrinthExplore {
    const NAME: &'static str = "popgym-labyrinth-explore";

    fn at(level: Level) -> Self {
        LabyrinthExplore { walk: Walk::at(level), left: 0, new_cell_reward: 0.0 }
    }

    fn width(&self) -> usize {
        (VIEW * VIEW + 1) * CLASSES
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Discrete { count: 4 }
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.walk.begin(chance);
        self.left = self.walk.maze.count(Cell::Free);
        self.new_cell_reward = 1.0 / self.left as f64;
        self.walk.show(NO_ACTION, row);
    }

    fn step(&mut self, action: Action<'_>, _chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        let new = self.walk.go(action.index());
        self.left -= usize::from(new);
        self.walk.show(action.index(), row);
        let reward = if new { self.new_cell_reward } else { STEP_REWARD } as f32;
        match self.left {
            0 => Outcome::terminated(reward),
            _ => Outcome::until(MAX_STEPS, self.walk.time, reward),
        }
    }

    fn success(&self) -> Option<bool> {
        Some(self.left == 0)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(format!("visit every cell; {} are left", self.left));
        self.walk.render(canvas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{self, Player};

    impl Walk {
        /// Keeps a hand at the right wall.
        fn along_the_wall(&self, memory: &mut usize) -> usize {
            const CLOCKWISE: [usize; 4] = [2, 1, 3, 0];
            let at = CLOCKWISE.iter().position(|action| action == memory).unwrap();
            let turned = [1, 0, 3, 2].map(|turn| CLOCKWISE[(at + turn) % 4]);
            let [row, column] = self.place.map(|at| at as i32);
            let free = |&action: &usize| {
                let [row, column] =
                    [[row, column - 1], [row, column + 1], [row - 1, column], [row + 1, column]]
                        [action];
                let inside = 0..self.maze.side as i32;
                inside.contains(&row)
                    && inside.contains(&column)
                    && self.maze.at([row as usize, column as usize]) != Cell::Wall
            };
            let Some(action) = turned.into_iter().find(free) else { return 0 };
            *memory = action;
            action
        }
    }

    impl Player for LabyrinthEscape {
        fn best(&self, memory: &mut usize) -> usize {
            self.0.along_the_wall(memory)
        }
    }

    impl Player for LabyrinthExplore {
        fn best(&self, memory: &mut usize) -> usize {
            self.walk.along_the_wall(memory)
        }
    }

    #[test]
    fn escapes_are_the_packages() {
        goldens::replay::<LabyrinthEscape>();
    }

    #[test]
    fn explorations_are_the_packages() {
        goldens::replay::<LabyrinthExplore>();
    }
}
