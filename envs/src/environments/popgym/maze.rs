//! Maze of walls one cell thick, made by Hunt-and-Kill as `mazelib` does it: walks through cells that
//! were not visited yet, each from a random visited cell until it is stuck, one more walk than the
//! grid has cells. A cell that no walk came to stays a wall.

use crate::chance::Chance;

/// Content of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cell {
    Free,
    Wall,
    Start,
    Goal,
}

/// Row and column.
pub(crate) type Place = [usize; 2];

/// Square maze with its two entrances on opposite sides.
#[derive(Clone, Debug)]
pub(crate) struct Maze {
    /// Cells of a side, walls among them: an odd number.
    pub(crate) side: usize,
    cells: Vec<Cell>,
    pub(crate) start: Place,
    pub(crate) end: Place,
}

impl Maze {
    /// A maze of `halls` × `halls` cells and the walls around them.
    pub(crate) fn new(halls: usize) -> Self {
        let side = 2 * halls + 1;
        Maze { side, cells: vec![Cell::Wall; side * side], start: [0, 0], end: [0, 0] }
    }

    pub(crate) fn at(&self, [row, column]: Place) -> Cell {
        self.cells[row * self.side + column]
    }

    pub(crate) fn set(&mut self, [row, column]: Place, cell: Cell) {
        self.cells[row * self.side + column] = cell;
    }

    /// Number of cells of a kind.
    pub(crate) fn count(&self, kind: Cell) -> usize {
        self.cells.iter().filter(|&&cell| cell == kind).count()
    }

    /// Builds another maze. The start and the end lie in the outer wall; neither is marked.
    pub(crate) fn build(&mut self, chance: &mut impl Chance) {
        self.cells.fill(Cell::Wall);
        let first = [self.hall(chance), self.hall(chance)];
        self.set(first, Cell::Free);
        self.walk(first, chance);
        for _ in 0..self.cells.len() {
            let from = [self.hall(chance), self.hall(chance)];
            if self.at(from) == Cell::Free {
                self.walk(from, chance);
            }
        }
        let (side, last) = (chance.below(4), self.side - 1);
        let (from, to) = (self.hall(chance), self.hall(chance));
        (self.start, self.end) = match side {
            0 => ([0, from], [last, to]),
            1 => ([last, from], [0, to]),
            2 => ([from, 0], [to, last]),
            _ => ([from, last], [to, 0]),
        };
    }

    /// A random row or column of halls.
    fn hall(&self, chance: &mut impl Chance) -> usize {
        1 + 2 * chance.below(self.side / 2)
    }

    /// Walks at random from hall to hall, through walls to those that were not visited yet.
    fn walk(&mut self, mut here: Place, chance: &mut impl Chance) {
        loop {
            let (choices, count) = self.unvisited(here);
            if count == 0 {
                return;
            }
            let next = choices[chance.below(count)];
            self.set(next, Cell::Free);
            self.set([0, 1].map(|axis| usize::midpoint(here[axis], next[axis])), Cell::Free);
            here = next;
        }
    }

    /// Halls next to one that were not visited yet, and their number.
    fn unvisited(&self, [row, column]: Place) -> ([Place; 4], usize) {
        let (mut choices, mut count) = ([[0, 0]; 4], 0);
        let mut consider = |there: bool, place: fn(Place) -> Place| {
            if there && self.at(place([row, column])) == Cell::Wall {
                choices[count] = place([row, column]);
                count += 1;
            }
        };
        consider(row > 1, |[row, column]| [row - 2, column]);
        consider(row + 2 < self.side, |[row, column]| [row + 2, column]);
        consider(column > 1, |[row, column]| [row, column - 2]);
        consider(column + 2 < self.side, |[row, column]| [row, column + 2]);
        (choices, count)
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;

    use super::*;

    #[test]
    fn a_maze_has_one_way_between_any_two_of_its_halls() {
        let mut generator = Seed::new(2).generator();
        let mut maze = Maze::new(5);
        for _ in 0..200 {
            maze.build(&mut generator);
            let places =
                || (0..maze.side).flat_map(|row| (0..maze.side).map(move |column| [row, column]));
            let free = |place: &Place| maze.at(*place) == Cell::Free;
            let halls = places().filter(|place| place[0] % 2 == 1 && place[1] % 2 == 1);
            let (halls, all) = (halls.filter(free).count(), maze.count(Cell::Free));
            // A tree has one passage less than it has halls.
            assert_eq!(all, 2 * halls - 1);
            assert!(halls >= 20, "nearly all of 25 halls are visited, not {halls}");
            assert!(maze.start.contains(&0) || maze.start.contains(&10));
        }
    }
}
