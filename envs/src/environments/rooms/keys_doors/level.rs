//! A level of the puzzle: which rooms there are, what lies in them, which doors join them.
//!
//! The core is a chain: for every color of it there are one key and one door, and the goal is behind the
//! last door. A core door leads on from the newest room, with its key in any room before, or it has its key in the
//! newest room, and leads on from anywhere. Beside the core stand rooms that cost a key:
//!
//! - a *trap* has a door like that of an earlier core room, and a key of a later one in it as a lure;
//! - a *decoy* has a door in any color of the core, and nothing in it.
//!
//! Then come rooms and doors that no key opens, doors that shorten ways, and keys that open nothing. New
//! rooms lie as near to the first one as they can. Who uses every core key on the core's door reaches
//! the goal; who does not may have made that impossible.

use engram_mdp::Generator;
use rand::RngExt;

use crate::rooms::DOORS;

/// Probability that a room without a door comes before a core door, by number of these.
const OPEN_ROOM: [f64; 3] = [0.8, 0.5, 0.0];
/// Probability that a core door is joined by a decoy or a trap as soon as it is placed.
const EARLY_DECOY: f64 = 0.5;
const EARLY_TRAP: f64 = 0.5;
/// Things that a room has a place for.
const ITEMS: usize = 2;

/// Size of a level, and numbers of what is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) grid: usize,
    /// Doors of the core, from and to.
    pub(super) doors: [usize; 2],
    pub(super) trap_rooms: usize,
    pub(super) decoy_rooms: usize,
    pub(super) closed_rooms: usize,
    pub(super) closed_doors: usize,
    pub(super) extra_doors: usize,
    pub(super) useless_keys: usize,
}

/// A thing that lies in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Key(u8),
    Goal,
}

/// A room.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// Column and row of the grid.
    pub(super) at: [usize; 2],
    pub(super) items: Vec<Item>,
    /// Columns of the room's lower row where the items lie.
    pub(super) sides: [usize; ITEMS],
    /// True if no key of the core may lie here: the room costs one.
    costs: bool,
}

/// A passage between two rooms, by their numbers, and its door's color if it has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) rooms: [usize; 2],
    pub(super) door: Option<u8>,
}

/// A level; one starts in its first room.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    pub(super) rooms: Vec<Room>,
    pub(super) ways: Vec<Way>,
    grid: usize,
}

/// Counts and colors of a level that is being drawn.
struct Draft<'a> {
    level: Level,
    sizes: &'a Sizes,
    generator: &'a mut Generator,
    /// Colors of the core in the order of its doors, and those that are left.
    core: Vec<u8>,
    left: Vec<u8>,
    decoys: usize,
    traps: usize,
    open_rooms: usize,
    /// Core rooms that a trap may imitate: room, number in the core.
    imitable: Vec<(usize, usize)>,
}

impl Level {
    /// Draws a level.
    pub(super) fn draw(sizes: &Sizes, generator: &mut Generator) -> Level {
        // A draft may run out of places on the grid.
        loop {
            if let Some(level) = Draft::new(sizes, generator).finish() {
                return level;
            }
        }
    }

    fn is_free(&self, at: [usize; 2]) -> bool {
        self.rooms.iter().all(|room| room.at != at)
    }

    /// Free places on the grid beside a room.
    fn places_beside(&self, room: usize) -> impl Iterator<Item = [usize; 2]> + '_ {
        let [column, row] = self.rooms[room].at;
        let beside = [
            (column > 0).then(|| [column - 1, row]),
            (row > 0).then(|| [column, row - 1]),
            (column + 1 < self.grid).then(|| [column + 1, row]),
            (row + 1 < self.grid).then(|| [column, row + 1]),
        ];
        beside.into_iter().flatten().filter(|&at| self.is_free(at))
    }

    /// Squared distance from the first room, in cells: rooms are wider than deep.
    fn distance(&self, at: [usize; 2]) -> usize {
        let start = self.rooms[0].at;
        (4 * at[0].abs_diff(start[0])).pow(2) + (3 * at[1].abs_diff(start[1])).pow(2)
    }

    fn joined(&self, one: usize, two: usize) -> bool {
        self.ways.iter().any(|way| way.rooms == [one, two] || way.rooms == [two, one])
    }
}

impl<'a> Draft<'a> {
    fn new(sizes: &'a Sizes, generator: &'a mut Generator) -> Draft<'a> {
        let mut left: Vec<u8> = (0..DOORS.len() as u8).collect();
        let [least, most] = sizes.doors;
        let doors = generator.random_range(least..=most);
        let core = (0..doors).map(|_| left.swap_remove(generator.random_range(0..left.len())));
        let core = core.collect();
        let level = Level { rooms: Vec::new(), ways: Vec::new(), grid: sizes.grid };
        let (decoys, traps, open_rooms, imitable) = (0, 0, 0, Vec::new());
        Draft { level, sizes, generator, core, left, decoys, traps, open_rooms, imitable }
    }

    /// Draws everything; none if the core found no place.
    fn finish(mut self) -> Option<Level> {
        let start = [0, 1].map(|_| self.generator.random_range(0..self.sizes.grid));
        self.add_room(start);
        self.add_core()?;
        for (room, number) in std::mem::take(&mut self.imitable) {
            self.add_trap(room, number);
        }
        for _ in 0..self.generator.random_range(0..=self.sizes.closed_rooms) {
            if let Some((beside, at)) = self.any_site(|_, _| true) {
                let color = self.pick(&self.left.clone());
                self.grow(beside, at, Some(color));
            }
        }
        while self.decoys < self.sizes.decoy_rooms && self.add_decoy() {}
        let mut closed = Vec::new();
        for _ in 0..self.sizes.closed_doors {
            let color = self.pick(&self.left.clone());
            if self.add_door(color) {
                closed.push(color);
            }
        }
        for _ in 0..self.generator.random_range(0..=self.sizes.extra_doors) {
            let color = self.pick(&self.core.clone());
            self.add_door(color);
        }
        let doors: Vec<u8> = self.level.ways.iter().filter_map(|way| way.door).collect();
        let useless: Vec<u8> =
            self.left.iter().copied().filter(|color| !doors.contains(color)).collect();
        for _ in 0..self.generator.random_range(0..=self.sizes.useless_keys) {
            let room = self.room_with_space(|_| true);
            if let (Some(room), false) = (room, useless.is_empty()) {
                let color = self.pick(&useless);
                self.level.rooms[room].items.push(Item::Key(color));
            }
        }
        Some(self.level)
    }

    /// Places the doors of the core, their keys, and the goal.
    fn add_core(&mut self) -> Option<()> {
        // The newest room of the core with its number, and the newest of all, which may have no door.
        let (mut core_room, mut newest) = (None, 0);
        for number in 0..self.core.len() {
            let open = OPEN_ROOM[(self.core.len() - 1).min(2)];
            if self.open_rooms == 0
                && self.generator.random_bool(open)
                && let Some(at) = self.site_beside(newest)
            {
                newest = self.grow(newest, at, None);
                self.open_rooms += 1;
            }
            let decoy = self.generator.random_bool(EARLY_DECOY).then(|| self.flip());
            if decoy == Some(false) {
                self.add_decoy();
            }
            let beside_newest = self.site_beside(newest);
            let (key_room, from, at) = if let (Some(at), true) = (beside_newest, self.flip()) {
                (self.room_with_space(|room| !room.costs)?, newest, at)
            } else {
                // A trap imitates a core room that another one leads on from.
                let doors_left = self.core.len() - number;
                let (from, at) = if self.sizes.trap_rooms.saturating_sub(self.traps) >= doors_left {
                    (newest, beside_newest?)
                } else {
                    self.any_site(|_, room| !room.costs)?
                };
                (newest, from, at)
            };
            if self.level.rooms[key_room].items.len() == ITEMS {
                return None;
            }
            self.level.rooms[key_room].items.push(Item::Key(self.core[number]));
            let room = self.grow(from, at, Some(self.core[number]));
            if let (Some(imitated), true) = (core_room, from == newest) {
                self.imitable.push(imitated);
                if self.generator.random_bool(EARLY_TRAP) {
                    self.add_trap(imitated.0, imitated.1);
                }
            }
            (core_room, newest) = (Some((room, number)), room);
            if number + 1 == self.core.len() {
                self.level.rooms[room].items.push(Item::Goal);
            }
            if decoy == Some(true) {
                self.add_decoy();
            }
        }
        Some(())
    }

    /// A room with the door of core room `room`, the core's `number`-th, and a later key; it lies where
    /// one comes by before that room is open.
    fn add_trap(&mut self, room: usize, number: usize) {
        if self.traps == self.sizes.trap_rooms {
            return;
        }
        if let Some((beside, at)) = self.any_site(|other, _| other < room) {
            let later = self.generator.random_range(number + 1..self.core.len());
            let trap = self.grow(beside, at, Some(self.core[number]));
            self.level.rooms[trap].items.push(Item::Key(self.core[later]));
            self.level.rooms[trap].costs = true;
            self.traps += 1;
        }
    }

    fn add_decoy(&mut self) -> bool {
        if self.decoys == self.sizes.decoy_rooms {
            return false;
        }
        let Some((beside, at)) = self.any_site(|_, _| true) else { return false };
        let color = self.pick(&self.core.clone());
        let room = self.grow(beside, at, Some(color));
        self.level.rooms[room].costs = true;
        self.decoys += 1;
        true
    }

    /// Adds a door between two neighbors that nothing joins yet. Returns whether there were any.
    fn add_door(&mut self, color: u8) -> bool {
        let level = &self.level;
        let mut pairs = Vec::new();
        for two in 0..level.rooms.len() {
            for one in 0..two {
                let [a, b] = [one, two].map(|room| level.rooms[room].at);
                let beside = a[0].abs_diff(b[0]) + a[1].abs_diff(b[1]) == 1;
                if beside && !level.joined(one, two) {
                    pairs.push([one, two]);
                }
            }
        }
        if pairs.is_empty() {
            return false;
        }
        let rooms = pairs[self.generator.random_range(0..pairs.len())];
        self.level.ways.push(Way { rooms, door: Some(color) });
        true
    }

    fn add_room(&mut self, at: [usize; 2]) -> usize {
        let sides = if self.flip() { [0, 2] } else { [2, 0] };
        self.level.rooms.push(Room { at, items: Vec::new(), sides, costs: false });
        self.level.rooms.len() - 1
    }

    /// Adds a room beside another one.
    fn grow(&mut self, from: usize, at: [usize; 2], door: Option<u8>) -> usize {
        let room = self.add_room(at);
        self.level.ways.push(Way { rooms: [from, room], door });
        room
    }

    /// A free place beside a room, one of those nearest to the start.
    fn site_beside(&mut self, room: usize) -> Option<[usize; 2]> {
        let sites = self.level.places_beside(room).map(|at| (room, at)).collect();
        self.nearest(sites).map(|(_, at)| at)
    }

    /// A free place beside any of the rooms that `may` allows.
    fn any_site(&mut self, may: impl Fn(usize, &Room) -> bool) -> Option<(usize, [usize; 2])> {
        let rooms = self.level.rooms.iter().enumerate().filter(|(number, room)| may(*number, room));
        let sites = rooms
            .flat_map(|(number, _)| self.level.places_beside(number).map(move |at| (number, at)));
        let sites = sites.collect();
        self.nearest(sites)
    }

    fn nearest(&mut self, mut sites: Vec<(usize, [usize; 2])>) -> Option<(usize, [usize; 2])> {
        let nearest = sites.iter().map(|&(_, at)| self.level.distance(at)).min()?;
        sites.retain(|&(_, at)| self.level.distance(at) == nearest);
        Some(sites[self.generator.random_range(0..sites.len())])
    }

    fn room_with_space(&mut self, may: impl Fn(&Room) -> bool) -> Option<usize> {
        let rooms = self.level.rooms.iter().enumerate();
        let with_space = rooms.filter(|(_, room)| room.items.len() < ITEMS && may(room));
        let numbers: Vec<usize> = with_space.map(|(number, _)| number).collect();
        (!numbers.is_empty()).then(|| numbers[self.generator.random_range(0..numbers.len())])
    }

    fn pick(&mut self, colors: &[u8]) -> u8 {
        colors[self.generator.random_range(0..colors.len())]
    }

    fn flip(&mut self) -> bool {
        self.generator.random_bool(0.5)
    }
}
