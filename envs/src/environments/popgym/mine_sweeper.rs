//! MineSweeper: open all cells that hold no mine, on a board that is never seen. A new cell is worth
//! 1 / free cells. A cell that is open already costs 0.5 / (free cells - 2). A mine costs
//! 0.5 + 1 / free cells, and ends the episode. There are as many decisions as free cells.
//!
//! The observation is the number of mines at the cell and its eight neighbors. It counts up to all
//! mines, or to 9.

use engram_mdp::{Action, ActionSpec};

use super::{Level, World, one_hot};
use crate::canvas::{ACTOR, Canvas, FAINT, INK, PAPER, SIGHT, mix};
use crate::chance::Chance;
use crate::environment::Outcome;

/// MineSweeper.
#[derive(Debug)]
pub struct MineSweeper {
    side: usize,
    mines: usize,
    cells: Vec<Cell>,
    /// Cells in the order in which mines are drawn from them.
    order: Vec<u8>,
    viewed: u32,
    exploded: bool,
    time: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Clear,
    Mine,
    Viewed,
}

impl MineSweeper {
    /// Cells without a mine, and decisions of an episode.
    fn free(&self) -> u32 {
        (self.cells.len() - self.mines) as u32
    }

    /// Mines at a cell and its neighbors.
    fn mines_near(&self, cell: usize) -> usize {
        let near = |at: usize| at.saturating_sub(1)..(at + 2).min(self.side);
        let (row, column) = (cell / self.side, cell % self.side);
        let cells = near(row).flat_map(|row| near(column).map(move |column| (row, column)));
        cells.filter(|&(row, column)| self.cells[row * self.side + column] == Cell::Mine).count()
    }
}

impl World for MineSweeper {
    const NAME: &'static str = "popgym-mine-sweeper";

    fn at(level: Level) -> Self {
        let (side, mines) = level.of([(4, 2), (6, 6), (8, 10)]);
        MineSweeper {
            side,
            mines,
            cells: vec![Cell::Clear; side * side],
            order: (0..(side * side) as u8).collect(),
            viewed: 0,
            exploded: false,
            time: 0,
        }
    }

    fn width(&self) -> usize {
        (self.mines + 1).min(10)
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Discrete { count: self.cells.len() }
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.cells.fill(Cell::Clear);
        self.order.iter_mut().zip(0..).for_each(|(cell, number)| *cell = number);
        for drawn in 0..self.mines {
            let from = drawn + chance.below(self.order.len() - drawn);
            self.order.swap(drawn, from);
            self.cells[usize::from(self.order[drawn])] = Cell::Mine;
        }
        (self.viewed, self.exploded, self.time) = (0, false, 0);
        one_hot(row, 0);
    }

    fn step(&mut self, action: Action<'_>, _chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        let cell = action.index();
        let success = 1.0 / f64::from(self.free());
        let reward = match self.cells[cell] {
            Cell::Mine => {
                self.exploded = true;
                -0.5 - success
            }
            Cell::Viewed => -0.5 / f64::from(self.free() - 2),
            Cell::Clear => {
                self.cells[cell] = Cell::Viewed;
                self.viewed += 1;
                success
            }
        } as f32;
        self.time += 1;
        one_hot(row, self.mines_near(cell));
        if self.exploded || self.viewed == self.free() {
            Outcome::terminated(reward)
        } else {
            Outcome::until(self.free(), self.time, reward)
        }
    }

    fn success(&self) -> Option<bool> {
        Some(!self.exploded && self.viewed == self.free())
    }

    fn render(&self, canvas: &mut Canvas) {
        let caption = format!("{} of {} free cells are open", self.viewed, self.free());
        canvas.set_caption(if self.exploded { "a mine exploded".into() } else { caption });
        let grid = canvas.grid(self.side, self.side);
        for cell in 0..self.cells.len() {
            let (row, column) = ((cell / self.side) as i32, (cell % self.side) as i32);
            let color = match self.cells[cell] {
                Cell::Viewed => mix(PAPER, SIGHT, 0.15 + 0.2 * self.mines_near(cell) as f32),
                _ => FAINT,
            };
            grid.fill(canvas, row, column, color);
            if self.cells[cell] == Cell::Mine {
                let color = if self.exploded { ACTOR } else { INK };
                canvas.disc(grid.center(row, column), 0.25 * grid.side, color);
            }
        }
        canvas.timeline(&[self.free()], self.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{self, Player};

    impl Player for MineSweeper {
        fn best(&self, _memory: &mut usize) -> usize {
            self.cells.iter().position(|&cell| cell == Cell::Clear).unwrap()
        }
    }

    #[test]
    fn episodes_are_the_packages() {
        goldens::replay::<MineSweeper>();
    }
}
