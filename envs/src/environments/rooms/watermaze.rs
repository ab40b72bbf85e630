//! Water maze: find a platform that cannot be seen, and go back to it (DMLab-30's `rooms_watermaze`, after
//! Morris 1981).
//!
//! The platform is somewhere in a large yard, at the same place for a whole episode. Who steps on it is
//! lifted and held there, is paid 1 at once and after every second, five times in all, and is then
//! put down again at the edge of the yard, somewhere else. Walls, pictures on them and towers in the sky tell
//! where one is. The first search takes long; from then on the way is known, to those who remember.
//!
//! Episodes are cut off by time: 1800 decisions, two minutes.

use std::f64::consts::TAU;

use engram_mdp::{EnvSpec, Generator, Seed};
use rand::RngExt;
use serde::Deserialize;

use crate::canvas::GOAL;
use crate::environment::{Environment, EnvironmentParameters};
use crate::error::{ParameterError, within};
use crate::rooms::{
    BODY, Event, FRAMES_PER_SECOND, Game, GameSettings, Mark, Plan, Scene, Surface, Task, Walker,
};

/// Side of a cell in DMLab's units.
const CELL: f32 = 100.0;
/// Payments of the platform until the player is put elsewhere, and frames between two of them. Their number
/// is the level script's, their time the engine's, and not known to us.
const PAYMENTS: u32 = 5;
const PAYMENT_FRAMES: u32 = FRAMES_PER_SECOND as u32;
/// Distance from the walls at which players start, and height of the platform that lifts them.
const START_MARGIN: f32 = 50.0;
const LIFT: f32 = 30.0;

/// The parameters of the water maze.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatermazeConfig {
    /// Columns of the picture; 96 in the original.
    pub width: usize,
    /// Rows of the picture; 72 in the original.
    pub height: usize,
    /// Decisions after which an episode is truncated; 1800 in the original.
    pub max_steps: u32,
    /// Side of the yard in cells of 100 units.
    pub yard: usize,
    /// Largest distance of the platform's middle from the yard's, in units; 580 in the original.
    pub platform_spread: f32,
    /// Radius of the platform, in units.
    pub platform_radius: f32,
}

impl WatermazeConfig {
    fn settings(&self) -> GameSettings {
        GameSettings { width: self.width, height: self.height, max_steps: self.max_steps }
    }

    fn game(&self, seed: Seed) -> Game<Watermaze> {
        let task = Watermaze {
            plan: yard(self.yard),
            spread: self.platform_spread,
            radius: self.platform_radius,
            platform: [0.0; 2],
            held: None,
            found: 0,
        };
        Game::new(self.spec(), self.settings(), task, seed)
    }
}

impl EnvironmentParameters for WatermazeConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.settings().validate()?;
        within("yard", self.yard, 3..=40)?;
        within("platform_radius", self.platform_radius, 20.0..=CELL)?;
        // Who stands on it keeps clear of the walls.
        let room = CELL * self.yard as f32 / 2.0 - 2.0 * BODY;
        within("platform_spread", self.platform_spread, 0.0..=room)
    }

    fn spec(&self) -> EnvSpec {
        self.settings().spec("rooms-watermaze".into())
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(self.game(seed))
    }
}

/// A yard whose four walls differ, with a picture on each third of a wall or so.
fn yard(side: usize) -> Plan {
    let mut plan = Plan::yard(side + 2, side + 2, CELL, Surface::Stone, Surface::WaterTiles);
    let pictures = [Surface::Rings, Surface::Stripes, Surface::Checks, Surface::Diamond];
    for along in 0..side + 2 {
        let walls = [
            ([along, 0], Surface::Brick),
            ([side + 1, along], Surface::Stone),
            ([along, side + 1], Surface::Planks),
            ([0, along], Surface::Hedge),
        ];
        for (number, (cell, surface)) in walls.into_iter().enumerate() {
            let (first, second) = (along == 1 + side / 4, along == 1 + 3 * side / 4);
            let surface = match (first, second) {
                (true, _) => pictures[number],
                (_, true) => pictures[(number + 1) % 4],
                _ => surface,
            };
            plan.build(cell, surface);
        }
    }
    plan
}

/// The rules, and what an episode has drawn.
struct Watermaze {
    plan: Plan,
    spread: f32,
    radius: f32,
    platform: [f32; 2],
    /// Frames for which the platform has held the player.
    held: Option<u32>,
    /// Times that it was found in this episode.
    found: u32,
}

impl Watermaze {
    fn middle(&self) -> f32 {
        self.plan.cell * self.plan.columns as f32 / 2.0
    }

    /// A place in some direction from the middle.
    fn away(&self, angle: f64, distance: f32) -> [f32; 2] {
        [angle.cos(), angle.sin()].map(|way| self.middle() + distance * way as f32)
    }

    /// A player at the edge of the largest circle in the yard, who looks at its middle.
    fn player(&self, generator: &mut Generator) -> Walker {
        let angle = generator.random_range(0.0..TAU);
        let reach = self.middle() - CELL - START_MARGIN;
        Walker::spread(self.away(angle, reach), angle.to_degrees() as f32 + 180.0, generator)
    }
}

impl Task for Watermaze {
    fn begin(&mut self, generator: &mut Generator) -> Scene {
        // Uniform over a disc.
        let angle = generator.random_range(0.0..TAU);
        let distance = self.spread * generator.random_range(0.0_f32..1.0).sqrt();
        self.platform = self.away(angle, distance);
        (self.held, self.found) = (None, 0);
        Scene::new(self.plan.clone(), self.player(generator))
    }

    fn pass(&mut self, scene: &mut Scene, generator: &mut Generator) -> Event {
        let Some(frames) = self.held else {
            if !scene.reaches(self.platform, self.radius) {
                return Event::default();
            }
            (self.held, self.found) = (Some(0), self.found + 1);
            scene.lift = LIFT;
            self.hold(scene);
            return Event::paid(1.0);
        };
        let frames = frames + 1;
        self.held = Some(frames);
        self.hold(scene);
        if frames < PAYMENTS * PAYMENT_FRAMES {
            return Event::paid(if frames.is_multiple_of(PAYMENT_FRAMES) { 1.0 } else { 0.0 });
        }
        self.held = None;
        scene.lift = 0.0;
        scene.player = self.player(generator);
        Event::default()
    }

    /// The platform was found again, after the first time.
    fn success(&self) -> bool {
        self.found >= 2
    }

    fn caption(&self) -> String {
        let task = match (self.held, self.found) {
            (Some(_), _) => "on the platform",
            (None, 0) => "find the platform",
            (None, _) => "go back to the platform",
        };
        format!("{task}; found {} times", self.found)
    }

    fn marks(&self) -> Vec<Mark> {
        vec![Mark { place: self.platform, radius: self.radius, color: GOAL }]
    }
}

impl Watermaze {
    /// Keeps the player in the middle of the platform; it may turn.
    fn hold(&self, scene: &mut Scene) {
        (scene.player.place, scene.player.velocity) = (self.platform, [0.0; 2]);
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;

    use super::*;
    use crate::rooms::testing::{Player, mean, steer, wander};

    fn config() -> WatermazeConfig {
        WatermazeConfig {
            width: 16,
            height: 12,
            max_steps: 1800,
            yard: 13,
            platform_spread: 580.0,
            platform_radius: 80.0,
        }
    }

    fn seek(game: &Game<Watermaze>) -> usize {
        steer(&game.scene.player, game.task.platform, 40.0)
    }

    #[test]
    fn the_platform_pays_five_times_then_the_player_starts_elsewhere() {
        let mut player = Player::new(config().game(Seed::new(1)));
        let (platform, mut payments) = (player.game.task.platform, Vec::new());
        while payments.len() < 12 {
            let held = player.game.task.held.is_some();
            let outcome = player.step(seek);
            if outcome.reward > 0.0 {
                payments.push(player.steps);
                assert_eq!(outcome.reward, 1.0);
            }
            assert_eq!(player.game.task.platform, platform, "it stays for the whole episode");
            if held && player.game.task.held.is_none() {
                assert_eq!(payments.len() % PAYMENTS as usize, 0);
                let [x, y] = player.game.scene.player.place;
                let (middle, speed) =
                    (player.game.task.middle(), player.game.scene.player.velocity);
                // The rest of the decision may have been walked.
                assert!(((x - middle).hypot(y - middle) - 600.0).abs() < 25.0 && speed[0] < 200.0);
            }
        }
        let waits: Vec<u32> = payments.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // A second is 15 decisions.
        assert_eq!((&waits[..4], &waits[5..9]), (&[15; 4][..], &[15; 4][..]));
        assert!(waits[4] > 15, "{waits:?}: it must be walked to again");
        assert!(player.game.success() == Some(true) && player.game.task.found == 3);
    }

    #[test]
    fn the_platform_lies_anywhere_within_its_spread_and_differs_between_episodes() {
        let mut game = config().game(Seed::new(3));
        let mut generator = Seed::new(4).generator();
        let away = (0..300).map(|_| {
            let scene = game.task.begin(&mut generator);
            assert!(scene.plan.obstacle(scene.player.place, BODY).is_none());
            let [x, y] = game.task.platform.map(|x| x - game.task.middle());
            x.hypot(y)
        });
        let away: Vec<f32> = away.collect();
        assert!(away.iter().all(|&distance| distance <= 580.0));
        // Uniform over a disc: a quarter lies within half the radius.
        let near = away.iter().filter(|&&distance| distance < 290.0).count();
        assert!((50..100).contains(&near), "{near}");
    }

    #[test]
    fn players_start_at_the_edge_and_look_inward() {
        let mut game = config().game(Seed::new(3));
        let mut generator = Seed::new(4).generator();
        for _ in 0..50 {
            let player = game.task.begin(&mut generator).player;
            let [front, _] = player.axes();
            let inward = player.place.map(|x| (game.task.middle() - x) / 600.0);
            let cosine = front[0] * inward[0] + front[1] * inward[1];
            assert!(cosine > 0.98, "{player:?}");
        }
    }

    #[test]
    fn a_platform_in_the_wall_is_refused() {
        let error = WatermazeConfig { platform_spread: 640.0, ..config() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "`platform_spread` is 640; it must be 0 to 620");
    }

    #[test]
    fn random_players_stay_out_of_walls() {
        for seed in 0..4 {
            wander(config().game(Seed::new(seed)), seed, 2500);
        }
    }

    /// docs/results/rooms.md has these numbers.
    #[test]
    fn returns_of_random_players_and_of_one_who_knows_the_place() {
        let play = |seed: u64| {
            let mut player = Player::new(config().game(Seed::new(seed)));
            let best = player.episode(seek);
            assert_eq!((player.steps, best.1), (1800, Some(Ending::Truncated)));
            (best.0, player.random_episode(seed).0)
        };
        let (best, random) = mean((0..20).map(play));
        println!("water maze: oracle {best:.1}, random {random:.1}");
        assert!((75.0..100.0).contains(&best), "{best}");
        assert!(random < 15.0, "{random}");
    }
}
