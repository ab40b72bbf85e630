//! Grid of cells with somebody in it, and the view from there.
//!
//! The view has 7 × 7 cells; who looks stands in the middle of its lowest row and looks up. Walls
//! hide what is behind them. The observation has a channel for each object (unseen, empty, wall,
//! floor, door, key, ball, box, goal, lava, agent), color (red, green, blue, purple, yellow, grey)
//! and state of a door (open, closed, locked): MiniGrid's one-hot image, as `[channel, row, column]`.

use engram_mdp::{Dtype, ObservationSpec};

use crate::canvas::{ACTOR, Canvas, Color, FAINT, GOAL, INK, PAPER, SIGHT, mix};

/// Rows and columns of the view.
const VIEW: usize = 7;
/// Place of who looks: row and column of the view.
const EYE: (usize, usize) = (VIEW - 1, VIEW / 2);
const OBJECTS: usize = 11;
const COLORS: usize = 6;
const STATES: usize = 3;
const CHANNELS: usize = OBJECTS + COLORS + STATES;
/// Byte of a class that holds; networks make 1 of it.
pub(super) const HOT: u8 = 255;

/// Content of a cell. Objects are green.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Empty,
    Wall,
    Key,
    Ball,
}

/// Column and row, from the upper left.
pub(super) type Place = [usize; 2];

/// Cells, and who walks among them.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) width: usize,
    height: usize,
    cells: Vec<Cell>,
    pub(super) place: Place,
    /// Right, down, left, up.
    pub(super) heading: usize,
}

/// Observation of every grid.
pub(super) fn observation() -> ObservationSpec {
    ObservationSpec { dtype: Dtype::U8, shape: vec![CHANNELS, VIEW, VIEW] }
}

impl Cell {
    /// Channels of its object and of its color.
    fn channels(self) -> [usize; 2] {
        let [object, color] = match self {
            Cell::Empty => [1, 0],
            Cell::Wall => [2, 5],
            Cell::Key => [5, 1],
            Cell::Ball => [6, 1],
        };
        [object, OBJECTS + color]
    }
}

impl Grid {
    pub(super) fn new(width: usize, height: usize) -> Self {
        let cells = vec![Cell::Empty; width * height];
        Grid { width, height, cells, place: [0, 0], heading: 0 }
    }

    /// Empties the grid, but for a wall around it.
    pub(super) fn clear(&mut self) {
        for row in 0..self.height {
            for column in 0..self.width {
                let inside =
                    (1..self.width - 1).contains(&column) && (1..self.height - 1).contains(&row);
                self.set([column, row], if inside { Cell::Empty } else { Cell::Wall });
            }
        }
    }

    pub(super) fn at(&self, [column, row]: Place) -> Cell {
        self.cells[row * self.width + column]
    }

    pub(super) fn set(&mut self, [column, row]: Place, cell: Cell) {
        self.cells[row * self.width + column] = cell;
    }

    /// Turns left (0) or right (1), or walks (2); other actions have nothing to act upon.
    pub(super) fn act(&mut self, action: usize) {
        match action {
            0 => self.heading = (self.heading + 3) % 4,
            1 => self.heading = (self.heading + 1) % 4,
            2 => {
                let [right, down] = self.forward();
                let [column, row] = self.place.map(|at| at as isize);
                let next = [column + right, row + down];
                if self.cell(next) == Cell::Empty {
                    self.place = next.map(|at| at as usize);
                }
            }
            _ => (),
        }
    }

    fn forward(&self) -> [isize; 2] {
        [[1, 0], [0, 1], [-1, 0], [0, -1]][self.heading]
    }

    /// The cell at a place; beyond the grid there are walls.
    fn cell(&self, [column, row]: [isize; 2]) -> Cell {
        let inside =
            (0..self.width as isize).contains(&column) && (0..self.height as isize).contains(&row);
        if inside { self.at([column as usize, row as usize]) } else { Cell::Wall }
    }

    /// The place in the grid of a cell of the view.
    fn place_of(&self, row: usize, column: usize) -> [isize; 2] {
        let [x, y] = self.forward();
        let (ahead, aside) = ((EYE.0 - row) as isize, column as isize - EYE.1 as isize);
        let [from_x, from_y] = self.place.map(|at| at as isize);
        // The right hand of (x, y) is (-y, x).
        [from_x + ahead * x - aside * y, from_y + ahead * y + aside * x]
    }

    /// Cells of the view, seen or not.
    fn view(&self) -> [[Cell; VIEW]; VIEW] {
        let cell = |row, column| self.cell(self.place_of(row, column));
        std::array::from_fn(|row| std::array::from_fn(|column| cell(row, column)))
    }

    /// Shows the view.
    pub(super) fn show(&self, image: &mut [u8]) {
        let cells = self.view();
        let seen = seen(&cells);
        image.fill(0);
        let mut set = |channel: usize, at: usize| image[channel * VIEW * VIEW + at] = HOT;
        for row in 0..VIEW {
            for column in 0..VIEW {
                let at = row * VIEW + column;
                let unseen = [0, OBJECTS];
                let cell = cells[row][column];
                let [object, color] = if seen[row][column] { cell.channels() } else { unseen };
                set(object, at);
                set(color, at);
                set(OBJECTS + COLORS, at);
            }
        }
    }

    /// Draws everything, and what is seen lighter.
    pub(super) fn render(&self, canvas: &mut Canvas) {
        let grid = canvas.grid(self.height, self.width);
        for row in 0..self.height {
            for column in 0..self.width {
                let color = if self.at([column, row]) == Cell::Wall { INK } else { FAINT };
                grid.fill(canvas, row as i32, column as i32, color);
            }
        }
        let cells = self.view();
        let seen = seen(&cells);
        for (row, column) in (0..VIEW * VIEW).map(|at| (at / VIEW, at % VIEW)) {
            let [x, y] = self.place_of(row, column);
            if seen[row][column] && cells[row][column] != Cell::Wall {
                grid.fill(canvas, y as i32, x as i32, mix(PAPER, SIGHT, 0.12));
            }
        }
        for (index, cell) in self.cells.iter().enumerate() {
            let center = grid.center((index / self.width) as i32, (index % self.width) as i32);
            match cell {
                Cell::Ball => canvas.disc(center, 0.35 * grid.side, GOAL),
                Cell::Key => key(canvas, center, grid.side, GOAL),
                Cell::Empty | Cell::Wall => (),
            }
        }
        let [column, row] = self.place.map(|at| at as i32);
        let [x, y] = grid.center(row, column);
        let [right, down] = self.forward().map(|way| way as f32 * 0.3 * grid.side);
        canvas.disc([x, y], 0.25 * grid.side, ACTOR);
        canvas.line([x, y], [x + right, y + down], 0.25 * grid.side, ACTOR);
    }
}

/// Cells of the view that are seen. Sight spreads row by row away from who looks: from a seen cell
/// that is no wall to its neighbors aside, ahead, and obliquely ahead; first to the right, then to
/// the left.
fn seen(cells: &[[Cell; VIEW]; VIEW]) -> [[bool; VIEW]; VIEW] {
    let mut seen = [[false; VIEW]; VIEW];
    seen[EYE.0][EYE.1] = true;
    let mut spread = |row: usize, from: usize, to: usize| {
        if seen[row][from] && cells[row][from] != Cell::Wall {
            seen[row][to] = true;
            if let Some(ahead) = row.checked_sub(1) {
                seen[ahead][to] = true;
                seen[ahead][from] = true;
            }
        }
    };
    for row in (0..VIEW).rev() {
        (0..VIEW - 1).for_each(|column| spread(row, column, column + 1));
        (1..VIEW).rev().for_each(|column| spread(row, column, column - 1));
    }
    seen
}

fn key(canvas: &mut Canvas, [x, y]: [f32; 2], side: f32, color: Color) {
    canvas.disc([x, y - 0.2 * side], 0.18 * side, color);
    canvas.line([x, y - 0.2 * side], [x, y + 0.32 * side], 0.1 * side, color);
    canvas.line([x, y + 0.28 * side], [x + 0.18 * side, y + 0.28 * side], 0.1 * side, color);
}
