//! Trajectories side by side, as tensors: what a learner computes losses from.
//!
//! Every column is assembled time-major in one pass over plain memory and becomes one tensor.
//! Images are the exception, being nearly all of a batch: each trajectory's go straight to their
//! places in the batch's tensor, by way of a tensor of their own that still is in the processor's
//! cache when it is read.

use engram_mdp::{Actions, Dtype, EnvSpec, Observations, Trajectory};
use tch::{Device, Kind, Tensor};

use crate::error::PolicyError;
use crate::inputs::{self, Inputs};

/// From how many bytes on an observation is treated as an image.
const IMAGE_BYTES: usize = 1024;

/// B trajectories of T decisions.
#[derive(Debug)]
pub struct Batch {
    /// The frames, `[T + 1, B, ..]`.
    pub inputs: Inputs,
    /// The actions taken at frames 0..T: i64 `[T, B]` when discrete, else f32 `[T, B, A]`.
    pub actions: Tensor,
    /// Log-probabilities of these actions under the acting policies, f32 `[T, B]`.
    pub behavior_log_probs: Tensor,
    /// The rewards that followed them, f32 `[T, B]`.
    pub rewards: Tensor,
    /// f32 `[T, B]`: 0 where frame t is Last and its action means nothing, else 1.
    pub weights: Tensor,
    /// f32 `[T, B]`: 1 where frame t + 1 is Last because the environment ended the episode, else 0:
    /// the value of what follows is zero there.
    pub terminated: Tensor,
    /// The acting policies' state before frame 0, flat, f32 `[B, S]`; S is 0 where the memory
    /// exports none. See `Policy::core_state`.
    pub core_state: Tensor,
}

impl Batch {
    /// Puts trajectories side by side, which were checked against `spec`.
    pub fn from_trajectories(
        trajectories: &[Trajectory],
        spec: &EnvSpec,
        device: Device,
    ) -> Result<Self, PolicyError> {
        let first = trajectories.first().ok_or(PolicyError::EmptyBatch)?;
        let (time, width) = (first.unroll_length(), first.core_state.len());
        for (index, trajectory) in trajectories.iter().enumerate() {
            let even = |column, expected, found| match expected == found {
                true => Ok(()),
                false => Err(PolicyError::UnevenBatch { index, column, expected, found }),
            };
            even("unroll length", time, trajectory.unroll_length())?;
            even("core state width", width, trajectory.core_state.len())?;
        }
        let decisions = [time as i64, trajectories.len() as i64];
        let column = |row: fn(&Trajectory, usize) -> f32| {
            let numbers: Vec<f32> =
                rows(time).flat_map(|t| trajectories.iter().map(move |x| row(x, t))).collect();
            Tensor::from_slice(&numbers).view(decisions).to_device(device)
        };
        let inputs = frames(trajectories, time + 1, spec, device);
        // The action at frame t is the previous action of frame t + 1, a row of zeros where that
        // one is First.
        let actions = inputs.previous_action.narrow(0, 1, time as i64);
        let states: Vec<f32> = trajectories.iter().flat_map(|x| &x.core_state).copied().collect();
        Ok(Batch {
            actions,
            behavior_log_probs: column(|x, t| x.log_probs[t]),
            rewards: column(|x, t| x.rewards()[t]),
            weights: column(|x, t| f32::from(!x.frames.step_types[t].is_last())),
            terminated: column(|x, t| 1.0 - x.frames.step_types[t + 1].discount(1.0)),
            core_state: Tensor::from_slice(&states)
                .view([decisions[1], width as i64])
                .to_device(device),
            inputs,
        })
    }

    /// The trajectories `rows` of it, in their order.
    pub fn select(&self, rows: &[i64]) -> Batch {
        let index = Tensor::from_slice(rows).to_device(self.rewards.device());
        let columns = |tensor: &Tensor| tensor.index_select(1, &index);
        Batch {
            inputs: self.inputs.select(rows),
            actions: columns(&self.actions),
            behavior_log_probs: columns(&self.behavior_log_probs),
            rewards: columns(&self.rewards),
            weights: columns(&self.weights),
            terminated: columns(&self.terminated),
            core_state: self.core_state.index_select(0, &index),
        }
    }

    /// T.
    pub fn unroll_length(&self) -> i64 {
        self.rewards.size()[0]
    }

    /// B.
    pub fn batch(&self) -> i64 {
        self.rewards.size()[1]
    }
}

fn rows(time: usize) -> std::ops::Range<usize> {
    0..time
}

/// The frames of `trajectories` as inputs `[time, B, ..]`.
fn frames(trajectories: &[Trajectory], time: usize, spec: &EnvSpec, device: Device) -> Inputs {
    let moments = || rows(time).flat_map(|t| trajectories.iter().map(move |x| (&x.frames, t)));
    let leading = [time as i64, trajectories.len() as i64];
    let count = time * trajectories.len();
    let mut actions = Actions::with_capacity(spec.action, count);
    for (frames, t) in moments() {
        actions.extend_rows(&frames.previous_actions, t..t + 1, spec.action.len());
    }
    let rewards: Vec<f32> = moments().map(|(frames, t)| frames.previous_rewards[t]).collect();
    Inputs::new(
        observations(trajectories, time, spec).to_device(device),
        inputs::actions(&actions, &leading, spec.action).to_device(device),
        Tensor::from_slice(&rewards).view(leading).to_device(device),
        moments().map(|(frames, t)| frames.step_types[t].is_first()).collect(),
    )
}

/// Observations of the frames of `trajectories`, `[time, B, O..]`.
fn observations(trajectories: &[Trajectory], time: usize, spec: &EnvSpec) -> Tensor {
    let leading = [time as i64, trajectories.len() as i64];
    if spec.observation.bytes() >= IMAGE_BYTES {
        let kind = match spec.observation.dtype {
            Dtype::U8 => Kind::Uint8,
            Dtype::F32 => Kind::Float,
        };
        let batch = Tensor::empty(inputs::shape(&leading, spec), (kind, Device::Cpu));
        for (row, trajectory) in trajectories.iter().enumerate() {
            let images = &trajectory.frames.observations;
            let images = inputs::observations(images, &leading[..1], spec);
            batch.select(1, row as i64).copy_(&images);
        }
        return batch;
    }
    let length = spec.observation.len();
    let mut columns =
        Observations::with_capacity(spec.observation.dtype, time * trajectories.len() * length);
    for t in rows(time) {
        for trajectory in trajectories {
            columns.extend_rows(&trajectory.frames.observations, t..t + 1, length);
        }
    }
    inputs::observations(&columns, &leading, spec)
}

#[cfg(test)]
mod tests {
    use engram_mdp::{ActionSpec, Decision, Ending, Frames, ObservationSpec};
    use engram_mdp::{StepType, StreamId, TrajectoryBuilder};

    use super::*;

    fn spec() -> EnvSpec {
        EnvSpec {
            name: "numbered".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![2] },
            action: ActionSpec::Discrete { count: 9 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    /// Frames First, Mid, Last, and so on, numbered; terminated, then truncated in turns.
    fn trajectory(env_index: u32, unroll_length: usize) -> Trajectory {
        let stream = StreamId { actor: 0, env_index };
        let mut builder = TrajectoryBuilder::new(stream, &spec(), unroll_length);
        for n in 0.. {
            let step_type = match (n as u32 + env_index) % 6 {
                0 | 3 => StepType::First,
                1 | 4 => StepType::Mid,
                2 => StepType::Last(Ending::Terminated),
                _ => StepType::Last(Ending::Truncated),
            };
            let past = i32::from(!step_type.is_first());
            let frame = Frames {
                observations: Observations::F32(vec![n as f32, env_index as f32]),
                previous_actions: Actions::Discrete(vec![past * (n % 9)]),
                previous_rewards: vec![(past * n) as f32],
                step_types: vec![step_type],
            };
            if let Some(trajectory) = builder.frame(&frame, 0, &spec()) {
                return trajectory.checked(&spec()).unwrap();
            }
            if builder.at_unroll_start() {
                builder.core_state(&[env_index as f32; 3]);
            }
            builder.decision(Decision { log_prob: -(n as f32), policy_version: 0 });
        }
        unreachable!()
    }

    fn numbers(x: &Tensor) -> Vec<f64> {
        Vec::<f64>::try_from(x.to_kind(tch::Kind::Double).flatten(0, -1)).unwrap()
    }

    #[test]
    fn every_number_of_a_batch_stands_at_its_time_and_row() {
        let trajectories = [trajectory(0, 4), trajectory(1, 4)];
        let batch = Batch::from_trajectories(&trajectories, &spec(), Device::Cpu).unwrap();
        assert_eq!((batch.unroll_length(), batch.batch()), (4, 2));
        let inputs = &batch.inputs;
        assert_eq!(inputs.observation.size(), [5, 2, 2]);
        let time = [0., 0., 1., 1., 2., 2., 3., 3., 4., 4.];
        assert_eq!(numbers(&inputs.observation.select(2, 0)), time);
        assert_eq!(numbers(&inputs.observation.select(2, 1)), [0., 1.].repeat(5));
        // Row 0: First Mid Last(terminated) First Mid; row 1: Mid Last(terminated) First Mid Last.
        assert_eq!(numbers(&inputs.is_first), [1., 0., 0., 0., 0., 1., 1., 0., 0., 0.]);
        assert_eq!(numbers(&inputs.previous_reward), [0., 0., 1., 1., 2., 0., 0., 3., 4., 4.]);
        assert_eq!(numbers(&batch.actions), [1., 1., 2., 0., 0., 3., 4., 4.]);
        assert_eq!(numbers(&batch.rewards), [1., 1., 2., 0., 0., 3., 4., 4.]);
        assert_eq!(numbers(&batch.behavior_log_probs), [0., 0., -1., -1., -2., -2., -3., -3.]);
        assert_eq!(numbers(&batch.weights), [1., 1., 1., 0., 0., 1., 1., 1.]);
        assert_eq!(numbers(&batch.terminated), [0., 1., 1., 0., 0., 0., 0., 0.]);
        assert_eq!(numbers(&batch.core_state), [0., 0., 0., 1., 1., 1.]);
    }

    #[test]
    fn some_of_a_batch_are_the_batch_of_some() {
        let all = [trajectory(0, 4), trajectory(1, 4), trajectory(2, 4)];
        let batch = |of: &[Trajectory]| Batch::from_trajectories(of, &spec(), Device::Cpu).unwrap();
        let found = batch(&all).select(&[2, 0]);
        let expected = batch(&[all[2].clone(), all[0].clone()]);
        let columns = |batch: &Batch| {
            let Batch { inputs, actions, behavior_log_probs, rewards, .. } = batch;
            [
                &inputs.observation,
                &inputs.previous_action,
                &inputs.previous_reward,
                &inputs.is_first,
                actions,
                behavior_log_probs,
                rewards,
                &batch.weights,
                &batch.terminated,
                &batch.core_state,
            ]
            .map(Tensor::shallow_clone)
        };
        for (found, expected) in columns(&found).iter().zip(columns(&expected)) {
            assert_eq!(found, &expected);
        }
        assert_eq!(found.inputs.resets(), expected.inputs.resets());
    }

    #[test]
    fn images_stand_at_their_time_and_row() {
        for dtype in [Dtype::U8, Dtype::F32] {
            let observation = ObservationSpec { dtype, shape: vec![1, 32, 32] };
            let spec = EnvSpec { observation, ..spec() };
            let shown = |env_index: u32, t: usize| (100 * env_index as usize + t) as f32;
            let wide = |env_index| {
                let mut wide = trajectory(env_index, 4);
                let numbers = (0..5).flat_map(|t| vec![shown(env_index, t); 1024]);
                wide.frames.observations = match dtype {
                    Dtype::U8 => Observations::U8(numbers.map(|x| x as u8).collect()),
                    Dtype::F32 => Observations::F32(numbers.collect()),
                };
                wide.checked(&spec).unwrap()
            };
            let trajectories = [wide(0), wide(1)];
            let batch = Batch::from_trajectories(&trajectories, &spec, Device::Cpu).unwrap();
            let images = &batch.inputs.observation;
            assert_eq!(images.size(), [5, 2, 1, 32, 32]);
            for t in 0..5 {
                for row in 0..2 {
                    let image = numbers(&images.get(t as i64).get(row));
                    assert_eq!(image, vec![f64::from(shown(row as u32, t)); 1024]);
                }
            }
        }
    }

    #[test]
    fn trajectories_of_different_lengths_are_refused() {
        let uneven = [trajectory(0, 4), trajectory(1, 5)];
        let message = Batch::from_trajectories(&uneven, &spec(), Device::Cpu).unwrap_err();
        assert!(message.to_string().contains("trajectory 1"), "{message}");
        let mut stateless = [trajectory(0, 4), trajectory(1, 4)];
        stateless[1].core_state.clear();
        let message = Batch::from_trajectories(&stateless, &spec(), Device::Cpu).unwrap_err();
        assert!(message.to_string().contains("core state width 0"), "{message}");
        assert!(Batch::from_trajectories(&[], &spec(), Device::Cpu).is_err());
    }
}
