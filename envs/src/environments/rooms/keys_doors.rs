//! Keys-doors-puzzle: use each key on the right door, or never reach the goal (DMLab-30's
//! `rooms_keys_doors_puzzle`).
//!
//! Rooms on a grid are joined by doors of five colors. Walking onto a key takes it, and pays 1; only one is
//! held at a time, and a square in the corner of the picture shows its color. A door of that color opens to who
//! touches it, for good, pays 1, and uses the key up. The goal pays 50 and ends the episode; time cuts it off
//! after 900 decisions, a minute. Walls are low: one sees over them what lies in other rooms,
//! and may plan.
//!
//! `keys_doors/level.rs` draws a level: a core of doors that lead to the goal, and rooms in which a key of the core is
//! wasted. `keys_doors/solver.rs` finds a way through it, for tests.

mod level;
#[cfg(test)]
mod solver;
#[cfg(test)]
mod tests;

use engram_mdp::{EnvSpec, Generator, Seed};
use rand::RngExt;
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::{ParameterError, within};
use crate::rooms::{
    BODY, Block, DOORS, Event, Figure, Game, GameSettings, Plan, REACH, Scene, Surface, Task,
    Thing, Walker,
};
use level::{Item, Level, Sizes};

/// Rewards of a key, of a door that opens, and of the goal.
const KEY: f32 = 1.0;
const DOOR: f32 = 1.0;
const GOAL: f32 = 50.0;
/// Side of a cell in DMLab's units; a room is 3 cells wide and 2 deep.
const CELL: f32 = 100.0;
/// Height of walls, as a share of a cell's side.
const PARAPET: f32 = 0.25;
/// Distance from the body at which a door opens.
const TOUCH: f32 = 8.0;
/// Doors by color.
const DOOR_SURFACES: [Surface; DOORS.len()] = [
    Surface::RedDoor,
    Surface::GreenDoor,
    Surface::BlueDoor,
    Surface::WhiteDoor,
    Surface::BlackDoor,
];
const COLOR_NAMES: [&str; DOORS.len()] = ["red", "green", "blue", "white", "black"];

/// The parameters of keys-doors-puzzle.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysDoorsPuzzleConfig {
    /// Columns of the picture; 96 in the original.
    pub width: usize,
    /// Rows of the picture; 72 in the original.
    pub height: usize,
    /// Decisions after which an episode is truncated; 900 in the original.
    pub max_steps: u32,
    /// Rows and columns of rooms; 3 in the original.
    pub grid: usize,
    /// Doors on the way to the goal, at least; 1 in the original.
    pub min_doors: usize,
    /// Doors on the way to the goal, at most; 3 in the original.
    pub max_doors: usize,
    /// Rooms with a later key, whose door costs the key of another one; 1 in the original, if one fits.
    pub trap_rooms: usize,
    /// Empty rooms whose door costs a key; 1 in the original, if one fits.
    pub decoy_rooms: usize,
    /// Rooms behind doors that no key opens, at most; 1 in the original.
    pub closed_rooms: usize,
    /// Doors between rooms that no key opens; 2 in the original, if they fit.
    pub closed_doors: usize,
    /// More doors between rooms that a key of the core opens, at most; 1 in the original.
    pub extra_doors: usize,
    /// Keys that open nothing, at most; 1 in the original.
    pub useless_keys: usize,
}

impl KeysDoorsPuzzleConfig {
    fn settings(&self) -> GameSettings {
        GameSettings { width: self.width, height: self.height, max_steps: self.max_steps }
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            grid: self.grid,
            doors: [self.min_doors, self.max_doors],
            trap_rooms: self.trap_rooms,
            decoy_rooms: self.decoy_rooms,
            closed_rooms: self.closed_rooms,
            closed_doors: self.closed_doors,
            extra_doors: self.extra_doors,
            useless_keys: self.useless_keys,
        }
    }

    fn game(&self, seed: Seed) -> Game<KeysDoors> {
        let task = KeysDoors {
            sizes: self.sizes(),
            level: Level::default(),
            doors: Vec::new(),
            key: None,
            opened: 0,
            reached: false,
        };
        Game::new(self.spec(), self.settings(), task, seed)
    }
}

impl EnvironmentParameters for KeysDoorsPuzzleConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.settings().validate()?;
        within("grid", self.grid, 2..=5)?;
        // A room for every door of the core, and the one where one starts; one color is left over for
        // doors that stay closed.
        let most = (self.grid * self.grid - 1).min(DOORS.len() - 1);
        within("max_doors", self.max_doors, 1..=most.min(self.grid))?;
        within("min_doors", self.min_doors, 1..=self.max_doors)?;
        within("trap_rooms", self.trap_rooms, 0..=4)?;
        within("decoy_rooms", self.decoy_rooms, 0..=4)?;
        within("closed_rooms", self.closed_rooms, 0..=4)?;
        within("closed_doors", self.closed_doors, 0..=10)?;
        within("extra_doors", self.extra_doors, 0..=10)?;
        within("useless_keys", self.useless_keys, 0..=10)
    }

    fn spec(&self) -> EnvSpec {
        self.settings().spec("rooms-keys-doors-puzzle".into())
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(self.game(seed))
    }
}

/// A closed door.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ClosedDoor {
    cell: [usize; 2],
    color: u8,
}

/// The rules, and how far an episode has come.
struct KeysDoors {
    sizes: Sizes,
    level: Level,
    doors: Vec<ClosedDoor>,
    /// Color of the key that the player holds.
    key: Option<u8>,
    opened: u32,
    reached: bool,
}

/// Upper left cell of a room.
fn corner([column, row]: [usize; 2]) -> [usize; 2] {
    [1 + 4 * column, 1 + 3 * row]
}

/// Cell of the passage between two neighboring rooms.
fn passage(one: [usize; 2], two: [usize; 2]) -> [usize; 2] {
    let [column, row] = corner([one[0].min(two[0]), one[1].min(two[1])]);
    if one[1] == two[1] { [column + 3, row] } else { [column + 1, row + 2] }
}

/// Builds the rooms of a level, and the low walls around them.
fn build(level: &Level, grid: usize) -> Plan {
    let parapet = Block { surface: Surface::Parapet, height: PARAPET };
    let (columns, rows) = (4 * grid + 1, 3 * grid + 1);
    let mut plan = Plan::solid(columns, rows, CELL, parapet, Surface::GrayTiles);
    for room in &level.rooms {
        let [left, top] = corner(room.at);
        (0..6).for_each(|i| plan.clear([left + i % 3, top + i / 3]));
    }
    for way in &level.ways {
        let cell = passage(level.rooms[way.rooms[0]].at, level.rooms[way.rooms[1]].at);
        match way.door {
            None => plan.clear(cell),
            Some(color) => {
                let surface = DOOR_SURFACES[usize::from(color)];
                plan.put(cell, Block { surface, height: 1.0 });
            }
        }
    }
    // Where no room is near there is nothing at all.
    let is_wall = |column: usize, row: usize| {
        plan.block(column as i32, row as i32).is_some_and(|block| block.height < 1.0)
    };
    let is_near = |column: usize, row: usize| {
        (column.saturating_sub(1)..=(column + 1).min(columns - 1)).any(|column| {
            (row.saturating_sub(1)..=(row + 1).min(rows - 1)).any(|row| !is_wall(column, row))
        })
    };
    let all = (0..columns).flat_map(|column| (0..rows).map(move |row| [column, row]));
    let empty: Vec<_> = all.filter(|&[column, row]| !is_near(column, row)).collect();
    for cell in empty {
        plan.clear(cell);
        plan.pave(cell, Surface::Sea);
    }
    plan
}

impl Task for KeysDoors {
    fn begin(&mut self, generator: &mut Generator) -> Scene {
        self.level = Level::draw(&self.sizes, generator);
        let level = &self.level;
        (self.key, self.opened, self.reached) = (None, 0, false);
        self.doors.clear();
        for way in &level.ways {
            let [one, two] = way.rooms.map(|room| level.rooms[room].at);
            let cell = passage(one, two);
            self.doors.extend(way.door.map(|color| ClosedDoor { cell, color }));
        }
        let plan = build(level, self.sizes.grid);
        let [left, top] = corner(level.rooms[0].at);
        // The upper row, or the middle of the lower one: where no key lies.
        let cell = match generator.random_range(0..4) {
            3 => [left + 1, top + 1],
            column => [left + column, top],
        };
        let heading = generator.random_range(0.0..360.0);
        let mut scene = Scene::new(plan, Walker::new([0.0; 2], heading));
        scene.player.place = scene.plan.middle(cell);
        for room in &level.rooms {
            let [left, top] = corner(room.at);
            for (item, side) in room.items.iter().zip(room.sides) {
                let figure = match *item {
                    Item::Key(color) => Figure::Key(color),
                    Item::Goal => Figure::Goal,
                };
                let place = scene.plan.middle([left + side, top + 1]);
                scene.things.push(Thing { figure, place });
            }
        }
        scene
    }

    fn pass(&mut self, scene: &mut Scene, _generator: &mut Generator) -> Event {
        let mut event = Event::default();
        let near = scene.things.iter().position(|thing| scene.reaches(thing.place, REACH));
        if let Some(number) = near {
            match scene.things.remove(number).figure {
                Figure::Key(color) => {
                    self.key = Some(color);
                    event.reward += KEY;
                }
                _ => {
                    self.reached = true;
                    event = Event { reward: GOAL, ends: true };
                }
            }
        }
        let (key, player) = (self.key, scene.player.place);
        let opens = |door: &ClosedDoor| Some(door.color) == key && touches(player, door.cell);
        if let Some(number) = self.doors.iter().position(opens) {
            let door = self.doors.remove(number);
            scene.plan.clear(door.cell);
            (self.key, self.opened) = (None, self.opened + 1);
            event.reward += DOOR;
        }
        scene.carried = self.key.map(|color| DOORS[usize::from(color)]);
        event
    }

    fn success(&self) -> bool {
        self.reached
    }

    fn caption(&self) -> String {
        let key = match self.key {
            _ if self.reached => "at the goal".into(),
            Some(color) => format!("holding the {} key", COLOR_NAMES[usize::from(color)]),
            None => "no key".into(),
        };
        format!("{key}; doors opened: {}", self.opened)
    }
}

/// True if a body is at a door's face.
fn touches(place: [f32; 2], cell: [usize; 2]) -> bool {
    let reach = BODY + TOUCH;
    (0..2).all(|axis| {
        let from = cell[axis] as f32 * CELL;
        place[axis] > from - reach && place[axis] < from + CELL + reach
    })
}
