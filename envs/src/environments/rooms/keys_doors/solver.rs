//! A way through a level, for tests: every order of keys and doors is tried, shortest first.

use std::collections::{HashSet, VecDeque};

use super::level::{Item, Level};

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Take an item, by its room and its number in it.
    Take(usize, usize),
    /// Open the door of a way, by its number.
    Open(usize),
}

/// Progress through a level.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    opened: Vec<usize>,
    taken: Vec<(usize, usize)>,
    key: Option<u8>,
}

/// The rooms that one can walk to.
fn within_reach(level: &Level, opened: &[usize]) -> Vec<bool> {
    let mut reached = vec![false; level.rooms.len()];
    reached[0] = true;
    // As often as ways can follow one another.
    for _ in &level.ways {
        for (number, way) in level.ways.iter().enumerate() {
            let [one, two] = way.rooms;
            if (way.door.is_none() || opened.contains(&number)) && reached[one] != reached[two] {
                (reached[one], reached[two]) = (true, true);
            }
        }
    }
    reached
}

/// Every move that can follow, and the state that it leads to; nothing follows the goal.
pub(super) fn moves(level: &Level, state: &State) -> Vec<(State, Move)> {
    let reached = within_reach(level, &state.opened);
    let mut moves = Vec::new();
    for room in (0..level.rooms.len()).filter(|&room| reached[room]) {
        for (number, item) in level.rooms[room].items.iter().enumerate() {
            let place = (room, number);
            if state.taken.contains(&place) {
                continue;
            }
            let mut after = state.clone();
            after.taken.push(place);
            after.taken.sort_unstable();
            if let Item::Key(color) = *item {
                after.key = Some(color);
            }
            moves.push((after, Move::Take(room, number)));
        }
    }
    for (number, way) in level.ways.iter().enumerate() {
        let beside = way.rooms.iter().any(|&room| reached[room]);
        let opens = state.key.is_some() && way.door == state.key;
        if beside && opens && !state.opened.contains(&number) {
            let mut after = State { key: None, ..state.clone() };
            after.opened.push(number);
            after.opened.sort_unstable();
            moves.push((after, Move::Open(number)));
        }
    }
    moves
}

/// True if a move reaches the goal.
pub(super) fn wins(level: &Level, step: Move) -> bool {
    matches!(step, Move::Take(room, number) if level.rooms[room].items[number] == Item::Goal)
}

/// Fewest moves from a state to the goal, which is the last of them; none if there is no way.
pub(super) fn solve(level: &Level, start: State) -> Option<Vec<Move>> {
    let mut known = HashSet::from([start.clone()]);
    let mut waiting = VecDeque::from([(start, Vec::new())]);
    while let Some((state, past)) = waiting.pop_front() {
        for (after, step) in moves(level, &state) {
            let past = [&past[..], &[step]].concat();
            if wins(level, step) {
                return Some(past);
            }
            if known.insert(after.clone()) {
                waiting.push_back((after, past));
            }
        }
    }
    None
}
