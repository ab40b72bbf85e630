//! Recorder: cuts the frames of a group of environments into trajectories.
//!
//! All environments of a group start their unrolls at the same decision, because all of them are
//! interrupted together and step together. So one flag per message asks for their core states, and
//! the trajectories of a group are complete at the same moment.

use std::ops::Range;

use engram_mdp::{Decision, EnvSpec, Frames, StreamId, Trajectory, TrajectoryBuilder};

use crate::inference_stream::PolicyAnswer;

/// One [`TrajectoryBuilder`] per environment of a group.
#[derive(Debug)]
pub(crate) struct Recorder {
    spec: EnvSpec,
    builders: Vec<TrajectoryBuilder>,
}

impl Recorder {
    /// Recorders of the environments `env_indices` at the start of their streams.
    pub(crate) fn new(env_indices: Range<u32>, spec: &EnvSpec, unroll_length: usize) -> Self {
        // Whose they are is said once, when the actor registers.
        let stream = |env_index| StreamId { actor: 0, env_index };
        let builder = |env_index| TrajectoryBuilder::new(stream(env_index), spec, unroll_length);
        Recorder { spec: spec.clone(), builders: env_indices.map(builder).collect() }
    }

    /// True if the next decision is the first one of its unroll.
    pub(crate) fn at_unroll_start(&self) -> bool {
        self.builders[0].at_unroll_start()
    }

    /// Records the group's frames. Returns the trajectories that this completes: none, or
    /// one of every environment.
    pub(crate) fn frames(&mut self, frames: &Frames) -> Vec<Trajectory> {
        let mut complete = Vec::new();
        for (row, builder) in self.builders.iter_mut().enumerate() {
            complete.extend(builder.frame(frames, row, &self.spec));
        }
        complete
    }

    /// Records the policy's answer to `frames`, the ones recorded last.
    pub(crate) fn decisions(&mut self, frames: &Frames, answer: &PolicyAnswer) {
        let rows = self.builders.len();
        let core_len = answer.core_states.len() / rows;
        if core_len > 0 {
            for (builder, core_state) in
                self.builders.iter_mut().zip(answer.core_states.chunks_exact(core_len))
            {
                builder.core_state(core_state);
            }
        }
        let policy_version = answer.policy_version;
        for (row, builder) in self.builders.iter_mut().enumerate() {
            // Nothing is decided at a Last frame, whatever the server said there.
            let decided = !frames.step_types[row].is_last();
            let log_prob = if decided { answer.log_probs[row] } else { 0.0 };
            builder.decision(Decision { log_prob, policy_version });
        }
    }

    /// Drops the unrolls in progress: the environments are reset.
    pub(crate) fn interrupt(&mut self) {
        self.builders.iter_mut().for_each(TrajectoryBuilder::interrupt);
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::{ActionSpec, Actions, Dtype, Ending, ObservationSpec, Observations, StepType};

    use super::*;

    fn spec() -> EnvSpec {
        EnvSpec {
            name: "pair".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![1] },
            action: ActionSpec::Discrete { count: 2 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn frames(step_types: [StepType; 2]) -> Frames {
        Frames {
            observations: Observations::F32(vec![1.0, 2.0]),
            previous_actions: Actions::Discrete(vec![0, 0]),
            previous_rewards: vec![0.0, 0.0],
            step_types: step_types.to_vec(),
        }
    }

    fn answer(core_states: &[f32]) -> PolicyAnswer {
        PolicyAnswer {
            actions: Actions::Discrete(vec![0, 0]),
            log_probs: vec![-0.5, -0.25],
            policy_version: 7,
            core_states: core_states.to_vec(),
        }
    }

    #[test]
    fn rows_go_to_their_own_environments_and_last_frames_decide_nothing() {
        let mut recorder = Recorder::new(4..6, &spec(), 2);
        let first = frames([StepType::First; 2]);
        let ended = frames([StepType::Mid, StepType::Last(Ending::Terminated)]);
        assert!(recorder.frames(&first).is_empty());
        assert!(recorder.at_unroll_start());
        recorder.decisions(&first, &answer(&[10.0, 11.0, 20.0, 21.0]));
        assert!(!recorder.at_unroll_start());
        assert!(recorder.frames(&ended).is_empty());
        recorder.decisions(&ended, &answer(&[]));
        let complete = recorder.frames(&frames([StepType::Mid, StepType::First]));
        assert_eq!(complete.len(), 2);
        assert_eq!(complete[1].stream, StreamId { actor: 0, env_index: 5 });
        assert_eq!(complete[0].core_state, [10.0, 11.0]);
        assert_eq!(complete[1].core_state, [20.0, 21.0]);
        assert_eq!(complete[0].log_probs, [-0.5, -0.5]);
        assert_eq!(complete[1].log_probs, [-0.25, 0.0]);
        assert!(recorder.at_unroll_start());
        assert!(complete.into_iter().all(|trajectory| trajectory.checked(&spec()).is_ok()));
    }
}
