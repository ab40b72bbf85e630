//! A board for people: all of it, and the part that the player sees in a frame.

use super::board::{Board, COLUMNS, Cell, ROWS, Tile, VIEW};
use crate::canvas::{ACTOR, Canvas, Color, Grid, INK, PAPER, SIGHT, mix};

/// Share of paper color over cells that the player does not see.
const PALENESS: f32 = 0.55;

/// Draws the whole board, paler where the player does not see it.
pub(super) fn draw(board: &Board, canvas: &mut Canvas) {
    let grid = canvas.grid(ROWS, COLUMNS);
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            draw_cell(board, Cell { row, column }, &grid, canvas);
        }
    }
    let first = |at: usize| at as i32 - VIEW as i32 / 2;
    let corner = grid.corner(first(board.player.row), first(board.player.column));
    let side = VIEW as f32 * grid.side;
    // What is seen beyond the board is floor, and lies beyond the canvas's own edge, too.
    let [left, top] = corner.map(|x| x.max(0.0));
    let bottom = canvas.area().height.min(corner[1] + side);
    let right = canvas.area().width.min(corner[0] + side);
    canvas.frame([left, top], [right - left, bottom - top], 3.0, SIGHT);
}

fn draw_cell(board: &Board, at: Cell, grid: &Grid, canvas: &mut Canvas) {
    let Cell { row, column } = at;
    let near = |a: usize, b: usize| a.abs_diff(b) <= VIEW / 2;
    let seen = near(row, board.player.row) && near(column, board.player.column);
    let tint = |color: Color| if seen { color } else { mix(color, PAPER, PALENESS) };
    let tile = board.tile(at);
    let (row, column) = (row as i32, column as i32);
    let below = match tile {
        Tile::Apple | Tile::Key => Tile::Floor.color(),
        _ => tile.color(),
    };
    grid.fill(canvas, row, column, tint(below));
    let center = grid.center(row, column);
    match tile {
        Tile::Apple => canvas.disc(center, 0.3 * grid.side, tint(tile.color())),
        Tile::Key => draw_key(center, grid.side, tint(below), canvas),
        Tile::Door => {
            let [x, y] = center;
            canvas.disc([x + 0.22 * grid.side, y], 0.08 * grid.side, tint(INK));
        }
        _ => {}
    }
    if at == board.player {
        canvas.disc(center, 0.38 * grid.side, mix(PAPER, INK, 0.8));
        canvas.disc(center, 0.32 * grid.side, ACTOR);
    }
}

fn draw_key([x, y]: [f32; 2], side: f32, below: Color, canvas: &mut Canvas) {
    let (color, thickness) = (Tile::Key.color(), 0.12 * side);
    let bow = [x - 0.2 * side, y];
    canvas.line(bow, [x + 0.36 * side, y], thickness, color);
    for tooth in [0.2, 0.34] {
        let x = x + tooth * side;
        canvas.line([x, y], [x, y + 0.18 * side], thickness, color);
    }
    canvas.disc(bow, 0.2 * side, color);
    canvas.disc(bow, 0.09 * side, below);
}

/// Draws what the player must keep in mind, in a corner of the strip.
pub(super) fn draw_carried(tile: Tile, canvas: &mut Canvas) {
    let side = 14.0;
    let [left, top] = [0.0, canvas.area().height - side - 2.0];
    match tile {
        Tile::Key => draw_key([left + 9.0, top + 7.0], 2.0 * side, PAPER, canvas),
        _ => {
            canvas.rectangle([left, top], [side, side], tile.color());
            canvas.frame([left, top], [side, side], 1.0, INK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The color in the middle of a cell, or a little beside it.
    fn at(canvas: &Canvas, cell: [f32; 2], beside: f32) -> Color {
        let [x, y] = cell.map(|x| (x + beside) as usize);
        let at = 3 * (y * canvas.width() + x);
        [0, 1, 2].map(|channel| canvas.pixels()[at + channel])
    }

    #[test]
    fn the_whole_board_is_drawn_and_paler_where_the_player_does_not_look() {
        let mut board = Board::EMPTY;
        board.player = Cell { row: 3, column: 4 };
        for (column, row) in [(3, 3), (8, 3)] {
            board.put(Tile::Apple, Cell { row, column });
        }
        board.put(Tile::Wall, Cell { row: 1, column: 2 });
        board.put(Tile::Wall, Cell { row: 0, column: 2 });
        let mut canvas = Canvas::new(374, 228);
        draw(&board, &mut canvas);
        let grid = canvas.grid(ROWS, COLUMNS);
        let pale = |color| mix(color, PAPER, PALENESS);
        assert_eq!(at(&canvas, grid.center(3, 4), 0.0), ACTOR);
        assert_eq!(at(&canvas, grid.center(3, 3), 0.0), Tile::Apple.color());
        assert_eq!(at(&canvas, grid.center(3, 8), 0.0), pale(Tile::Apple.color()));
        assert_eq!(at(&canvas, grid.center(1, 2), 4.0), Tile::Wall.color());
        assert_eq!(at(&canvas, grid.center(0, 2), 0.0), pale(Tile::Wall.color()));
        assert_eq!(at(&canvas, grid.corner(1, 2), 1.0), SIGHT, "the view's frame begins here");
        assert_eq!(at(&canvas, grid.corner(5, 6), 1.0), Tile::Floor.color(), "and ends there");
    }
}
