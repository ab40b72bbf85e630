//! Episodes of a policy that knows nothing, as they would come from actors.

use anyhow::Result;
use engram_envs::VectorEnv;
use engram_learner::rpc::queue::Arrival;
use engram_mdp::{
    Actions, Decision, Dtype, Ending, EnvSpec, Frames, ObservationSpec, Observations,
};
use engram_mdp::{Seed, StepType, StreamId, Trajectory, TrajectoryBuilder};
use rand::RngExt;

use crate::bench::stages;
use crate::experiment::Experiment;

/// Channels, height and width of images of 40 kB.
const IMAGE: [usize; 3] = [4, 100, 100];

/// `count` episodes with random actions, each from a stream of its own, in environments whose
/// unrolls hold one episode each. Their first frame is First, and so is their last one, of the
/// next.
pub(super) fn random(experiment: &Experiment, count: usize) -> Result<Vec<Arrival>> {
    let seed = Seed::new(experiment.run.seed);
    let mut group = VectorEnv::new(&experiment.env, 0..u32::try_from(count)?, seed);
    let mut generator = seed.derive("bench", 2).generator();
    let spec = group.spec().clone();
    let stream = |row: usize| StreamId { actor: 0, env_index: row as u32 };
    let mut builders: Vec<TrajectoryBuilder> = (0..count)
        .map(|row| TrajectoryBuilder::new(stream(row), &spec, experiment.run.unroll_length))
        .collect();
    let mut episodes = Vec::with_capacity(count);
    while episodes.len() < count {
        for (row, builder) in builders.iter_mut().enumerate() {
            let complete = builder.frame(group.frames(), row, &spec);
            let arrival = |trajectory| Arrival { trajectory, generation: 1 };
            episodes.extend(complete.map(arrival));
            builder.decision(Decision { log_prob: 0.0, policy_version: 1 });
        }
        group.step(&stages::random(spec.action, count, &mut generator));
    }
    Ok(episodes)
}

/// `count` episodes of so many `decisions`, cut off there, in an environment like that of `spec`, which
/// shows numbers and takes vectors; all numbers are uniform in ±1. Vectors are zeros at First frames.
pub(super) fn made_up(spec: &EnvSpec, decisions: usize, count: usize) -> Vec<Arrival> {
    let (seed, frames) = (Seed::new(1), decisions + 1);
    let seen = spec.observation.shape.iter().product::<usize>();
    let width = spec.action.width();
    let episode = |row: usize| {
        let mut generator = seed.derive("made up", row as u64).generator();
        let mut numbers = |count: usize| -> Vec<f32> {
            (0..count).map(|_| generator.random_range(-1.0..=1.0)).collect()
        };
        let mut step_types = vec![StepType::Mid; frames];
        step_types[0] = StepType::First;
        step_types[decisions] = StepType::Last(Ending::Truncated);
        let (mut actions, mut rewards) = (numbers(frames * width), numbers(frames));
        actions[..width].fill(0.0);
        rewards[0] = 0.0;
        let trajectory = Trajectory {
            stream: StreamId { actor: 0, env_index: row as u32 },
            sequence: 0,
            frames: Frames {
                observations: Observations::F32(numbers(frames * seen)),
                previous_actions: Actions::Continuous(actions),
                previous_rewards: rewards,
                step_types,
            },
            log_probs: vec![0.0; decisions],
            policy_versions: vec![1; decisions],
            core_state: vec![],
        };
        Arrival { trajectory, generation: 1 }
    };
    (0..count).map(episode).collect()
}

/// An environment like that of `spec`, but for its observations: images of 40 kB.
pub(super) fn showing_images(spec: &EnvSpec) -> EnvSpec {
    let observation = ObservationSpec { dtype: Dtype::U8, shape: IMAGE.to_vec() };
    EnvSpec { observation, ..spec.clone() }
}

/// The same episodes in that environment.
pub(super) fn with_images(episodes: &[Arrival]) -> Vec<Arrival> {
    let bytes: usize = IMAGE.iter().product();
    let with_images = |(number, episode): (usize, &Arrival)| {
        let mut episode = episode.clone();
        let frames = &mut episode.trajectory.frames;
        let shown = (0..bytes * frames.rows()).map(|i| (i % 251 + number) as u8);
        frames.observations = Observations::U8(shown.collect());
        episode
    };
    episodes.iter().enumerate().map(with_images).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_arrival_is_one_episode_and_the_frame_after_it() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
        let maze = super::super::maze(&configs, 6).unwrap();
        let episodes = random(&maze, 5).unwrap();
        assert_eq!(episodes.len(), 5);
        let spec = maze.env.spec();
        for (episodes, spec) in
            [(episodes.clone(), spec.clone()), (with_images(&episodes), showing_images(&spec))]
        {
            for (row, Arrival { trajectory, .. }) in episodes.into_iter().enumerate() {
                let trajectory = trajectory.checked(&spec).unwrap();
                assert_eq!(trajectory.stream.env_index as usize, row);
                assert_eq!(trajectory.env_steps(), 7);
                let step_types = &trajectory.frames.step_types;
                let ends: Vec<usize> = (0..9).filter(|&t| step_types[t].is_last()).collect();
                let begins: Vec<usize> = (0..9).filter(|&t| step_types[t].is_first()).collect();
                assert_eq!((begins, ends, step_types.len()), (vec![0, 8], vec![7], 9));
            }
        }
    }
}
