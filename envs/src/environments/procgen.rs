//! ProcGen: sixteen games whose levels are drawn, from the library of its own Python package (Cobbe et
//! al. 2020, <https://arxiv.org/abs/1912.01588>). `cargo xtask fetch procgen` brings it.
//!
//! - Observations are pictures of `[3, 64, 64]` bytes; there are 15 actions, combinations of buttons.
//! - Levels are `start_level` and those after it, `num_levels` of them; 0 is all there are. An episode
//!   plays one, which is drawn.
//! - The library shows the next episode's first picture in the place of an episode's last one. So a
//!   Last frame repeats the picture before it.
//! - An episode that lasts as long as the game allows is truncated, unless it was solved just then. To
//!   the library all ends are the same.

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use engram_mdp::{Action, ActionSpec, Dtype, EnvSpec, ObservationMut, ObservationSpec, Seed};
use serde::Deserialize;

use crate::canvas::Canvas;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::libenv::{Library, Played, Setting};

const SIDE: usize = 64;
const COLORS: usize = 3;
const ACTIONS: usize = 15;
/// The action that ends an episode, and begins the next one.
const RESET: i32 = -1;

/// The package, as the cache names it.
const PACKAGE: &str = "procgen-0.10.7";

/// The games.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "ProcGen's names")]
pub enum Game {
    Bigfish,
    Bossfight,
    Caveflyer,
    Chaser,
    Climber,
    Coinrun,
    Dodgeball,
    Fruitbot,
    Heist,
    Jumper,
    Leaper,
    Maze,
    Miner,
    Ninja,
    Plunder,
    Starpilot,
}

/// Distribution of a game's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DistributionMode {
    /// Small and simple levels.
    Easy,
    /// ProcGen's default.
    Hard,
    /// Harder ones, in four games.
    Extreme,
    /// Large worlds of which the agent sees a part, in six games.
    Memory,
}

/// The parameters of ProcGen. Whatever else it can set is as it sets it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcgenConfig {
    /// The game.
    pub game: Game,
    /// Distribution of its levels.
    pub distribution_mode: DistributionMode,
    /// Number of levels; 0 is all there are.
    pub num_levels: i32,
    /// The first of them.
    pub start_level: i32,
}

impl Game {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Decisions after which the library ends an episode.
    fn time_limit(self) -> u32 {
        match self {
            Game::Bossfight | Game::Plunder => 4000,
            Game::Leaper | Game::Maze => 500,
            _ => 1000,
        }
    }

    fn has(self, mode: DistributionMode) -> bool {
        match mode {
            DistributionMode::Easy | DistributionMode::Hard => true,
            DistributionMode::Extreme => {
                matches!(self, Game::Chaser | Game::Dodgeball | Game::Leaper | Game::Starpilot)
            }
            DistributionMode::Memory => matches!(
                self,
                Game::Caveflyer
                    | Game::Dodgeball
                    | Game::Heist
                    | Game::Jumper
                    | Game::Maze
                    | Game::Miner
            ),
        }
    }
}

impl DistributionMode {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Its number in the library.
    fn number(self) -> i32 {
        match self {
            DistributionMode::Easy => 0,
            DistributionMode::Hard => 1,
            DistributionMode::Extreme => 2,
            DistributionMode::Memory => 10,
        }
    }
}

impl EnvironmentParameters for ProcgenConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("num_levels", self.num_levels, 0..=i32::MAX)?;
        within("start_level", self.start_level, 0..=i32::MAX - self.num_levels)?;
        let mode = self.distribution_mode;
        if !self.game.has(mode) {
            let all = [
                DistributionMode::Easy,
                DistributionMode::Hard,
                DistributionMode::Extreme,
                DistributionMode::Memory,
            ];
            let modes = all.into_iter().filter(|&mode| self.game.has(mode));
            let modes: Vec<String> = modes.map(DistributionMode::name).collect();
            let range = format!("one of {}, as `game` is {}", modes.join(", "), self.game.name());
            return Err(ParameterError::new("distribution_mode", mode.name(), range));
        }
        Ok(())
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: format!("procgen:{}", self.game.name()),
            observation: ObservationSpec { dtype: Dtype::U8, shape: vec![COLORS, SIDE, SIDE] },
            action: ActionSpec::Discrete { count: ACTIONS },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn ready(&self) -> Result<(), String> {
        library().map(|_| ())
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let (library, assets) = library().unwrap_or_else(|reason| panic!("{reason}"));
        let settings = [
            ("env_name", Setting::Text(self.game.name())),
            ("num_levels", Setting::Number(self.num_levels)),
            ("start_level", Setting::Number(self.start_level)),
            ("num_actions", Setting::Number(ACTIONS as i32)),
            ("use_sequential_levels", Setting::Truth(false)),
            ("debug_mode", Setting::Number(0)),
            ("rand_seed", Setting::Number(rand_seed(seed))),
            ("num_threads", Setting::Number(0)),
            ("render_human", Setting::Truth(false)),
            ("resource_root", Setting::Text(assets.into())),
            ("center_agent", Setting::Truth(true)),
            ("use_generated_assets", Setting::Truth(false)),
            ("use_monochrome_assets", Setting::Truth(false)),
            ("restrict_themes", Setting::Truth(false)),
            ("use_backgrounds", Setting::Truth(true)),
            ("paint_vel_info", Setting::Truth(false)),
            ("distribution_mode", Setting::Number(self.distribution_mode.number())),
        ];
        Box::new(Procgen {
            spec: self.spec(),
            game: self.game,
            played: Played::open(library, &settings, &[SIDE, SIDE, COLORS]),
            is_fresh: true,
            shown: vec![0; COLORS * SIDE * SIDE],
            env_steps: 0,
            episode_return: 0.0,
            success: None,
        })
    }
}

/// A seed as the library takes it.
fn rand_seed(seed: Seed) -> i32 {
    (seed.number() >> 33) as i32
}

/// The library and the folder of its pictures, which are loaded once; or the reason why they cannot be.
fn library() -> Result<(&'static Library, &'static str), String> {
    static LIBRARY: OnceLock<Result<(Library, String), String>> = OnceLock::new();
    let loaded = LIBRARY.get_or_init(|| {
        let data = folder().ok_or("neither ENGRAM_PROCGEN, ENGRAM_CACHE nor HOME is set")?;
        let path = data.join("prebuilt/libenv.so");
        if !path.is_file() {
            let place = path.display();
            return Err(format!("there is no {place}; `cargo xtask fetch procgen` brings it"));
        }
        let library = Library::load(&path).map_err(|error| {
            format!(
                "its library cannot be loaded ({error}); it needs glib (Debian: apt install \
                 libglib2.0-0), and `cargo xtask fetch procgen` brings it again if it is damaged"
            )
        })?;
        Ok((library, format!("{}/", data.join("assets").display())))
    });
    loaded.as_ref().map(|(library, assets)| (library, &**assets)).map_err(Clone::clone)
}

/// The folder `data` of the package: ENGRAM_PROCGEN, else in the cache of xtask.
fn folder() -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || {
        variable("ENGRAM_CACHE")
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("engram")))
            .or_else(|| Some(variable("HOME")?.join(".cache/engram")))
    };
    variable("ENGRAM_PROCGEN").or_else(|| Some(cache()?.join(PACKAGE).join("procgen/data")))
}

/// One game.
struct Procgen {
    spec: EnvSpec,
    game: Game,
    played: Played,
    /// The library is at the first observation of an episode that was not reset yet.
    is_fresh: bool,
    /// The observation that was shown last.
    shown: Vec<u8>,
    env_steps: u32,
    episode_return: f32,
    success: Option<bool>,
}

impl Procgen {
    /// Reads the library's picture, `[height, width, channels]`, and shows it, channels first.
    fn show(&mut self, observation: ObservationMut<'_>) {
        let pixels = self.played.observation().chunks_exact(COLORS).enumerate();
        for (at, pixel) in pixels {
            for (color, &value) in pixel.iter().enumerate() {
                self.shown[color * SIDE * SIDE + at] = value;
            }
        }
        observation.bytes().copy_from_slice(&self.shown);
    }
}

impl Environment for Procgen {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        if !self.is_fresh {
            self.played.act(RESET);
            assert!(self.played.is_first(), "an episode begins after this action");
        }
        self.is_fresh = false;
        (self.env_steps, self.episode_return, self.success) = (0, 0.0, None);
        self.show(observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.played.act(action.index() as i32);
        let reward = self.played.reward();
        self.env_steps += 1;
        self.episode_return += reward;
        if !self.played.is_first() {
            self.show(observation);
            return Outcome::goes_on(reward);
        }
        observation.bytes().copy_from_slice(&self.shown);
        self.is_fresh = true;
        let solved = self.played.info("prev_level_complete") != 0;
        self.success = Some(solved);
        match self.env_steps >= self.game.time_limit() && !solved {
            true => Outcome::truncated(reward),
            false => Outcome::terminated(reward),
        }
    }

    fn success(&self) -> Option<bool> {
        self.success
    }

    fn render(&self, canvas: &mut Canvas) {
        let color = |at: usize, color: usize| self.shown[color * SIDE * SIDE + at];
        let pixels: Vec<u8> =
            (0..SIDE * SIDE).flat_map(|at| [0, 1, 2].map(|i| color(at, i))).collect();
        canvas.picture(SIDE, SIDE, &pixels);
        canvas.set_caption(format!(
            "{}: step {}, return {}",
            self.game.name(),
            self.env_steps,
            self.episode_return
        ));
    }
}
