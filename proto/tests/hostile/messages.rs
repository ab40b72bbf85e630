//! Good messages of all kinds, which the tests damage.

use bytes::Bytes;
use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec};
use engram_proto::v1::{self, act_request, evaluate_request, push_request};
use prost::Message;

/// Decisions of a trajectory.
pub(crate) const UNROLL_LENGTH: usize = 3;

pub(crate) fn spec() -> EnvSpec {
    EnvSpec {
        name: "recall".into(),
        observation: ObservationSpec { dtype: Dtype::F32, shape: vec![2, 2] },
        action: ActionSpec::Discrete { count: 4 },
        frame_stack: 1,
        action_repeat: 1,
    }
}

pub(crate) fn registration() -> v1::Registration {
    v1::Registration {
        protocol_version: engram_proto::PROTOCOL_VERSION,
        run_id: "run".into(),
        actor: 3,
        generation: 1 << 40,
        first_env_index: 4,
        env_count: 8,
        spec: Some(v1::EnvSpec::from(&spec())),
        purpose: v1::Purpose::Train.into(),
        seed: 7,
        any_number: false,
        instance: 0,
    }
}

pub(crate) fn frames(rows: usize) -> v1::Frames {
    let first = |row: usize| row == 0;
    let action = |row| if first(row) { 0_i32 } else { 2 };
    let reward = |row| if first(row) { 0_f32 } else { 0.5 };
    let numbers = |number: Vec<u8>| Bytes::from(number);
    v1::Frames {
        observations: numbers((0..rows * 4).flat_map(|x| (x as f32).to_le_bytes()).collect()),
        previous_actions: numbers((0..rows).flat_map(|row| action(row).to_le_bytes()).collect()),
        previous_rewards: numbers((0..rows).flat_map(|row| reward(row).to_le_bytes()).collect()),
        step_types: (0..rows).map(|row| u8::from(!first(row))).collect::<Vec<u8>>().into(),
    }
}

pub(crate) fn trajectory(env_index: u32) -> v1::Trajectory {
    v1::Trajectory {
        env_index,
        sequence: 9,
        frames: Some(frames(UNROLL_LENGTH + 1)),
        log_probs: vec![0; 4 * UNROLL_LENGTH].into(),
        policy_versions: vec![1; 8 * UNROLL_LENGTH].into(),
        core_state: vec![0; 4 * 5].into(),
    }
}

pub(crate) fn push(body: push_request::Body) -> v1::PushRequest {
    v1::PushRequest { body: Some(body) }
}

pub(crate) fn trajectories(count: u32) -> v1::PushRequest {
    let trajectories = (0..count).map(trajectory).collect();
    push(push_request::Body::Trajectories(v1::Trajectories { trajectories }))
}

pub(crate) fn pushes() -> Vec<Vec<u8>> {
    let begin = v1::BeginUnroll { first_env_index: 4, environments: 8 };
    [
        push(push_request::Body::Registration(registration())),
        trajectories(4),
        push(push_request::Body::BeginUnroll(begin)),
    ]
    .map(|message| message.encode_to_vec())
    .into()
}

pub(crate) fn acts() -> Vec<Vec<u8>> {
    let observe =
        v1::Observe { frames: Some(frames(8)), unroll_start: true, rank: 2, min_policy_version: 5 };
    [
        act_request::Body::Registration(registration()),
        act_request::Body::Observe(observe),
        act_request::Body::Waiting(v1::Waiting {}),
    ]
    .map(|body| v1::ActRequest { body: Some(body) }.encode_to_vec())
    .into()
}

pub(crate) fn report(episodes: usize) -> v1::ReportRequest {
    let episode = v1::Episode {
        env_index: 4,
        env_steps: 50,
        episode_return: 0.5,
        success: Some(true),
        finish: v1::Finish::Truncated.into(),
    };
    let run_id = "run".into();
    v1::ReportRequest {
        run_id,
        actor: 3,
        generation: 1,
        sequence: 2,
        episodes: vec![episode; episodes],
    }
}

pub(crate) fn evaluations() -> Vec<Vec<u8>> {
    let (episodes, success) = (8, Some(0.5));
    let score =
        v1::Score { episodes, mean_return: 0.5, return_std: 0.1, success, mean_length: 9.0 };
    [evaluate_request::Body::Registration(registration()), evaluate_request::Body::Score(score)]
        .map(|body| v1::EvaluateRequest { body: Some(body) }.encode_to_vec())
        .into()
}

pub(crate) fn answers() -> Vec<Vec<u8>> {
    let chunk = v1::WeightsChunk {
        run_id: "run".into(),
        policy_version: 3,
        total_bytes: 9,
        offset: 4,
        data: vec![1; 5].into(),
    };
    let registered = v1::Registered { run_id: "run".into(), seed: 5, ..Default::default() };
    let act = v1::Act {
        actions: vec![0; 32].into(),
        log_probs: vec![0; 32].into(),
        policy_version: 3,
        core_states: Bytes::new(),
    };
    let act = v1::act_response::Body::Act(act);
    let registered = v1::push_response::Body::Registered(registered);
    let weights = v1::evaluate_response::Body::Weights(chunk.clone());
    vec![
        chunk.encode_to_vec(),
        v1::ActResponse { body: Some(act) }.encode_to_vec(),
        v1::PushResponse { body: Some(registered) }.encode_to_vec(),
        v1::EvaluateResponse { body: Some(weights) }.encode_to_vec(),
        v1::ResolveResponse { run_id: "run".into(), config: "[run]".into() }.encode_to_vec(),
    ]
}
