//! The plan of a world: square cells, with blocks on some of them, and boxes that cannot be seen.

use super::surface::Surface;

/// A block that stands on a cell, and fills it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) surface: Surface,
    /// Height as a share of a cell's side. Who sees over a block sees what is behind it.
    pub(crate) height: f32,
}

/// A rectangle: from and to on both axes.
pub(crate) type Bounds = [[f32; 2]; 2];

/// Cells in rows and columns. Blocks enclose the player; beyond the plan is nothing but the ground.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    /// Side of a cell in DMLab's units.
    pub(crate) cell: f32,
    blocks: Vec<Option<Block>>,
    floors: Vec<Surface>,
    /// Rectangles without a look that nobody walks through.
    fences: Vec<Bounds>,
}

impl Plan {
    /// A plan that is one block of this kind everywhere.
    pub(crate) fn solid(
        columns: usize,
        rows: usize,
        cell: f32,
        block: Block,
        floor: Surface,
    ) -> Plan {
        let cells = columns * rows;
        let (blocks, floors) = (vec![Some(block); cells], vec![floor; cells]);
        Plan { columns, rows, cell, blocks, floors, fences: Vec::new() }
    }

    /// An empty yard within walls that are as high as a cell is wide.
    pub(crate) fn yard(
        columns: usize,
        rows: usize,
        cell: f32,
        wall: Surface,
        floor: Surface,
    ) -> Plan {
        let wall = Block { surface: wall, height: 1.0 };
        let mut plan = Plan::solid(columns, rows, cell, wall, floor);
        for row in 1..rows - 1 {
            (1..columns - 1).for_each(|column| plan.clear([column, row]));
        }
        plan
    }

    /// The block on a cell; none beyond the plan.
    pub(crate) fn block(&self, column: i32, row: i32) -> Option<Block> {
        self.blocks[self.index(column, row)?]
    }

    /// The floor of a cell.
    pub(crate) fn floor(&self, column: i32, row: i32) -> Surface {
        self.index(column, row).map_or(Surface::Sea, |at| self.floors[at])
    }

    pub(crate) fn put(&mut self, [column, row]: [usize; 2], block: Block) {
        self.blocks[row * self.columns + column] = Some(block);
    }

    /// Puts up a wall as high as a cell is wide.
    pub(crate) fn build(&mut self, cell: [usize; 2], surface: Surface) {
        self.put(cell, Block { surface, height: 1.0 });
    }

    pub(crate) fn clear(&mut self, [column, row]: [usize; 2]) {
        self.blocks[row * self.columns + column] = None;
    }

    pub(crate) fn pave(&mut self, [column, row]: [usize; 2], floor: Surface) {
        self.floors[row * self.columns + column] = floor;
    }

    pub(crate) fn fence(&mut self, bounds: Bounds) {
        self.fences.push(bounds);
    }

    /// The cell of a place.
    pub(crate) fn cell_of(&self, place: [f32; 2]) -> [i32; 2] {
        place.map(|x| (x / self.cell).floor() as i32)
    }

    /// The middle of a cell.
    pub(crate) fn middle(&self, [column, row]: [usize; 2]) -> [f32; 2] {
        [column, row].map(|cell| (cell as f32 + 0.5) * self.cell)
    }

    /// Something that a square body of half a side `half` would be inside of.
    pub(crate) fn obstacle(&self, place: [f32; 2], half: f32) -> Option<Bounds> {
        let from = self.cell_of(place.map(|x| x - half));
        let to = self.cell_of(place.map(|x| x + half));
        for row in from[1]..=to[1] {
            for column in from[0]..=to[0] {
                if self.block(column, row).is_some() {
                    let side = |cell: i32| [cell, cell + 1].map(|edge| edge as f32 * self.cell);
                    return Some([side(column), side(row)]);
                }
            }
        }
        let inside = |fence: &&Bounds| {
            (0..2).all(|axis| {
                place[axis] + half > fence[axis][0] && place[axis] - half < fence[axis][1]
            })
        };
        self.fences.iter().find(inside).copied()
    }

    fn index(&self, column: i32, row: i32) -> Option<usize> {
        let inside =
            (0..self.columns as i32).contains(&column) && (0..self.rows as i32).contains(&row);
        inside.then(|| row as usize * self.columns + column as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_meets_blocks_and_fences_that_it_overlaps() {
        let mut plan = Plan::yard(5, 4, 100.0, Surface::Brick, Surface::GrayTiles);
        assert_eq!(plan.obstacle([250.0, 150.0], 15.0), None);
        assert_eq!(plan.obstacle([390.0, 150.0], 15.0), Some([[400.0, 500.0], [100.0, 200.0]]));
        plan.fence([[240.0, 260.0], [100.0, 120.0]]);
        assert_eq!(plan.obstacle([250.0, 150.0], 15.0), None);
        assert!(plan.obstacle([250.0, 130.0], 15.0).is_some());
        plan.put([2, 1], Block { surface: Surface::RedDoor, height: 0.8 });
        assert!(plan.obstacle([250.0, 150.0], 15.0).is_some());
        plan.clear([2, 1]);
        assert_eq!(
            (plan.block(2, 1), plan.block(-1, 9), plan.floor(7, 7)),
            (None, None, Surface::Sea)
        );
    }
}
