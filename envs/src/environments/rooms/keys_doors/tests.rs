//! Tests of the puzzle: its levels, its rules, and a player who has read the solution.

use engram_mdp::Ending;

use super::solver::{Move, State, moves, solve, wins};
use super::*;
use crate::rooms::testing::{Player, mean, next_on_way, steer, wander};

fn config() -> KeysDoorsPuzzleConfig {
    KeysDoorsPuzzleConfig {
        width: 16,
        height: 12,
        max_steps: 900,
        grid: 3,
        min_doors: 1,
        max_doors: 3,
        trap_rooms: 1,
        decoy_rooms: 1,
        closed_rooms: 1,
        closed_doors: 2,
        extra_doors: 1,
        useless_keys: 1,
    }
}

fn levels(config: &KeysDoorsPuzzleConfig, count: u64) -> impl Iterator<Item = Level> {
    let sizes = config.sizes();
    (0..count).map(move |seed| Level::draw(&sizes, &mut Seed::new(seed).generator()))
}

/// Cell of an item.
fn cell_of(level: &Level, room: usize, number: usize) -> [usize; 2] {
    let [left, top] = corner(level.rooms[room].at);
    [left + level.rooms[room].sides[number], top + 1]
}

/// Walks to the next thing that the solution names, around keys that it does not.
fn solver(game: &Game<KeysDoors>) -> usize {
    let (task, scene) = (&game.task, &game.scene);
    let plan = &scene.plan;
    let past = |step: &Move| match *step {
        Move::Take(room, number) => {
            let place = plan.middle(cell_of(&task.level, room, number));
            scene.things.iter().all(|thing| thing.place != place)
        }
        Move::Open(way) => {
            let [one, two] = task.level.ways[way].rooms.map(|room| task.level.rooms[room].at);
            task.doors.iter().all(|door| door.cell != passage(one, two))
        }
    };
    let solution = solve(&task.level, State::default()).unwrap();
    let step =
        solution.iter().find(|step| !past(step)).expect("the episode ends with the last one");
    let goal = match *step {
        Move::Take(room, number) => cell_of(&task.level, room, number),
        Move::Open(way) => {
            let [one, two] = task.level.ways[way].rooms.map(|room| task.level.rooms[room].at);
            passage(one, two)
        }
    };
    let goal = goal.map(|x| x as i32);
    let others: Vec<[i32; 2]> =
        scene.things.iter().map(|thing| plan.cell_of(thing.place)).collect();
    let avoid: Vec<[i32; 2]> = others.into_iter().filter(|&cell| cell != goal).collect();
    let from = plan.cell_of(scene.player.place);
    let next = next_on_way(plan, from, goal, &avoid).expect("a way to the next thing");
    steer(&scene.player, next, 10.0)
}

#[test]
fn every_level_can_be_solved_and_has_one_goal_behind_one_to_three_doors() {
    let mut by_doors = [0; 4];
    for (seed, level) in levels(&config(), 300).enumerate() {
        let solution = solve(&level, State::default());
        let solution = solution.unwrap_or_else(|| panic!("seed {seed}: {level:?}"));
        let opened = solution.iter().filter(|step| matches!(step, Move::Open(_))).count();
        by_doors[opened.min(3)] += 1;
        let items: Vec<Item> = level.rooms.iter().flat_map(|room| room.items.clone()).collect();
        assert_eq!(items.iter().filter(|item| **item == Item::Goal).count(), 1);
        let mut places: Vec<_> = level.rooms.iter().map(|room| room.at).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), level.rooms.len(), "no two rooms at one place");
        assert!(level.rooms.iter().all(|room| room.items.len() <= 2));
        for way in &level.ways {
            let [one, two] = way.rooms.map(|room| level.rooms[room].at);
            assert_eq!(one[0].abs_diff(two[0]) + one[1].abs_diff(two[1]), 1, "neighbors");
        }
    }
    assert!(by_doors[0] == 0 && by_doors[1..].iter().all(|&count| count > 40), "{by_doors:?}");
}

#[test]
fn other_sizes_can_be_solved_too() {
    let config = config();
    let sizes = [
        KeysDoorsPuzzleConfig {
            grid: 2,
            max_doors: 2,
            trap_rooms: 0,
            decoy_rooms: 0,
            ..config.clone()
        },
        KeysDoorsPuzzleConfig { grid: 2, max_doors: 2, trap_rooms: 4, ..config.clone() },
        KeysDoorsPuzzleConfig { grid: 5, min_doors: 4, max_doors: 4, trap_rooms: 3, ..config },
    ];
    for config in sizes {
        config.validate().unwrap();
        for level in levels(&config, 30) {
            assert!(solve(&level, State::default()).is_some());
        }
    }
}

#[test]
fn keys_used_on_wrong_doors_make_goals_unreachable() {
    let (mut lost, mut won) = (0, 0);
    for (seed, level) in levels(&config(), 200).enumerate() {
        let mut generator = Seed::new(seed as u64).generator();
        let mut state = State::default();
        loop {
            let next = moves(&level, &state);
            if next.is_empty() {
                lost += 1;
                break;
            }
            let (after, step) = next[generator.random_range(0..next.len())].clone();
            if wins(&level, step) {
                won += 1;
                break;
            }
            state = after;
        }
    }
    assert!(lost > 30 && won > 30, "at random {lost} of 200 are lost");
}

/// A task in the middle of a level of two rooms side by side, with a red door between them.
fn two_rooms() -> (KeysDoors, Scene) {
    let config = config();
    let mut task = config.game(Seed::new(0)).task;
    let plan = Plan::yard(9, 4, CELL, Surface::Stone, Surface::GrayTiles);
    let mut scene = Scene::new(plan, Walker::new([150.0, 150.0], 0.0));
    let cell = [4, 1];
    scene.plan.build(cell, Surface::RedDoor);
    scene.plan.build([4, 2], Surface::Stone);
    task.doors = vec![ClosedDoor { cell, color: 0 }];
    let thing = |figure, x: f32, y: f32| Thing { figure, place: [x, y] };
    scene.things = vec![thing(Figure::Key(0), 150.0, 250.0), thing(Figure::Key(1), 350.0, 250.0)];
    scene.things.push(thing(Figure::Goal, 550.0, 250.0));
    (task, scene)
}

/// Event of a player who is at a place.
fn at(task: &mut KeysDoors, scene: &mut Scene, place: [f32; 2]) -> Event {
    scene.player.place = place;
    task.pass(scene, &mut Seed::new(0).generator())
}

#[test]
fn a_door_opens_to_the_key_of_its_color_alone_and_uses_it_up() {
    let (mut task, mut scene) = two_rooms();
    let door = [384.0, 150.0];
    assert_eq!(at(&mut task, &mut scene, door), Event::paid(0.0), "no key");
    assert_eq!(at(&mut task, &mut scene, [340.0, 240.0]), Event::paid(KEY));
    assert_eq!((task.key, scene.carried), (Some(1), Some(DOORS[1])));
    assert_eq!(at(&mut task, &mut scene, door), Event::paid(0.0), "the green key");
    assert_eq!(at(&mut task, &mut scene, [150.0, 240.0]), Event::paid(KEY));
    assert_eq!((task.key, scene.carried), (Some(0), Some(DOORS[0])), "one key at a time");
    assert!(scene.plan.obstacle([450.0, 150.0], BODY).is_some());
    assert_eq!(at(&mut task, &mut scene, [300.0, 150.0]), Event::paid(0.0), "too far away");
    assert_eq!(at(&mut task, &mut scene, door), Event::paid(DOOR));
    assert_eq!((task.key, scene.carried), (None, None));
    assert!(scene.plan.obstacle([450.0, 150.0], BODY).is_none(), "it stays open");
    assert!(!task.success());
    let goal = at(&mut task, &mut scene, [550.0, 240.0]);
    assert_eq!(goal, Event { reward: GOAL, ends: true });
    assert!(task.success() && scene.things.is_empty());
}

#[test]
fn parameters_are_checked() {
    let refused = |config: KeysDoorsPuzzleConfig| config.validate().unwrap_err().to_string();
    let config = config();
    let few_colors = KeysDoorsPuzzleConfig { grid: 5, max_doors: 5, ..config.clone() };
    assert_eq!(refused(few_colors), "`max_doors` is 5; it must be 1 to 4");
    let none = KeysDoorsPuzzleConfig { min_doors: 0, ..config.clone() };
    assert_eq!(refused(none), "`min_doors` is 0; it must be 1 to 3");
    let thin = KeysDoorsPuzzleConfig { width: 8, ..config };
    assert_eq!(refused(thin), "`width` is 8; it must be 16 to 640");
}

#[test]
fn random_players_stay_out_of_walls_and_doors() {
    for seed in 0..6 {
        wander(config().game(Seed::new(seed)), seed, 2500);
    }
}

/// docs/results/rooms.md has these numbers.
#[test]
fn returns_of_random_players_and_of_one_who_has_read_the_solution() {
    let mut steps = 0;
    let play = |seed: u64| {
        let mut player = Player::new(config().game(Seed::new(seed)));
        let best = player.episode(solver);
        assert_eq!(best.1, Some(Ending::Terminated), "seed {seed} takes too long");
        steps += player.steps;
        let (random, ending) = player.random_episode(seed);
        assert_eq!(ending == Some(Ending::Truncated), player.steps == 900);
        (best.0, random)
    };
    let (best, random) = mean((0..30).map(play));
    println!("keys-doors-puzzle: oracle {best:.1} in {} steps, random {random:.1}", steps / 30);
    assert!((52.0..=56.0).contains(&best), "{best}: the goal, and a key and a door for each color");
    assert!(random < 12.0, "{random}");
}
