//! The robots beside PyBullet's, and what no action may do to them. The table of every number:
//! `cargo run --release -p engram-envs --example locomotion_table`.
//!
//! Tolerances are about twice the difference that was measured, so that a changed number of a
//! robot, a lost friction or a wrong limit shows.

mod locomotion_table;

use std::process::Command;

use engram_envs::canvas::{ACTOR, Canvas};
use engram_envs::{EnvConfig, Environment, Mishaps, VectorEnv};
use engram_mdp::{Action, Actions, Ending, Finish, Frames, ObservationMut, Observations, Seed};
use locomotion_table::{Line, ROBOTS, measure};
use rand::RngExt;

/// Lines of the table whose name contains all of these words.
fn picked<'a>(lines: &'a [Line], words: &'a [&str]) -> impl Iterator<Item = &'a Line> {
    lines.iter().filter(|line| words.iter().all(|word| line.what.contains(word)))
}

/// Asserts that a known number of lines are within a tolerance.
fn assert_near(lines: &[Line], words: &[&str], count: usize, tolerance: f32) {
    let found: Vec<&Line> = picked(lines, words).collect();
    assert_eq!(found.len(), count, "{words:?} name {count} lines");
    for line in found {
        assert!(
            (line.ours - line.theirs).abs() <= tolerance,
            "{line}: more than {tolerance} apart"
        );
    }
}

#[test]
fn links_weigh_and_turn_like_pybullets() {
    for ((robot, _), links) in ROBOTS.into_iter().zip([4, 7, 7, 9]) {
        let lines = measure(robot, 1);
        assert_near(&lines, &[": mass of"], links, 2e-4);
        assert_near(&lines, &["inertia of"], 3 * links, 2e-4);
    }
}

#[test]
fn the_hopper_falls_and_lands_like_pybullets() {
    let lines = measure("hopper", 150);
    assert_near(&lines, &["drop, step 5:"], 2, 1e-4);
    assert_near(&lines, &["drop, step 10: height"], 1, 5e-4);
    assert_near(&lines, &["drop, step 20: pitch"], 1, 0.012);
    // It keels over: 0.971 m there, 0.950 m here. One that finds both ends of the foot at once
    // still stands at 1.21 m.
    assert_near(&lines, &["drop, step 40: height"], 1, 0.04);
    assert_near(&lines, &["step 1: speed"], 12, 0.2);
    assert_near(&lines, &["lean-back, step 10:"], 2, 0.025);
    assert_near(&lines, &["wave, step 10:"], 2, 0.01);
    assert_near(&lines, &["wave, return"], 1, 1.0);
    assert_near(&lines, &["actions: mean return"], 2, 3.0);
    assert_near(&lines, &["actions: mean length"], 2, 4.0);
    assert_near(&lines, &["electricity per step"], 2, 0.06);
    assert_near(&lines, &["limits per step"], 2, 0.03);
}

#[test]
fn the_walker_falls_and_lands_like_pybullets() {
    let lines = measure("walker2d", 150);
    assert_near(&lines, &["drop, step 5:"], 2, 1e-4);
    assert_near(&lines, &["drop, step 10: height"], 1, 5e-4);
    // Rounding decides which joints are at their limits when it lands: PyBullet's own height lies
    // between 1.18 m and 1.21 m for changes of 1e-12 rad.
    assert_near(&lines, &["drop, step 40: height"], 1, 0.06);
    assert_near(&lines, &["step 1: speed"], 24, 0.15);
    assert_near(&lines, &["wave, step 10:"], 2, 0.01);
    assert_near(&lines, &["actions: mean return"], 2, 3.0);
    assert_near(&lines, &["actions: mean length"], 2, 2.5);
    assert_near(&lines, &["electricity per step"], 2, 0.04);
}

#[test]
fn the_cheetah_falls_and_lands_like_pybullets() {
    let lines = measure("half-cheetah", 2);
    for step in ["drop, step 5:", "drop, step 10:", "drop, step 20:", "drop, step 40:"] {
        assert_near(&lines, &[step], 2, 2e-3);
    }
    assert_near(&lines, &["step 1: speed"], 24, 0.02);
    assert_near(&lines, &["wave, step 10:"], 2, 1e-3);
    assert_near(&lines, &["zero actions: mean return"], 1, 120.0);
    assert_near(&lines, &["random actions: mean return"], 1, 300.0);
    assert_near(&lines, &["electricity per step"], 2, 0.05);
}

#[test]
fn the_ant_falls_and_lands_like_pybullets() {
    let lines = measure("ant", 3);
    for step in ["drop, step 5:", "drop, step 10:"] {
        assert_near(&lines, &[step], 2, 2e-4);
    }
    assert_near(&lines, &["drop, length"], 1, 0.0);
    assert_near(&lines, &["step 1: speed"], 32, 0.01);
    assert_near(&lines, &["step 5: speed"], 32, 0.3);
    assert_near(&lines, &["wave, step 20:"], 2, 0.01);
    assert_near(&lines, &["zero actions: mean return"], 1, 0.02);
    assert_near(&lines, &["electricity per step"], 2, 0.05);
    assert_near(&lines, &["limits per step"], 2, 0.06);
}

fn config(robot: &str) -> EnvConfig {
    let text = format!(
        "name = '{robot}'\nmax_steps = 1000\nreset_noise = 0.1\nobserve = 'full'\n\
         gravity = {{ name = 'fixed', strength = 9.8 }}"
    );
    EnvConfig::from_table(text.parse().expect("TOML")).expect("valid parameters")
}

/// Plays random actions, some far out of range; returns a hash of all bits of all observations
/// and rewards. Asserts that the robot neither flies away nor sinks into the floor.
fn play(robot: &str, steps: usize) -> u64 {
    let mut environment: Box<dyn Environment> = config(robot).make(Seed::new(3));
    let rest = ROBOTS.iter().find(|(name, _)| *name == robot).expect("a robot").1;
    let mut generator = Seed::new(4).generator();
    let mut observation = vec![0.0; environment.spec().observation.len()];
    let mut action = vec![0.0; environment.spec().action.width()];
    let mut hash = 0_u64;
    environment.reset(ObservationMut::F32(&mut observation));
    for step in 0..steps {
        action.fill_with(|| generator.random_range(-1.5..1.5));
        let action = Action::Continuous(&action);
        let outcome = environment.step(action, ObservationMut::F32(&mut observation));
        assert!(!outcome.broken, "{robot} broke at step {step}");
        for number in observation.iter().chain([&outcome.reward]) {
            assert!(number.is_finite(), "{robot} at step {step}: {observation:?}");
            hash = hash.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ u64::from(number.to_bits());
        }
        let height = observation[0] + rest;
        // The thinnest torso has a radius of 4.6 cm.
        assert!((0.0..3.0).contains(&height), "{robot} at step {step}: its torso is at {height} m");
        if outcome.ending.is_some() {
            environment.reset(ObservationMut::F32(&mut observation));
        }
    }
    hash
}

#[test]
fn random_actions_neither_break_a_robot_nor_sink_it() {
    ROBOTS.into_iter().for_each(|(robot, _)| {
        play(robot, 3000);
    });
}

/// The tests of a million take minutes: `cargo test --release -p engram-envs --test locomotion
/// million -- --ignored`.
#[test]
#[ignore = "a minute or more"]
fn a_million_random_actions_neither_break_nor_sink_the_hopper() {
    play("hopper", 1_000_000);
}

#[test]
#[ignore = "a minute or more"]
fn a_million_random_actions_neither_break_nor_sink_the_walker() {
    play("walker2d", 1_000_000);
}

#[test]
#[ignore = "a minute or more"]
fn a_million_random_actions_neither_break_nor_sink_the_cheetah() {
    play("half-cheetah", 1_000_000);
}

#[test]
#[ignore = "a minute or more"]
fn a_million_random_actions_neither_break_nor_sink_the_ant() {
    play("ant", 1_000_000);
}

/// Says the hash of one robot's episodes: the other process of the test below.
#[test]
fn bits() {
    if std::env::var_os("ENGRAM_TEST_BITS").is_some() {
        let hashes = ROBOTS.map(|(robot, _)| format!("{:016x}", play(robot, 200)));
        eprintln!("bits: {}", hashes.join(" "));
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_again_and_in_another_process() {
    let hashes = || ROBOTS.map(|(robot, _)| format!("{:016x}", play(robot, 200))).join(" ");
    let here = hashes();
    assert_eq!(here, hashes());
    let this = std::env::current_exe().expect("a test is a program");
    let mut other = Command::new(this);
    other.args(["--exact", "bits", "--nocapture"]).env("ENGRAM_TEST_BITS", "1");
    let output = other.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("bits: {here}")), "{said} is not {here}");
}

#[test]
fn an_episode_does_not_depend_on_the_ones_before() {
    for (robot, _) in ROBOTS {
        let length = config(robot).spec().observation.len();
        let mut observations = [vec![0.0; length], vec![0.0; length]];
        // Without noise all episodes begin alike.
        let mut table = config(robot).table().clone();
        table.insert("reset_noise".into(), 0.0.into());
        let mut environment = EnvConfig::from_table(table).expect("valid").make(Seed::new(0));
        let mut episode = |observation: &mut Vec<f32>, steps: usize| {
            environment.reset(ObservationMut::F32(observation));
            for step in 0..steps {
                let action = vec![0.3 * (step as f32).sin(); environment.spec().action.width()];
                environment.step(Action::Continuous(&action), ObservationMut::F32(observation));
            }
        };
        episode(&mut observations[0], 9);
        episode(&mut observations[1], 40);
        episode(&mut observations[1], 9);
        assert_eq!(observations[0], observations[1], "{robot}");
    }
}

#[test]
fn an_action_beyond_its_range_is_clipped_and_counted() {
    for (robot, _) in ROBOTS {
        let mut groups = [0, 1].map(|_| VectorEnv::new(&config(robot), 0..2, Seed::new(7)));
        let joints = groups[0].spec().action.width();
        for _ in 0..5 {
            groups[0].step(&Actions::Continuous(vec![f32::INFINITY; 2 * joints]));
            groups[1].step(&Actions::Continuous(vec![1.0; 2 * joints]));
        }
        assert!(groups[0].frames() == groups[1].frames(), "{robot}");
        assert_eq!(groups[0].mishaps().clipped_actions, 10);
        assert_eq!(groups[1].mishaps(), Mishaps::default());
    }
}

#[test]
fn an_action_that_is_no_number_cuts_its_episode_off_and_spares_the_others() {
    for (robot, _) in ROBOTS {
        let config = config(robot);
        let mut groups = [0, 1].map(|_| VectorEnv::new(&config, 0..3, Seed::new(7)));
        let spec = groups[0].spec().clone();
        let joints = spec.action.width();
        let mut numbers = vec![0.1; 3 * joints];
        for group in &mut groups {
            group.step(&Actions::Continuous(numbers.clone()));
        }
        let sane = Actions::Continuous(numbers.clone());
        numbers[joints] = f32::NAN;
        let ended = groups[0].step(&Actions::Continuous(numbers)).to_vec();
        groups[1].step(&sane);
        assert_eq!(ended.len(), 1, "{robot}");
        assert_eq!((ended[0].env_index, ended[0].env_steps), (1, 2));
        assert_eq!(ended[0].finish, Finish::Ended(Ending::Truncated));
        assert_eq!(groups[0].mishaps().broken_episodes, 1);
        for _ in 0..3 {
            assert_eq!(groups[0].frames().check(&spec, 3), Ok(()));
            let [broken, whole] = [0, 1].map(|group| groups[group].frames());
            for row in [0, 2] {
                let length = spec.observation.len();
                let row_of = |frames: &Frames| match &frames.observations {
                    Observations::F32(all) => all[row * length..(row + 1) * length].to_vec(),
                    Observations::U8(_) => unreachable!("robots show numbers"),
                };
                assert_eq!(row_of(broken), row_of(whole), "{robot}: row {row} was not spared");
            }
            for group in &mut groups {
                group.step(&sane);
            }
        }
    }
}

#[test]
fn an_environment_alone_survives_an_action_that_is_no_number() {
    for (robot, _) in ROBOTS {
        let mut environment = config(robot).make(Seed::new(1));
        let mut observation = vec![0.0; environment.spec().observation.len()];
        environment.reset(ObservationMut::F32(&mut observation));
        let mut action = vec![0.0; environment.spec().action.width()];
        environment.step(Action::Continuous(&action), ObservationMut::F32(&mut observation));
        // A group would not let this pass.
        action[0] = f32::NAN;
        let outcome =
            environment.step(Action::Continuous(&action), ObservationMut::F32(&mut observation));
        assert!(outcome.broken && outcome.ending == Some(Ending::Truncated), "{robot}");
        assert!(outcome.reward == 0.0 && observation.iter().all(|number| number.is_finite()));
        environment.reset(ObservationMut::F32(&mut observation));
        action[0] = 0.0;
        for _ in 0..5 {
            let outcome = environment
                .step(Action::Continuous(&action), ObservationMut::F32(&mut observation));
            assert!(!outcome.broken && observation.iter().all(|number| number.is_finite()));
        }
    }
}

#[test]
fn a_drawing_shows_the_robot_above_its_floor_and_follows_it() {
    for (robot, _) in ROBOTS {
        let mut environment = config(robot).make(Seed::new(1));
        let mut observation = vec![0.0; environment.spec().observation.len()];
        environment.reset(ObservationMut::F32(&mut observation));
        let action = vec![0.3; environment.spec().action.width()];
        for _ in 0..5 {
            environment.step(Action::Continuous(&action), ObservationMut::F32(&mut observation));
        }
        let mut canvas = Canvas::new(320, 240);
        environment.render(&mut canvas);
        assert!(!canvas.caption().is_empty());
        // The torso is in the middle column, drawn in the actor's color.
        let middle = (0..240).filter(|row| {
            let at = 3 * (row * 320 + 160);
            canvas.pixels()[at..at + 3] == ACTOR
        });
        assert!(middle.count() >= 3, "{robot}: no torso in the middle");
    }
}

/// Writes a frame of every robot in motion: `ENGRAM_FRAMES=FOLDER cargo test -p engram-envs --test
/// locomotion frames -- --ignored` makes PPM files there.
#[test]
#[ignore = "writes pictures to look at"]
fn frames() {
    let folder = std::env::var("ENGRAM_FRAMES").expect("ENGRAM_FRAMES names a folder");
    for name in ["hopper", "walker2d", "half-cheetah", "ant", "ant-direction"] {
        let file = format!("{}/../configs/env/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(file).expect("a configuration");
        let config = EnvConfig::from_table(text.parse().expect("TOML")).expect("valid");
        let mut environment = config.make(Seed::new(1));
        let mut observation = vec![0.0; environment.spec().observation.len()];
        environment.reset(ObservationMut::F32(&mut observation));
        for step in 0..14 {
            let joints = environment.spec().action.width();
            let action: Vec<f32> = (0..joints)
                .map(|joint| 0.5 * (0.6 * step as f32 + 2.0 * joint as f32).sin())
                .collect();
            environment.step(Action::Continuous(&action), ObservationMut::F32(&mut observation));
        }
        let mut canvas = Canvas::new(480, 360);
        environment.render(&mut canvas);
        let mut file = b"P6 480 360 255\n".to_vec();
        file.extend_from_slice(canvas.pixels());
        std::fs::write(format!("{folder}/{name}.ppm"), file).expect("a writable folder");
    }
}
