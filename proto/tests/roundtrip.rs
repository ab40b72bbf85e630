//! Whatever can be said survives the wire; whatever cannot be meant is refused with the reason.

use engram_mdp::{
    ActionSpec, Actions, Dtype, Ending, EnvSpec, Frames, ObservationSpec, Observations, Score,
    StepType, StreamId, Trajectory,
};
use engram_proto::convert::{
    actions_from_wire, actions_to_wire, frames_from_wire, frames_to_wire, score_from_wire,
    score_to_wire, trajectory_from_wire, trajectory_to_wire,
};
use engram_proto::{Purpose, Registration, WireError, v1};
use proptest::prelude::*;
use tonic::Code;

fn specs() -> impl Strategy<Value = EnvSpec> {
    let dtype = prop_oneof![Just(Dtype::U8), Just(Dtype::F32)];
    let action = prop_oneof![
        (1_usize..9).prop_map(|count| ActionSpec::Discrete { count }),
        (1_usize..4).prop_map(|dimensions| ActionSpec::Continuous { dimensions }),
    ];
    (dtype, prop::collection::vec(1_usize..5, 1..4), action, 1_u32..5).prop_map(
        |(dtype, shape, action, action_repeat)| EnvSpec {
            name: "environment".into(),
            observation: ObservationSpec { dtype, shape },
            action,
            frame_stack: 1,
            action_repeat,
        },
    )
}

/// A trajectory whose numbers come from `noise` and whose episodes last four frames.
fn trajectory(spec: &EnvSpec, unroll_length: usize, noise: u32) -> Trajectory {
    let rows = unroll_length + 1;
    let place = |row: usize| (row + noise as usize) % 4;
    let number = |i: usize| (((i as u32).wrapping_mul(2_654_435_761) ^ noise) % 256) as u8;
    let numbers = rows * spec.observation.len();
    let first = |row: usize| place(row) == 0;
    Trajectory {
        stream: StreamId { actor: 3, env_index: 7 },
        sequence: u64::from(noise),
        frames: Frames {
            observations: match spec.observation.dtype {
                Dtype::U8 => Observations::U8((0..numbers).map(number).collect()),
                Dtype::F32 => {
                    Observations::F32((0..numbers).map(|i| f32::from(number(i)) - 7.5).collect())
                }
            },
            previous_actions: match spec.action {
                ActionSpec::Discrete { count } => Actions::Discrete(
                    (0..rows)
                        .map(
                            |row| {
                                if first(row) { 0 } else { i32::from(number(row)) % count as i32 }
                            },
                        )
                        .collect(),
                ),
                ActionSpec::Continuous { dimensions } => Actions::Continuous(
                    (0..rows * dimensions)
                        .map(|i| match first(i / dimensions) {
                            true => 0.0,
                            false => f32::from(number(i)) / 128.0 - 1.0,
                        })
                        .collect(),
                ),
            },
            previous_rewards: (0..rows)
                .map(|row| if first(row) { 0.0 } else { f32::from(number(row)) })
                .collect(),
            step_types: (0..rows)
                .map(|row| match place(row) {
                    0 => StepType::First,
                    3 if noise.is_multiple_of(2) => StepType::Last(Ending::Terminated),
                    3 => StepType::Last(Ending::Truncated),
                    _ => StepType::Mid,
                })
                .collect(),
        },
        log_probs: (0..unroll_length).map(|t| -(t as f32)).collect(),
        policy_versions: (0..unroll_length as u64).map(|t| t / 2 + 5).collect(),
        core_state: vec![0.25; (noise % 5) as usize],
    }
}

proptest! {
    #[test]
    fn trajectories_survive_the_wire(spec in specs(), length in 1_usize..9, noise: u32) {
        let sent = trajectory(&spec, length, noise);
        let received = trajectory_from_wire(trajectory_to_wire(&sent), 3, &spec, length);
        prop_assert_eq!(received, Ok(sent));
    }

    #[test]
    fn frames_and_actions_survive_the_wire(spec in specs(), rows in 1_usize..9, noise: u32) {
        let frames = trajectory(&spec, rows, noise).frames;
        let received = frames_from_wire(frames_to_wire(&frames), &spec, rows + 1);
        prop_assert_eq!(received, Ok(frames.clone()));
        let bytes = actions_to_wire(&frames.previous_actions);
        prop_assert_eq!(
            actions_from_wire(&bytes, spec.action, rows + 1),
            Ok(frames.previous_actions)
        );
    }

    #[test]
    fn specs_survive_the_wire(spec in specs()) {
        prop_assert_eq!(EnvSpec::try_from(v1::EnvSpec::from(&spec)), Ok(spec));
    }

    /// Bytes from anywhere never panic, and never become frames of the wrong size.
    #[test]
    fn garbage_is_refused_without_harm(
        spec in specs(),
        observations: Vec<u8>,
        previous_actions: Vec<u8>,
        previous_rewards: Vec<u8>,
        step_types: Vec<u8>,
    ) {
        let rows = 4;
        let message = v1::Frames {
            observations: observations.into(),
            previous_actions: previous_actions.into(),
            previous_rewards: previous_rewards.into(),
            step_types: step_types.into(),
        };
        if let Ok(frames) = frames_from_wire(message, &spec, rows) {
            prop_assert_eq!(frames.rows(), rows);
        }
    }
}

fn registration() -> Registration {
    Registration {
        run_id: Some("run".into()),
        actor: 4,
        any_number: false,
        instance: 0,
        generation: 99,
        env_indices: 8..16,
        spec: EnvSpec {
            name: "recall".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![6] },
            action: ActionSpec::Discrete { count: 4 },
            frame_stack: 1,
            action_repeat: 1,
        },
        purpose: Purpose::Train,
        seed: u64::MAX,
    }
}

#[test]
fn a_registration_survives_the_wire() {
    let sent = registration();
    let received = Registration::try_from(v1::Registration::from(&sent)).expect("good");
    assert_eq!(received, sent);
}

#[test]
fn another_protocol_run_or_environment_is_a_failed_precondition_that_shows_both() {
    let mut message = v1::Registration::from(&registration());
    message.protocol_version = 77;
    let refused = tonic::Status::from(Registration::try_from(message).expect_err("refused"));
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("77"), "{}", refused.message());

    let refused = tonic::Status::from(registration().check_run("other").expect_err("refused"));
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("`run`") && refused.message().contains("`other`"));

    let mut served = registration().spec;
    served.action = ActionSpec::Discrete { count: 2 };
    let refused = tonic::Status::from(registration().check_spec(&served).expect_err("refused"));
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("4 discrete actions"), "{}", refused.message());
    assert!(refused.message().contains("2 discrete actions"), "{}", refused.message());
}

#[test]
fn a_registration_without_environments_or_purpose_is_refused() {
    let refuse = |change: fn(&mut v1::Registration)| {
        let mut message = v1::Registration::from(&registration());
        change(&mut message);
        Registration::try_from(message).expect_err("refused")
    };
    assert!(matches!(refuse(|m| m.env_count = 0), WireError::TooMany { .. }));
    assert!(matches!(refuse(|m| m.env_count = u32::MAX), WireError::TooMany { .. }));
    assert!(matches!(refuse(|m| m.first_env_index = u32::MAX), WireError::TooMany { .. }));
    assert_eq!(refuse(|m| m.purpose = 0), WireError::Missing("purpose"));
    assert_eq!(refuse(|m| m.spec = None), WireError::Missing("spec"));
}

#[test]
fn an_unroll_of_another_length_is_refused_with_both_lengths() {
    let spec = registration().spec;
    let message = trajectory_to_wire(&trajectory(&spec, 5, 1));
    let refused = trajectory_from_wire(message, 3, &spec, 6).expect_err("refused");
    assert_eq!(refused, WireError::UnrollLength { expected: 6, found: 5 });
}

#[test]
fn a_score_survives_the_wire_and_must_be_of_the_episodes_that_were_asked_for() {
    let (episodes, mean_return, return_std, mean_length) = (3, 0.5, 0.25, 7.0);
    let score = Score { episodes, mean_return, return_std, success: Some(1.0), mean_length };
    let message = score_to_wire(&score);
    assert_eq!(score_from_wire(&message, 3), Ok(score));
    assert_eq!(
        score_from_wire(&message, 4).unwrap_err().to_string(),
        "a score of 3 episodes came; 4 were to be played"
    );
    let bad = v1::Score { success: Some(f64::INFINITY), ..message };
    assert!(score_from_wire(&bad, 3).unwrap_err().to_string().contains("`success`"));
}
