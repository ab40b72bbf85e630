//! A board of tiles, its colors, and the part of it that the player sees.

/// Rows of a board.
pub(crate) const ROWS: usize = 7;
/// Columns of a board.
pub(crate) const COLUMNS: usize = 11;
/// Rows and columns of the view, in whose middle the player is.
pub(crate) const VIEW: usize = 5;

/// Layout of a board: `#` is wall, space is floor, `+` is where the player may start, and a
/// letter is a cell that means something to the environment.
pub(crate) type Map = [&'static [u8; COLUMNS]; ROWS];

/// Content of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tile {
    Floor,
    Wall,
    Apple,
    Key,
    Door,
    /// Says that the key was taken.
    Indicator,
    Red,
    Green,
    Blue,
}

/// The color of the player.
pub(crate) const PLAYER: [u8; 3] = [228, 148, 109];

impl Tile {
    /// Red, green, blue.
    pub(crate) fn color(self) -> [u8; 3] {
        match self {
            Tile::Floor => [204, 204, 204],
            Tile::Wall => [25, 25, 25],
            Tile::Apple => [140, 178, 0],
            Tile::Key => [159, 81, 44],
            Tile::Door => [134, 206, 235],
            Tile::Indicator => [255, 255, 255],
            Tile::Red => [255, 0, 0],
            Tile::Green => [0, 255, 0],
            Tile::Blue => [0, 0, 255],
        }
    }
}

/// A cell of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl Cell {
    /// The cell to the north, south, west or east, by the number of the action.
    pub(crate) fn neighbor(self, action: usize) -> Option<Cell> {
        let Cell { row, column } = self;
        let (row, column) = match action {
            0 => (row.checked_sub(1)?, column),
            1 => (row + 1, column),
            2 => (row, column.checked_sub(1)?),
            3 => (row, column + 1),
            _ => unreachable!("an action is within the spec"),
        };
        (row < ROWS && column < COLUMNS).then_some(Cell { row, column })
    }
}

/// The cells that a map marks with `mark`, row by row.
pub(crate) fn cells(map: &Map, mark: u8) -> impl Iterator<Item = Cell> {
    let all = (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| Cell { row, column }));
    all.filter(move |cell| map[cell.row][cell.column] == mark)
}

/// Tiles, and the player.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    tiles: [[Tile; COLUMNS]; ROWS],
    pub(crate) player: Cell,
}

impl Board {
    /// Floor everywhere.
    pub(crate) const EMPTY: Board =
        Board { tiles: [[Tile::Floor; COLUMNS]; ROWS], player: Cell { row: 0, column: 0 } };

    /// The walls of a map, and the player.
    pub(crate) fn new(map: &Map, player: Cell) -> Board {
        let tile = |mark| if mark == b'#' { Tile::Wall } else { Tile::Floor };
        Board { tiles: map.map(|row| row.map(tile)), player }
    }

    pub(crate) fn tile(&self, at: Cell) -> Tile {
        self.tiles[at.row][at.column]
    }

    pub(crate) fn put(&mut self, tile: Tile, at: Cell) {
        self.tiles[at.row][at.column] = tile;
    }

    /// The color of a cell: the player stands on everything but the door, which hides it.
    pub(crate) fn color(&self, at: Cell) -> [u8; 3] {
        match self.tile(at) {
            tile if at == self.player && tile != Tile::Door => PLAYER,
            tile => tile.color(),
        }
    }

    /// Writes what the player sees, `[3, 5, 5]`: the cells around it, and floor beyond the board.
    pub(crate) fn view(&self, image: &mut [u8]) {
        const CELLS: usize = VIEW * VIEW;
        let image: &mut [u8; 3 * CELLS] = image.try_into().expect("an observation of 75 bytes");
        for row in 0..VIEW {
            for column in 0..VIEW {
                // Beyond the upper and left edges these wrap, and are far beyond the others.
                let at = Cell {
                    row: (self.player.row + row).wrapping_sub(VIEW / 2),
                    column: (self.player.column + column).wrapping_sub(VIEW / 2),
                };
                let outside = at.row >= ROWS || at.column >= COLUMNS;
                let color = if outside { Tile::Floor.color() } else { self.color(at) };
                for (channel, byte) in color.into_iter().enumerate() {
                    image[channel * CELLS + row * VIEW + column] = byte;
                }
            }
        }
    }
}
