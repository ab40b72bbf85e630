//! Battleship: shoot at the cells of a board that is never seen, until four ships of 2, 3, 3 and 4
//! cells are sunk. A hit is worth 1 / 12. A miss, and a cell that was shot at before, costs 1 / cells
//! that are no ship. There are as many shots as cells. The observation is `[miss, hit]`.

use engram_mdp::{Action, ActionSpec};

use super::{Level, World, one_hot};
use crate::canvas::{ACTOR, Canvas, FAINT, GOAL, INK, mix};
use crate::chance::Chance;
use crate::environment::Outcome;

const SHIPS: [usize; 4] = [2, 3, 3, 4];
const SHIP_CELLS: u32 = 12;

/// Battleship.
#[derive(Debug)]
pub struct Battleship {
    side: usize,
    /// Cells of ships, row by row.
    ships: Vec<bool>,
    shot: Vec<bool>,
    hits: u32,
    time: u32,
}

impl Battleship {
    fn max_steps(&self) -> u32 {
        self.ships.len() as u32
    }

    /// Draws an end and a direction until the ship lies on the board and on no other ship.
    fn place(&mut self, length: usize, chance: &mut impl Chance) {
        loop {
            let mut start = [chance.below(self.side), chance.below(self.side)];
            let axis = chance.below(2);
            let backwards = chance.below(2) == 1;
            if backwards {
                let Some(moved) = start[axis].checked_sub(length - 1) else { continue };
                start[axis] = moved;
            } else if start[axis] + length > self.side {
                continue;
            }
            let stride = if axis == 0 { self.side } else { 1 };
            let first = start[0] * self.side + start[1];
            let mut cells = (0..length).map(|cell| first + cell * stride);
            if cells.clone().any(|cell| self.ships[cell]) {
                continue;
            }
            return cells.by_ref().for_each(|cell| self.ships[cell] = true);
        }
    }
}

impl World for Battleship {
    const NAME: &'static str = "popgym-battleship";

    fn at(level: Level) -> Self {
        let side = level.of([8, 10, 12]);
        let empty = vec![false; side * side];
        Battleship { side, ships: empty.clone(), shot: empty, hits: 0, time: 0 }
    }

    fn width(&self) -> usize {
        2
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Discrete { count: self.ships.len() }
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.ships.fill(false);
        self.shot.fill(false);
        (self.hits, self.time) = (0, 0);
        SHIPS.into_iter().for_each(|length| self.place(length, chance));
        one_hot(row, 0);
    }

    fn step(&mut self, action: Action<'_>, _chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        let cell = action.index();
        let hit = self.ships[cell] && !self.shot[cell];
        self.shot[cell] = true;
        self.hits += u32::from(hit);
        self.time += 1;
        one_hot(row, usize::from(hit));
        let reward = if hit {
            1.0 / f64::from(SHIP_CELLS)
        } else {
            -1.0 / f64::from(self.max_steps() - SHIP_CELLS)
        } as f32;
        match self.success() {
            Some(true) => Outcome::terminated(reward),
            _ => Outcome::until(self.max_steps(), self.time, reward),
        }
    }

    fn success(&self) -> Option<bool> {
        Some(self.hits == SHIP_CELLS)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(format!("{} of {SHIP_CELLS} cells of ships were hit", self.hits));
        let grid = canvas.grid(self.side, self.side);
        for cell in 0..self.ships.len() {
            let (row, column) = ((cell / self.side) as i32, (cell % self.side) as i32);
            let color = match (self.ships[cell], self.shot[cell]) {
                (true, true) => GOAL,
                (true, false) => mix(FAINT, INK, 0.5),
                (false, _) => FAINT,
            };
            grid.fill(canvas, row, column, color);
            if self.shot[cell] && !self.ships[cell] {
                canvas.disc(grid.center(row, column), 0.15 * grid.side, ACTOR);
            }
        }
        canvas.timeline(&[self.max_steps()], self.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{self, Player};

    impl Player for Battleship {
        fn best(&self, _memory: &mut usize) -> usize {
            (0..self.ships.len()).find(|&cell| self.ships[cell] && !self.shot[cell]).unwrap()
        }
    }

    #[test]
    fn episodes_are_the_packages() {
        goldens::replay::<Battleship>();
    }
}
