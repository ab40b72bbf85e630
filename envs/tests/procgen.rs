//! ProcGen's games: what its own package shows (`procgen.toml`, made by `procgen.py`), in our frames.
//!
//! `cargo xtask test` brings the library. Without, these tests say that they were skipped.

use engram_envs::{EnvConfig, EnvError, VectorEnv};
use engram_mdp::{Actions, Ending, Episode, Finish, Observations, Seed, StepType};
use sha2::{Digest, Sha256};
use toml::{Table, Value};

/// True if the library is there. Where it was named, it must be.
fn is_here() -> bool {
    let ready = config("coinrun", "easy", 0).ready();
    if let Err(reason) = &ready {
        assert!(std::env::var_os("ENGRAM_PROCGEN").is_none(), "{reason}");
        #[expect(clippy::print_stderr, reason = "nobody must take a skipped test for a passed one")]
        {
            eprintln!("SKIPPED: {reason}");
        }
    }
    ready.is_ok()
}

fn read(game: &str, mode: &str, levels: i64) -> Result<EnvConfig, EnvError> {
    let text = format!(
        "name = 'procgen'\ngame = '{game}'\ndistribution_mode = '{mode}'\n\
         num_levels = {levels}\nstart_level = 0"
    );
    EnvConfig::from_table(text.parse().expect("TOML"))
}

fn config(game: &str, mode: &str, levels: i64) -> EnvConfig {
    read(game, mode, levels).expect("good keys")
}

fn alone(game: &str, mode: &str, levels: i64) -> VectorEnv {
    VectorEnv::open(&config(game, mode, levels), 0..1, Seed::new(1)).expect("the library is here")
}

fn pixels(group: &VectorEnv) -> &[u8] {
    let Observations::U8(bytes) = &group.frames().observations else { panic!("bytes") };
    bytes
}

/// Plays one game as `procgen.py` did; its digest, and the episodes.
fn played(mut group: VectorEnv, steps: i32) -> (String, Vec<Episode>) {
    let (mut seen, mut episodes) = (Sha256::new(), Vec::new());
    let observe = |seen: &mut Sha256, reward: f32, first: bool, pixels: &[u8]| {
        seen.update(reward.to_le_bytes());
        seen.update([u8::from(first)]);
        seen.update(pixels);
    };
    observe(&mut seen, 0.0, true, pixels(&group));
    for step in 0..steps {
        let actions = Actions::Discrete(vec![(step * 7 + step * step / 5) % 15]);
        episodes.extend_from_slice(group.step(&actions));
        let reward = group.frames().previous_rewards[0];
        let ended = group.frames().step_types[0].is_last();
        if ended {
            // The package shows the next episode's first picture with the last reward.
            assert!(group.step(&actions).is_empty());
            assert_eq!(group.frames().step_types[0], StepType::First);
        }
        observe(&mut seen, reward, ended, pixels(&group));
    }
    (format!("{:x}", seen.finalize()), episodes)
}

#[test]
fn games_are_what_their_own_package_shows() {
    if !is_here() {
        return;
    }
    let goldens: Table = include_str!("procgen.toml").parse().expect("TOML");
    let goldens = goldens["game"].as_array().expect("games");
    assert_eq!(goldens.len(), 20);
    for golden in goldens {
        let text = |key: &str| golden[key].as_str().expect("text");
        let number = |key: &str| golden[key].as_integer().expect("a number");
        let (game, mode) = (text("game"), text("distribution_mode"));
        let seed = Seed::new(1).derive("env", 0).number() >> 33;
        assert_eq!(number("rand_seed"), seed as i64);
        let steps = i32::try_from(number("steps")).expect("steps");
        let (digest, episodes) = played(alone(game, mode, number("num_levels")), steps);
        assert_eq!(episodes.len() as i64, number("ends"), "{game}, {mode}");
        assert_eq!(Value::from(digest), golden["digest"], "{game}, {mode}");
        for episode in &episodes {
            let limit = match game {
                "leaper" | "maze" => 500,
                _ => 1000,
            };
            let cut = episode.env_steps == limit && episode.success == Some(false);
            let ending = if cut { Ending::Truncated } else { Ending::Terminated };
            assert_eq!(episode.finish, Finish::Ended(ending), "{game}: {episode:?}");
            assert!(episode.env_steps <= limit && episode.success.is_some());
        }
    }
}

#[test]
fn a_last_frame_repeats_the_picture_before_it() {
    if !is_here() {
        return;
    }
    let mut group = alone("chaser", "hard", 500);
    let mut before = pixels(&group).to_vec();
    for step in 0..2000 {
        let episodes = group.step(&Actions::Discrete(vec![step * 7 % 15])).len();
        let is_last = group.frames().step_types[0].is_last();
        assert_eq!(episodes, usize::from(is_last));
        if is_last {
            assert!(pixels(&group) == before);
        }
        before = pixels(&group).to_vec();
    }
}

#[test]
fn an_interrupted_episode_is_followed_by_another() {
    if !is_here() {
        return;
    }
    let mut group = alone("maze", "easy", 0);
    let first = pixels(&group).to_vec();
    for _ in 0..3 {
        group.step(&Actions::Discrete(vec![7]));
    }
    let interrupted = group.interrupt().to_vec();
    assert_eq!((interrupted.len(), interrupted[0].env_steps), (1, 3));
    assert!(pixels(&group) != first, "another level");
    assert_eq!(group.frames().step_types, [StepType::First]);
    // Nothing was played yet: the same goes for an interruption right after the start.
    assert!(group.interrupt().is_empty());
}

#[test]
fn groups_play_their_own_levels_side_by_side() {
    if !is_here() {
        return;
    }
    let config = config("coinrun", "easy", 200);
    let open = |indices| VectorEnv::open(&config, indices, Seed::new(1)).expect("here");
    let (mut many, mut last) = (open(0..4), open(3..4));
    for step in 0..300 {
        let size = pixels(&last).len();
        assert!(&pixels(&many)[3 * size..] == pixels(&last), "step {step}");
        many.step(&Actions::Discrete(vec![0, 3, 5, step % 15]));
        last.step(&Actions::Discrete(vec![step % 15]));
    }
    let size = pixels(&last).len();
    assert!(pixels(&many)[..size] != pixels(&many)[size..2 * size]);
}

#[test]
fn mistakes_are_answered_with_what_would_be_right() {
    let refusal = |game, mode, levels| read(game, mode, levels).unwrap_err().to_string();
    let unknown = refusal("coinrum", "easy", 0);
    assert!(
        unknown.starts_with(
            "`game` of environment `procgen`: unknown choice `coinrum`; did you mean `coinrun`?"
        ),
        "{unknown}"
    );
    assert_eq!(
        refusal("chaser", "memory", 0),
        "`distribution_mode` of environment `procgen` is memory; it must be one of easy, hard, \
         extreme, as `game` is chaser"
    );
    assert!(refusal("maze", "easy", -1).contains("`num_levels` of environment `procgen` is -1"));
    let spec = config("maze", "memory", 0).spec().to_string();
    assert_eq!(spec, "procgen:maze: u8[3, 64, 64] observations, 15 discrete actions");
}

#[test]
fn a_missing_library_is_answered_with_the_command_that_brings_it() {
    // Another process, as a library is looked for once.
    let program = std::env::current_exe().expect("this program");
    let mut command = std::process::Command::new(program);
    command.args(["--exact", "without_a_library", "--ignored"]);
    let output = command.env("ENGRAM_PROCGEN", "/nowhere").output().expect("this program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "the test above starts it"]
fn without_a_library() {
    let config = config("maze", "easy", 0);
    let refusal = VectorEnv::open(&config, 0..1, Seed::new(1)).err().map(|error| error.to_string());
    assert_eq!(
        refusal.as_deref(),
        Some(
            "environment `procgen`: there is no /nowhere/prebuilt/libenv.so; `cargo xtask fetch \
             procgen` brings it"
        )
    );
    assert!(config.try_spec().is_err());
}
