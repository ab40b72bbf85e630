//! Players: a run's checkpoint, greedily, or chance.

use std::path::Path;

use anyhow::{Result, bail};
use engram_analysis::CheckpointChoice;
use engram_mdp::{ActionSpec, Actions, EnvSpec, Frames, Generator, Seed};
use engram_policy::{CoreState, Inputs, Policy};
use rand::RngExt;
use tch::{Device, Kind};

use crate::eval;

/// Player of one environment.
pub(super) enum Player {
    /// Every decision is as likely as any other.
    Random(Generator),
    /// The likeliest decision of a policy, and what that remembers.
    Greedy(Box<Policy>, CoreState),
}

impl Player {
    pub(super) fn random(seed: Seed) -> Player {
        Player::Random(seed.derive("policy", 0).generator())
    }

    /// A checkpoint of `run`, which was trained in an environment like `spec`.
    pub(super) fn greedy(
        run: &Path,
        checkpoint: CheckpointChoice,
        spec: &EnvSpec,
    ) -> Result<Player> {
        let policy = Policy::from_weights(&eval::weights(run, checkpoint)?, Device::Cpu)?;
        if policy.spec() != spec {
            bail!("{} was trained in {}, not in {spec}", run.display(), policy.spec());
        }
        let state = policy.initial_state(1);
        Ok(Player::Greedy(Box::new(policy), state))
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
            Player::Greedy(policy, state) => {
                let inputs = Inputs::from_frames(frames, spec, Device::Cpu);
                let (output, after) = policy.step(&inputs, state);
                *state = after;
                // Any action's number is a float's exactly.
                let mode = output.distribution.mode().view(-1).to_kind(Kind::Float);
                let mode = Vec::<f32>::try_from(mode).expect("one row of floats");
                match spec.action {
                    ActionSpec::Discrete { .. } => {
                        Actions::Discrete(mode.into_iter().map(|action| action as i32).collect())
                    }
                    ActionSpec::Continuous { .. } => Actions::Continuous(mode),
                }
            }
        }
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
        let beginning = policy.initial_state(1);
        let mut player = Player::Greedy(Box::new(policy), beginning);
        let acted = frames.iter().map(|frames| match player.act(frames, &spec) {
            Actions::Discrete(actions) => actions[0],
            Actions::Continuous(_) => unreachable!("the environment's actions are discrete"),
        });
        assert_eq!(acted.collect::<Vec<_>>(), expected);
        let Player::Greedy(_, remembered) = &player else { unreachable!("it is greedy") };
        let (remembered, expected) = (remembered.flatten(), state.flatten());
        assert!(remembered.equal(&expected) && expected.abs().max().double_value(&[]) > 0.0);
    }

    #[test]
    fn continuous_decisions_are_within_their_range() {
        let (environment, policy) = fresh("name = 'pendulum'\nmax_steps = 9\nobserve = 'full'");
        let state = policy.initial_state(1);
        let players = [Player::random(Seed::new(1)), Player::Greedy(Box::new(policy), state)];
        for mut player in players {
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
            let error = Player::greedy(folder.path(), choice, environment.spec()).err().unwrap();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
