//! Players: a run's checkpoint, or chance.

use std::path::Path;

use anyhow::{Result, bail};
use engram_analysis::CheckpointChoice;
use engram_mdp::{ActionSpec, Actions, EnvSpec, Frames, Generator, Seed};
use engram_policy::acting;
use engram_policy::exploration::Behavior;
use engram_policy::{CoreState, Inputs, Policy};
use engram_service::config::ActionChoice;
use rand::RngExt;
use tch::Device;

use crate::eval;

/// Player of one environment.
pub(super) enum Player {
    /// Every decision is as likely as any other.
    Random(Generator),
    /// A policy decides.
    Trained(Box<TrainedPlayer>),
}

/// Policy that plays, and what it remembers.
pub(super) struct TrainedPlayer {
    policy: Policy,
    state: CoreState,
    behavior: Behavior,
    /// Decisions draw from the seeds below this one, by number.
    seed: Seed,
    decisions: u64,
}

/// Policy of a checkpoint of `run`, which was trained in an environment like `spec`.
pub(super) fn checkpoint(run: &Path, choice: CheckpointChoice, spec: &EnvSpec) -> Result<Policy> {
    let policy = Policy::from_weights(&eval::weights(run, choice)?, Device::Cpu)?;
    if policy.spec() != spec {
        bail!("{} was trained in {}, not in {spec}", run.display(), policy.spec());
    }
    Ok(policy)
}

impl Player {
    pub(super) fn random(seed: Seed) -> Player {
        Player::Random(seed.derive("policy", 0).generator())
    }

    pub(super) fn trained(policy: Policy, actions: ActionChoice, seed: Seed) -> Player {
        let behavior = match actions {
            ActionChoice::Greedy => Behavior::EVALUATION,
            ActionChoice::Drawn => policy.exploration().of_rank(0),
        };
        let state = policy.initial_state(1);
        Player::Trained(Box::new(TrainedPlayer { policy, state, behavior, seed, decisions: 0 }))
    }

    /// Decides at `frames`, one row.
    pub(super) fn act(&mut self, frames: &Frames, spec: &EnvSpec) -> Actions {
        match self {
            Player::Random(generator) => match spec.action {
                ActionSpec::Discrete { count } => {
                    Actions::Discrete(vec![generator.random_range(0..count) as i32])
                }
                ActionSpec::Continuous { dimensions } => Actions::Continuous(
                    (0..dimensions).map(|_| generator.random_range(-1.0..=1.0)).collect(),
                ),
            },
            Player::Trained(player) => player.act(frames, spec),
        }
    }
}

impl TrainedPlayer {
    fn act(&mut self, frames: &Frames, spec: &EnvSpec) -> Actions {
        let inputs = Inputs::from_frames(frames, spec, Device::Cpu);
        let (output, after) = self.policy.step(&inputs, &self.state);
        self.state = after;
        let generator = self.seed.derive("decision", self.decisions).generator();
        self.decisions += 1;
        acting::act(&output.distribution, &[self.behavior], &mut [(generator, 1)]).actions
    }
}

#[cfg(test)]
mod tests {
    use engram_envs::{EnvConfig, VectorEnv};
    use engram_policy::{Batched, PolicyConfig};
    use engram_service::config::part;

    use super::*;

    /// A fresh policy with a memory, in an environment of `text`.
    fn fresh(text: &str) -> (VectorEnv, Policy) {
        let env = EnvConfig::from_table(text.parse().unwrap()).unwrap();
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
        let (_, config) = part::<PolicyConfig>(&configs, "seq", "lstm", &[]).unwrap();
        let policy = Policy::new(&config, &env.spec(), Seed::new(3), Device::Cpu).unwrap();
        (VectorEnv::new(&env, 0..1, Seed::new(1)), policy)
    }

    #[test]
    fn a_greedy_player_remembers_within_an_episode_and_takes_the_likeliest_decision() {
        let (mut environment, policy) =
            fresh("name = 'counting'\nepisode_length = 4\nending = 'terminated'");
        let spec = environment.spec().clone();
        let mut state = policy.initial_state(1);
        let mut expected = Vec::new();
        let mut frames = Vec::new();
        for t in 0..12 {
            let inputs = Inputs::from_frames(environment.frames(), &spec, Device::Cpu);
            let (output, after) = policy.step(&inputs, &state);
            state = after;
            expected.push(i32::try_from(output.distribution.mode().int64_value(&[0])).unwrap());
            frames.push(environment.frames().clone());
            environment.step(&Actions::Discrete(vec![t % 4]));
        }
        let mut player = Player::trained(policy, ActionChoice::Greedy, Seed::new(1));
        let acted = frames.iter().map(|frames| discrete(&mut player, frames, &spec));
        assert_eq!(acted.collect::<Vec<_>>(), expected);
        let Player::Trained(player) = &player else { unreachable!("it has a policy") };
        let (remembered, expected) = (player.state.flatten(), state.flatten());
        assert!(remembered.equal(&expected) && expected.abs().max().double_value(&[]) > 0.0);
    }

    fn discrete(player: &mut Player, frames: &Frames, spec: &EnvSpec) -> i32 {
        match player.act(frames, spec) {
            Actions::Discrete(actions) => actions[0],
            Actions::Continuous(_) => unreachable!("the environment's actions are discrete"),
        }
    }

    #[test]
    fn a_player_that_draws_takes_every_likely_decision_and_the_same_ones_from_one_seed() {
        let acted = |seed| {
            let (environment, policy) =
                fresh("name = 'counting'\nepisode_length = 4\nending = 'terminated'");
            let mut player = Player::trained(policy, ActionChoice::Drawn, Seed::new(seed));
            let (frames, spec) = (environment.frames(), environment.spec());
            (0..60).map(|_| discrete(&mut player, frames, spec)).collect::<Vec<_>>()
        };
        let drawn = acted(1);
        assert!((0..4).all(|action| drawn.contains(&action)), "{drawn:?}");
        assert_eq!(drawn, acted(1));
        assert_ne!(drawn, acted(2));
    }

    #[test]
    fn continuous_decisions_are_within_their_range() {
        let (environment, policy) = fresh("name = 'pendulum'\nmax_steps = 9\nobserve = 'full'");
        let trained = Player::trained(policy, ActionChoice::Greedy, Seed::new(1));
        for mut player in [Player::random(Seed::new(1)), trained] {
            let Actions::Continuous(action) = player.act(environment.frames(), environment.spec())
            else {
                unreachable!("the environment's actions are continuous")
            };
            assert!(action.len() == 1 && action[0].abs() <= 1.0 && action[0] != 0.0, "{action:?}");
        }
    }

    #[test]
    fn a_run_without_a_checkpoint_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (environment, _) = fresh("name = 'pendulum'\nmax_steps = 9\nobserve = 'full'");
        for (choice, why) in [
            (CheckpointChoice::Newest, "holds no complete checkpoint yet"),
            (CheckpointChoice::Best, "holds no best checkpoint: it was not evaluated"),
        ] {
            let error = checkpoint(folder.path(), choice, environment.spec()).err().unwrap();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
