//! Select-nonmatching-object: look at an object, then choose the other one (DMLab-30's
//! `rooms_select_nonmatching_object`).
//!
//! ```text
//!   first room         second room
//!   #######            #####
//!   #    o#            #  ?#     S start, T teleporter: +1, and to t
//!   #S   T#          ##   #     o the object to remember, on one of two pedestals out of reach
//!   #    o#            #  ?#     ? two objects, one of them the same: -10, the other: +10
//!   #######            #####       whichever is taken, the player is back at S
//! ```
//!
//! An episode has one object to remember; the other object, the pedestal and the sides are drawn anew
//! in every round. An episode is cut off by time: with 180 decisions, 12 seconds, who never errs and never
//! hesitates plays six rounds.

use engram_mdp::{EnvSpec, Generator, Seed};
use rand::RngExt;
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::{ParameterError, within};
use crate::rooms::{
    BODY, Event, Figure, Game, GameSettings, OBJECTS, Plan, REACH, Scene, Surface, Task, Thing,
    Walker,
};

/// Rewards of the teleporter, of the same object, and of the other.
const TELEPORT: f32 = 1.0;
const MATCH: f32 = -10.0;
const NONMATCH: f32 = 10.0;
/// Places, in cells of the plan.
const START: [f32; 2] = [1.1875, 2.5];
const TELEPORTER: [f32; 2] = [3.5, 2.5];
const ARRIVAL: [f32; 2] = [5.25, 2.5];
const EXAMPLES: [[f32; 2]; 2] = [[3.3125, 1.5], [3.3125, 3.5]];
const CHOICES: [[f32; 2]; 2] = [[7.6875, 1.5], [7.6875, 3.5]];
/// Half a side of the fence around an example, in cells, and of the teleporter, in units.
const FENCE: f32 = 0.3125;
const PAD: f32 = 24.0;
/// Players look east when they are put down.
const EAST: f32 = 0.0;

/// The parameters of select-nonmatching-object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectNonmatchingObjectConfig {
    /// Columns of the picture; 96 in the original.
    pub width: usize,
    /// Rows of the picture; 72 in the original.
    pub height: usize,
    /// Decisions after which an episode is truncated; 180 in the original.
    pub max_steps: u32,
    /// Side of a cell in DMLab's units, and height of the walls; the first room is 3 × 3 of them. 128 in the
    /// original.
    pub cell: f32,
    /// Different objects; 36 in the original.
    pub objects: u8,
}

impl SelectNonmatchingObjectConfig {
    fn settings(&self) -> GameSettings {
        GameSettings { width: self.width, height: self.height, max_steps: self.max_steps }
    }

    fn task(&self) -> Nonmatching {
        let (objects, cell) = (self.objects, self.cell);
        let mut plan = Plan::yard(9, 5, cell, Surface::SlatePanel, Surface::OrangeTiles);
        for row in 1..4 {
            plan.build([4, row], Surface::SlatePanel);
            if row != 2 {
                plan.build([5, row], Surface::SandPanel);
            }
        }
        for row in 0..5 {
            (6..9).filter(|&column| row % 4 == 0 || column == 8).for_each(|column| {
                plan.build([column, row], Surface::SandPanel);
            });
        }
        for [x, y] in EXAMPLES {
            plan.fence([x, y].map(|middle| [-FENCE, FENCE].map(|side| (middle + side) * cell)));
        }
        Nonmatching {
            objects,
            plan,
            same: 0,
            other: 1,
            sides: [0, 0],
            choosing: false,
            right: 0,
            wrong: 0,
        }
    }

    fn game(&self, seed: Seed) -> Game<Nonmatching> {
        Game::new(self.spec(), self.settings(), self.task(), seed)
    }
}

impl EnvironmentParameters for SelectNonmatchingObjectConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.settings().validate()?;
        within("cell", self.cell, 64.0..=256.0)?;
        within("objects", self.objects, 2..=OBJECTS)
    }

    fn spec(&self) -> EnvSpec {
        self.settings().spec("rooms-select-nonmatching-object".into())
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(self.game(seed))
    }
}

/// The rules, and what an episode and its round have drawn.
struct Nonmatching {
    objects: u8,
    plan: Plan,
    /// The object to remember, and the other one.
    same: u8,
    other: u8,
    /// Pedestal of the example, and place of the object to choose.
    sides: [usize; 2],
    /// True in the second room.
    choosing: bool,
    /// Choices of this episode.
    right: u32,
    wrong: u32,
}

impl Nonmatching {
    fn place(&self, cells: [f32; 2]) -> [f32; 2] {
        cells.map(|x| x * self.plan.cell)
    }

    /// Draws what is new in a round. Its other object may be any but the same.
    fn draw(&mut self, generator: &mut Generator) {
        let other = generator.random_range(0..self.objects - 1);
        self.other = if other < self.same { other } else { other + 1 };
        self.sides = [0, 1].map(|_| generator.random_range(0..2));
        self.choosing = false;
    }

    fn player(&self, cells: [f32; 2], generator: &mut Generator) -> Walker {
        let [x, y] = self.place(cells);
        // Where cells are small, clear of the wall behind.
        let x = x.max(self.plan.cell + BODY + 1.0);
        Walker::spread([x, y], EAST, generator)
    }

    /// Figures that stand in the rooms in this round.
    fn things(&self) -> Vec<Thing> {
        let thing = |figure, cells| Thing { figure, place: self.place(cells) };
        let [example, choice] = self.sides;
        vec![
            thing(Figure::Teleporter, TELEPORTER),
            thing(Figure::Object(self.same), EXAMPLES[example]),
            thing(Figure::Object(self.other), CHOICES[choice]),
            thing(Figure::Object(self.same), CHOICES[1 - choice]),
        ]
    }
}

impl Task for Nonmatching {
    fn begin(&mut self, generator: &mut Generator) -> Scene {
        (self.right, self.wrong) = (0, 0);
        self.same = generator.random_range(0..self.objects);
        self.draw(generator);
        let mut scene = Scene::new(self.plan.clone(), self.player(START, generator));
        scene.things = self.things();
        scene
    }

    fn pass(&mut self, scene: &mut Scene, generator: &mut Generator) -> Event {
        if !self.choosing {
            let pad = self.place(TELEPORTER);
            let touches = |axis: usize| (scene.player.place[axis] - pad[axis]).abs() < PAD + BODY;
            if !(touches(0) && touches(1)) {
                return Event::default();
            }
            self.choosing = true;
            scene.player = self.player(ARRIVAL, generator);
            return Event::paid(TELEPORT);
        }
        let [_, choice] = self.sides;
        let taken = (0..2).find(|&side| scene.reaches(self.place(CHOICES[side]), REACH));
        let Some(taken) = taken else { return Event::default() };
        let is_right = taken == choice;
        if is_right {
            self.right += 1
        } else {
            self.wrong += 1
        }
        self.draw(generator);
        scene.player = self.player(START, generator);
        scene.things = self.things();
        Event::paid(if is_right { NONMATCH } else { MATCH })
    }

    /// Something was chosen, and never the wrong object.
    fn success(&self) -> bool {
        self.right > 0 && self.wrong == 0
    }

    fn caption(&self) -> String {
        let (right, wrong) = (self.right, self.wrong);
        let task = if self.choosing { "take the other object" } else { "look, then teleport" };
        format!("{task}; chosen: {right} right, {wrong} wrong")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use engram_mdp::{Ending, ObservationMut};

    use super::*;
    use crate::rooms::testing::{Player, mean, steer, wander};

    fn config() -> SelectNonmatchingObjectConfig {
        SelectNonmatchingObjectConfig {
            width: 16,
            height: 12,
            max_steps: 180,
            cell: 128.0,
            objects: 36,
        }
    }

    /// Takes the object that differs, or the same one.
    fn take(other: bool) -> impl Fn(&Game<Nonmatching>) -> usize {
        move |game| {
            let task = &game.task;
            let choice = if other { task.sides[1] } else { 1 - task.sides[1] };
            let goal = if task.choosing { CHOICES[choice] } else { TELEPORTER };
            steer(&game.scene.player, task.place(goal), 40.0)
        }
    }

    #[test]
    fn the_teleporter_pays_one_the_other_object_ten_and_the_same_one_costs_ten() {
        for (other, reward) in [(true, 10.0), (false, -10.0)] {
            let mut player = Player::new(config().game(Seed::new(5)));
            let mut rewards = Vec::new();
            let mut rounds = HashSet::new();
            let same = player.game.task.same;
            while rewards.len() < 8 {
                let round = (player.game.task.other, player.game.task.sides);
                rounds.insert(round);
                let before = player.game.task.choosing;
                let outcome = player.step(take(other));
                if outcome.reward != 0.0 {
                    rewards.push(outcome.reward);
                    assert_ne!(before, player.game.task.choosing);
                }
                assert_eq!(player.game.task.same, same, "it stays for the whole episode");
                assert_ne!(player.game.task.other, same);
            }
            assert_eq!(rewards, [1.0, reward, 1.0, reward, 1.0, reward, 1.0, reward]);
            assert!(rounds.len() > 2, "rounds differ: {rounds:?}");
            assert_eq!(player.game.success(), Some(other));
        }
    }

    #[test]
    fn the_example_cannot_be_reached_and_pays_nothing() {
        let mut player = Player::new(config().game(Seed::new(2)));
        let example = player.game.task.place(EXAMPLES[player.game.task.sides[0]]);
        for _ in 0..100 {
            // Beside the teleporter, which is on the way from the start.
            let place = player.game.scene.player.place;
            let corner = [example[0] - 120.0, example[1]];
            let goal = if place[0] < corner[0] - 5.0 { corner } else { example };
            assert_eq!(player.step(|game| steer(&game.scene.player, goal, 40.0)).reward, 0.0);
        }
        let place = player.game.scene.player.place;
        assert!((example[0] - place[0] - FENCE * 128.0 - BODY).abs() < 1.0, "{place:?}");
    }

    /// Picture of a player who looks at the middle of the wall ahead.
    fn picture(game: &mut Game<Nonmatching>, cells: [f32; 2]) -> Vec<u8> {
        let mut image = vec![0; 3 * 72 * 96];
        game.scene.player = Walker::new(game.task.place(cells), EAST);
        game.scene.things = game.task.things();
        game.show(ObservationMut::U8(&mut image));
        image
    }

    /// Pixels in which two pictures differ clearly.
    fn apart(one: &[u8], two: &[u8]) -> usize {
        let pixels = one.len() / 3;
        let differ = |at: &usize| {
            let channel = |i: usize| u32::from(one[i * pixels + at].abs_diff(two[i * pixels + at]));
            (0..3).map(channel).sum::<u32>() > 60
        };
        (0..pixels).filter(differ).count()
    }

    #[test]
    fn every_object_is_told_from_every_other_where_it_must_be_remembered_and_chosen() {
        let config = SelectNonmatchingObjectConfig { width: 96, height: 72, ..config() };
        let mut game = config.game(Seed::new(1));
        let mut pictures = |place: [f32; 2], sides: [usize; 2]| {
            let show = |same: u8| {
                game.task.same = same;
                // The other object is always the same one, and out of sight or always there.
                (game.task.other, game.task.sides) = (0, sides);
                picture(&mut game, place)
            };
            (0..OBJECTS).map(show).collect::<Vec<_>>()
        };
        let views = [
            ("example", pictures(START, [0, 0])),
            ("example", pictures(START, [1, 0])),
            ("choice", pictures(ARRIVAL, [0, 0])),
            ("choice", pictures(ARRIVAL, [0, 1])),
        ];
        let mut least = usize::MAX;
        for (name, pictures) in &views {
            for one in 0..pictures.len() {
                for two in 0..one {
                    let pixels = apart(&pictures[one], &pictures[two]);
                    assert!(pixels >= 6, "{name}: {one} and {two} differ in {pixels} pixels");
                    least = least.min(pixels);
                }
            }
        }
        println!("objects differ in at least {least} pixels");
        let sides = apart(&views[0].1[7], &views[1].1[7]);
        assert!(sides > 60, "the pedestal's side is seen: {sides}");
    }

    #[test]
    fn random_players_stay_out_of_walls_and_fences() {
        for (seed, cell) in [(0, 128.0), (1, 128.0), (2, 64.0), (3, 200.0)] {
            let config = SelectNonmatchingObjectConfig { cell, ..config() };
            wander(config.game(Seed::new(seed)), seed, 2500);
        }
    }

    /// docs/results/rooms.md has these numbers.
    #[test]
    fn returns_of_random_players_and_of_one_who_knows_the_object() {
        let returns = |config: SelectNonmatchingObjectConfig| {
            mean((0..40).map(|seed: u64| {
                let mut player = Player::new(config.game(Seed::new(seed)));
                let best = player.episode(take(true));
                assert_eq!(player.steps, config.max_steps);
                assert_eq!(best.1, Some(Ending::Truncated));
                (best.0, player.random_episode(seed).0)
            }))
        };
        let (best, random) = returns(config());
        println!("select-nonmatching-object: oracle {best:.1}, random {random:.1}");
        assert!((55.0..77.0).contains(&best), "five rounds or six, {best}");
        assert!(random.abs() < 4.0, "{random}");
        let short =
            SelectNonmatchingObjectConfig { max_steps: 45, cell: 64.0, objects: 2, ..config() };
        let (best, random) = returns(short);
        println!("the short one: oracle {best:.1}, random {random:.1}");
        assert!(best >= 22.0, "two rounds, {best}");
        assert!(random.abs() < 4.0, "{random}");
    }
}
