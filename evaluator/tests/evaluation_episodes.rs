//! Episodes of a policy that has learned nothing: what they depend on, and what not.

use std::path::Path;

use bytes::Bytes;
use engram_envs::EnvConfig;
use engram_evaluator::EvaluationEpisodes;
use engram_mdp::{Score, Seed};
use engram_policy::{Device, Policy, PolicyConfig};
use engram_service::Shutdown;
use engram_service::config::{ActionChoice, part};

const RECALL: &str = "name = 'recall'\ndelay = 2\nchoices = 4";

fn env(text: &str) -> EnvConfig {
    EnvConfig::from_table(text.parse().expect("TOML")).expect("an environment")
}

/// Weights of a policy with a memory, in the environment of `text`.
fn weights(text: &str) -> Bytes {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let (_, config) = part::<PolicyConfig>(&configs, "seq", "lstm", &[]).expect("a policy");
    let device = Device::Cpu.ready().expect("a processor");
    let policy = Policy::new(&config, &env(text).spec(), Seed::new(3), device);
    policy.expect("it fits").save(1).into()
}

fn player(envs: u32, actions: ActionChoice) -> EvaluationEpisodes {
    EvaluationEpisodes { env: env(RECALL), envs, actions, device: Device::Cpu, threads: 1 }
}

fn greedy(envs: u32) -> EvaluationEpisodes {
    player(envs, ActionChoice::Greedy)
}

fn score_of(actions: ActionChoice, seed: u64, episodes: u32) -> Score {
    let player = player(8, actions);
    let played = player.play(weights(RECALL), Seed::new(seed), episodes, &Shutdown::new());
    played.expect("they can be played").expect("nobody stopped them")
}

fn score(seed: u64, episodes: u32) -> Score {
    score_of(ActionChoice::Greedy, seed, episodes)
}

#[test]
fn the_same_weights_and_seed_have_the_same_score_and_another_seed_has_other_episodes() {
    let first = score(1, 50);
    assert_eq!((first.episodes, first.mean_length), (50, 4.0));
    assert_eq!(score(1, 50), first);
    assert_ne!(score(2, 50), first);
}

#[test]
fn drawn_actions_are_others_than_the_most_likely_ones() {
    // Nearly equally likely actions: one of four is right, whatever the cue. The likeliest ones depend
    // on frames alone.
    let drawn = score_of(ActionChoice::Drawn, 1, 400);
    assert!((0.15..0.35).contains(&drawn.success.expect("recall tells")), "{drawn:?}");
    assert_eq!(drawn, score_of(ActionChoice::Drawn, 1, 400));
    assert_ne!(drawn, score(1, 400));
}

#[test]
fn episodes_that_were_stopped_have_no_score() {
    let stopped = Shutdown::new();
    stopped.trigger();
    let played = greedy(2).play(weights(RECALL), Seed::new(1), 1 << 20, &stopped);
    assert_eq!(played.expect("nothing is wrong"), None);
}

#[test]
fn weights_that_cannot_act_there_are_refused_with_the_reason() {
    let play = |weights| {
        let played = greedy(2).play(weights, Seed::new(1), 3, &Shutdown::new());
        played.expect_err("it cannot be played").to_string()
    };
    let error = play(weights("name = 'recall'\ndelay = 2\nchoices = 3"));
    assert!(error.contains("this run's environment is ["), "{error}");
    let error = play(Bytes::from_static(b"no weights"));
    assert!(error.contains("sent weights that cannot be used"), "{error}");
}
