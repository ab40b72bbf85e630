//! Checks of every stream of trajectories from the counting environment.

use engram_mdp::{Observations, StepType, Trajectory};

use super::inference::{action_at, log_prob_at};

/// The number that each frame of the counting environment shows.
pub fn numbers(trajectory: &Trajectory) -> Vec<f32> {
    let Observations::F32(numbers) = &trajectory.frames.observations else { unreachable!() };
    numbers.iter().step_by(3).copied().collect()
}

/// Checks one environment's stream, and returns how many interruptions it shows.
///
/// Sequences have no gaps. Within a trajectory frames are numbered without gaps, every decision is
/// the one that the fake policy made at exactly that frame, all of them come from one stream of one
/// server, and the core state is the one from before the first frame. A trajectory either begins
/// with the last frame of the one before it, or, after an interruption, with the First frame of a
/// later episode; then no more than the unroll in progress is missing.
pub fn check_stream(trajectories: &[Trajectory]) -> usize {
    let mut interruptions = 0;
    let mut last: Option<f32> = None;
    for (sequence, trajectory) in trajectories.iter().enumerate() {
        assert_eq!(trajectory.sequence, sequence as u64);
        check_trajectory(trajectory);
        let numbers = numbers(trajectory);
        if let Some(last) = last
            && last != numbers[0]
        {
            interruptions += 1;
            assert_eq!(trajectory.frames.step_types[0], StepType::First);
            let lost = numbers[0] - last - 1.0;
            let most = trajectory.unroll_length() as f32;
            assert!((0.0..most).contains(&lost), "{lost} frames are missing after {last}");
        }
        last = numbers.last().copied();
    }
    interruptions
}

fn check_trajectory(trajectory: &Trajectory) {
    let numbers = numbers(trajectory);
    let step_types = &trajectory.frames.step_types;
    let server = trajectory.policy_versions[0] / 1_000_000;
    assert_eq!(trajectory.core_state, [server as f32, numbers[0]]);
    for t in 0..trajectory.unroll_length() {
        assert_eq!(numbers[t + 1], numbers[t] + 1.0);
        assert_eq!(trajectory.policy_versions[t], trajectory.policy_versions[0] + t as u64);
        if step_types[t].is_last() {
            assert_eq!(trajectory.log_probs[t], 0.0);
            assert_eq!(trajectory.rewards()[t], 0.0);
            continue;
        }
        assert_eq!(trajectory.log_probs[t], log_prob_at(numbers[t]));
        assert_eq!(
            trajectory.actions().row(t + 1, 1).index(),
            action_at(numbers[t]) as usize,
            "the action at frame {}",
            numbers[t]
        );
        assert_eq!(trajectory.rewards()[t], numbers[t + 1]);
    }
}
