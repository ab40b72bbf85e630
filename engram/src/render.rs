//! `engram render`: images of an environment being played, for people.
//!
//! Here an environment is chosen; [`player`] plays it, by a run's checkpoint or at random;
//! [`scene`] composes one moment, what is there beside what the agent sees; [`animation`] writes
//! moments to files.

mod animation;
mod player;
mod scene;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use engram_analysis::CheckpointChoice;
use engram_envs::{EnvConfig, VectorEnv};
use engram_mdp::Seed;
use engram_service::config::{
    ActionChoice, EXPERIMENTS, ExperimentSelection, names, part, resolve,
};
use engram_service::{Shutdown, config::ConfigError};

use crate::experiment::Experiment;
use animation::{Animation, write_png};
use player::{Player, checkpoint};
use scene::Scene;

/// Flags of `engram render`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RenderArgs {
    /// Name of an experiment or of an environment, or a .toml file of either [default: the run's
    /// environment]
    #[arg(value_name = "ENVIRONMENT", required_unless_present = "run")]
    environment: Option<String>,
    /// File to write: an animated GIF of all moments, or a PNG image of one, by its ending
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Let a checkpoint of this run play; else decisions are random
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
    /// Checkpoint that plays: the newest, or the one with the best evaluation while training
    #[arg(long, value_enum, default_value_t, requires = "run")]
    checkpoint: CheckpointChoice,
    /// Actions that a checkpoint takes [default: the run's eval_actions]
    #[arg(long, value_enum, requires = "run")]
    actions: Option<ActionChoice>,
    /// Episodes to play
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    episodes: u32,
    /// The seed of the environment and of random decisions
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The moment that a .png shows; frames are counted from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    frame: usize,
    /// Frames that a .gif shows per second
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=50))]
    speed: u16,
    /// Set one key of the environment, as in env.delay=40
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of experiments and parts
    #[arg(long, value_name = "DIR", env = "ENGRAM_CONFIGS", default_value = "configs")]
    configs: PathBuf,
}

/// Kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Gif,
    Png,
}

impl RenderArgs {
    fn format(&self) -> Result<Format> {
        match self.out.extension().and_then(|extension| extension.to_str()) {
            Some("gif") => Ok(Format::Gif),
            Some("png") => Ok(Format::Png),
            _ => bail!("--out is {}; it must end in .gif or .png", self.out.display()),
        }
    }

    /// The environment that was named, or else the run's.
    fn env(&self) -> Result<EnvConfig> {
        match (&self.environment, &self.run) {
            (Some(environment), _) => self.named(environment),
            (None, Some(run)) => Ok(Experiment::of_run(run, &self.set)?.env),
            (None, None) => unreachable!("clap asks for an environment or a run"),
        }
    }

    /// An experiment's environment, or one of `configs/env`.
    fn named(&self, environment: &str) -> Result<EnvConfig> {
        let experiments = names(&self.configs, EXPERIMENTS)?;
        let is_file = environment.ends_with(".toml");
        if experiments.iter().any(|name| name == environment)
            || (is_file && !is_environment(environment)?)
        {
            let (env, rl, seq) = (None, None, None);
            let (configs, set) = (self.configs.clone(), self.set.clone());
            let selection =
                ExperimentSelection { experiment: environment.into(), env, rl, seq, set, configs };
            return Ok(Experiment::new(resolve(&selection)?)?.env);
        }
        match part::<toml::Table>(&self.configs, "env", environment, &self.set) {
            Ok((_, table)) => Ok(EnvConfig::from_table(table)?),
            Err(ConfigError::UnknownName { known, .. }) => bail!(
                "`{environment}` is neither an experiment ({}) nor an environment ({})",
                experiments.join(", "),
                known.join(", ")
            ),
            Err(error) => Err(error.into()),
        }
    }
}

/// True for the file of an environment alone; an experiment has no such key.
fn is_environment(path: &str) -> Result<bool> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let table = text.parse::<toml::Table>().with_context(|| format!("{path} does not parse"))?;
    Ok(table.contains_key("name"))
}

/// Plays, draws, and prints the file's name.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &RenderArgs, shutdown: &Shutdown) -> Result<()> {
    let format = args.format()?;
    let env = args.env()?.drawn();
    env.try_spec()?;
    let player = match &args.run {
        Some(run) => {
            let of_run = Experiment::of_run(run, &[])?.run.eval_actions;
            let policy = checkpoint(run, args.checkpoint, &env.spec())?;
            Player::trained(policy, args.actions.unwrap_or(of_run), Seed::new(args.seed))
        }
        None => Player::random(Seed::new(args.seed)),
    };
    let scenes = Scenes::new(args, &env, player, shutdown)?;
    let frames = match format {
        Format::Gif => draw_all(args, scenes)?,
        Format::Png => draw_one(args, scenes)?,
    };
    println!("{}: {frames} of {}", args.out.display(), env.spec().name);
    Ok(())
}

fn draw_all(args: &RenderArgs, mut scenes: Scenes<'_>) -> Result<String> {
    let mut animation = Animation::new(&args.out, args.speed)?;
    let mut frames = 0;
    while let Some(scene) = scenes.next() {
        animation.add(scene.picture(), scene.is_last())?;
        frames += 1;
    }
    animation.end()?;
    Ok(format!("{frames} frames"))
}

fn draw_one(args: &RenderArgs, mut scenes: Scenes<'_>) -> Result<String> {
    let mut frames = 0;
    while let Some(scene) = scenes.next() {
        if frames == args.frame {
            write_png(&args.out, scene.picture())?;
            return Ok(format!("frame {frames}"));
        }
        frames += 1;
    }
    bail!("--frame is {}; {frames} frames were played, counted from 0", args.frame)
}

/// The moments of some episodes.
struct Scenes<'a> {
    environment: VectorEnv,
    player: Player,
    scene: Scene,
    episodes_left: u32,
    begun: bool,
    shutdown: &'a Shutdown,
}

impl<'a> Scenes<'a> {
    fn new(
        args: &RenderArgs,
        env: &EnvConfig,
        player: Player,
        shutdown: &'a Shutdown,
    ) -> Result<Self> {
        let environment = VectorEnv::open(env, 0..1, Seed::new(args.seed))?;
        let scene = Scene::new(environment.spec())?;
        Ok(Scenes {
            environment,
            player,
            scene,
            episodes_left: args.episodes,
            begun: false,
            shutdown,
        })
    }

    /// The next moment, until the last episode has ended.
    fn next(&mut self) -> Option<&Scene> {
        if self.episodes_left == 0 || self.shutdown.is_triggered() {
            return None;
        }
        let mut success = None;
        if self.begun {
            let actions = self.player.act(self.environment.frames(), self.environment.spec());
            success = self.environment.step(&actions).first().and_then(|episode| episode.success);
        }
        self.begun = true;
        self.scene.show(&self.environment, success);
        self.episodes_left -= u32::from(self.scene.is_last());
        Some(&self.scene)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn args(environment: &str, out: &Path) -> RenderArgs {
        RenderArgs {
            environment: Some(environment.into()),
            out: out.into(),
            run: None,
            checkpoint: CheckpointChoice::Newest,
            actions: None,
            episodes: 2,
            seed: 1,
            frame: 3,
            speed: 8,
            set: Vec::new(),
            configs: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs"),
        }
    }

    #[test]
    fn an_environment_is_found_by_its_name_or_by_an_experiments() {
        let named = |environment: &str, set: &[&str]| {
            let mut args = args(environment, Path::new("x.gif"));
            args.set = set.iter().map(ToString::to_string).collect();
            args.env().map_err(|error| format!("{error:#}"))
        };
        let length = |env: EnvConfig| env.table()["corridor_length"].as_integer().unwrap();
        assert_eq!(length(named("tmaze-passive", &[]).unwrap()), 10, "the experiment's");
        assert_eq!(length(named("tmaze-active", &[]).unwrap()), 20, "the environment's");
        let file = args("", Path::new("")).configs.join("env/tmaze-passive.toml");
        assert_eq!(length(named(file.to_str().unwrap(), &[]).unwrap()), 50, "the file's");
        assert_eq!(length(named("tmaze-active", &["env.corridor_length=7"]).unwrap()), 7);
        let message = named("tmaze", &[]).unwrap_err();
        assert!(message.starts_with("`tmaze` is neither an experiment (ant-sac,"), "{message}");
        assert!(named("tmaze-active", &["env.corridor_length=0"]).unwrap_err().contains("1 to"));
    }

    #[test]
    fn every_environment_can_be_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("environment.gif");
        let configs = args("", &out).configs;
        for environment in names(&configs, "env").unwrap() {
            let args = RenderArgs { episodes: 1, ..args(&environment, &out) };
            let env = args.env().unwrap();
            // One that is served has its picture from its server, which may not be here; nor may a
            // library be.
            if env.is_served() || env.ready().is_err() {
                continue;
            }
            let player = Player::random(Seed::new(1));
            let shutdown = Shutdown::new();
            let mut scenes = Scenes::new(&args, &env, player, &shutdown).unwrap();
            let mut pictures = Vec::new();
            while let Some(scene) = scenes.next().filter(|_| pictures.len() < 5) {
                pictures.push(scene.picture().clone());
            }
            pictures.dedup();
            assert!(pictures.len() > 1, "{environment} shows nothing happening");
        }
    }

    #[test]
    fn episodes_become_an_animation_and_a_moment_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let (gif, png) =
            (folder.path().join("environment.gif"), folder.path().join("environment.png"));
        run(&args("catch", &gif), &Shutdown::new()).unwrap();
        let mut decoder =
            gif::DecodeOptions::new().read_info(std::fs::File::open(&gif).unwrap()).unwrap();
        let mut delays = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            delays.push(frame.delay);
        }
        assert_eq!(delays.len(), 20, "two episodes of nine decisions");
        assert_eq!(delays.iter().filter(|&&delay| delay > 100).count(), 2, "their ends stay");

        run(&args("catch", &png), &Shutdown::new()).unwrap();
        assert!(png.is_file());
        let beyond = RenderArgs { frame: 20, ..args("catch", &png) };
        let message = run(&beyond, &Shutdown::new()).unwrap_err().to_string();
        assert_eq!(message, "--frame is 20; 20 frames were played, counted from 0");
        let message = run(&args("catch", Path::new("x.mp4")), &Shutdown::new()).unwrap_err();
        assert_eq!(message.to_string(), "--out is x.mp4; it must end in .gif or .png");
    }
}
