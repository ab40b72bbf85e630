//! The counting environment through the real services: no frame is lost, doubled or out of place,
//! and every unroll starts from the recurrent state that acting had there.
//!
//! Actors, an inference server and a learner run as in any run. Between actors and learner stands
//! a recording proxy, which remembers what it passes on. The learner's steps are too small to
//! change what its policy says, while its versions go on; so one policy explains all actions.
//!
//! An episode takes four frames and an unroll five decisions: unrolls begin at First, Mid and Last
//! frames in turn. The learner updates from single trajectories and lets hardly any wait, so what
//! it has learned from, in env steps, is what has come, each trajectory once.

mod recording_proxy;

use std::collections::BTreeMap;
use std::ops::Range;

use engram_actor::{ActorError, ActorSummary, ExitReason, MAX_UNACKNOWLEDGED};
use engram_inference_server::InferenceError;
use engram_learner::Ended;
use engram_learner::rpc::membership::Membership;
use engram_mdp::{Ending, EnvSpec, Frames, Observations, StepType, StreamId, Trajectory};
use engram_policy::{Batch, Batched, Inputs, Policy};
use recording_proxy::system::{Left, ServiceThread, System};
use recording_proxy::{Fault, Incarnation, Recording};
use tch::{Device, Tensor};

/// Decisions per trajectory.
const UNROLL_LENGTH: usize = 5;

/// Decisions per episode.
const EPISODE_LENGTH: usize = 3;

/// Environments per actor, in two groups.
const ENVS: u32 = 8;

/// The numbers above, and the rest. Features are bounded, for large numbers would drown what is
/// remembered.
const SETTINGS: [&str; 17] = [
    "env.episode_length=3",
    "env.ending=truncated",
    "run.unroll_length=5",
    "run.envs_per_actor=8",
    "run.max_batch_size=16",
    "run.env_steps=1_000_000_000",
    "run.queue_trajectories=1",
    "run.max_policy_lag=1_000_000_000",
    "rl.batch_size=1",
    "rl.learning_rate=1e-30",
    "rl.schedule=constant",
    "seq.inputs=[\"observation\", \"previous_action\"]",
    "seq.torso.hidden=[16]",
    "seq.torso.activation=tanh",
    "seq.memory.hidden=8",
    "seq.memory.layers=2",
    "seq.memory.forget_bias=1.0",
];

/// Tolerance for numbers that are the same but for rounding.
const TOLERANCE: f64 = 1e-5;

#[tokio::test]
async fn trajectories_overlap_by_one_frame_and_start_from_the_state_that_acting_had() {
    let system = System::start(&SETTINGS);
    let inference = system.inference();
    let actors = [(0, 1), (1, 1)];
    let running = actors.map(|(number, _)| system.actor(number));
    until_each_sent(&system, &actors, 40).await;
    let summaries = stop(running, inference).await;

    let policy = system.policy();
    let left = system.end().await;
    check_learner(&left, &policy, &summaries);
    for summary in &summaries {
        assert_eq!((summary.reason, summary.interruptions), (ExitReason::Shutdown, 0));
    }
    assert_eq!(left.recording.repeats, 0);
    assert_eq!(left.recording.streams.len(), 2 * ENVS as usize);
    for (source, stream) in &left.recording.streams {
        assert_eq!(check_stream(stream, &policy), 0, "{source:?}");
    }
    let beginning = |wanted: fn(&StepType) -> bool| {
        let trajectories = left.recording.streams.values().flatten();
        trajectories.filter(|trajectory| wanted(&trajectory.frames.step_types[0])).count()
    };
    let (first, last) = (beginning(|x| x.is_first()), beginning(|x| x.is_last()));
    let mid = beginning(|x| *x == StepType::Mid);
    assert!(first >= 100 && last >= 100 && mid >= 100, "{first} First, {mid} Mid, {last} Last");
}

#[tokio::test]
async fn frames_are_neither_lost_nor_doubled_when_an_inference_server_is_killed_and_replaced() {
    replace_the_inference_server(async |server| server.kill().await).await;
}

#[tokio::test]
async fn frames_are_neither_lost_nor_doubled_when_an_inference_server_leaves_and_is_replaced() {
    replace_the_inference_server(async |server| server.stop().await.expect("a good end")).await;
}

/// Every environment is interrupted once: it loses the unroll in progress, and nothing else.
async fn replace_the_inference_server(end: impl AsyncFnOnce(Server)) {
    let system = System::start(&SETTINGS);
    let first = system.inference();
    let actors = [(0, 1), (1, 1)];
    let running = actors.map(|(number, _)| system.actor(number));
    until_each_sent(&system, &actors, 10).await;
    end(first).await;
    let second = system.inference();
    // More than can have been under way when the first server ended.
    let longest = system.proxy.recording().longest();
    until_each_sent(&system, &actors, longest + 20).await;
    let summaries = stop(running, second).await;

    let policy = system.policy();
    let left = system.end().await;
    check_learner(&left, &policy, &summaries);
    for summary in &summaries {
        assert_eq!(summary.interruptions, 2, "both groups of an actor lost their policy once");
    }
    assert_eq!(left.recording.registrations.len(), 2, "the way to the learner was not touched");
    assert_eq!(left.recording.repeats, 0);
    for (source, stream) in &left.recording.streams {
        assert_eq!(check_stream(stream, &policy), 1, "{source:?}");
    }
}

#[tokio::test]
async fn a_killed_actor_is_replaced_from_the_start_of_its_streams_and_nobody_else_notices() {
    let system = System::start(&SETTINGS);
    let inference = system.inference();
    let [killed, other, next] = [(0, 1), (1, 1), (0, 2)];
    let (victim, bystander) = (system.actor(killed.0), system.actor(other.0));
    until_each_sent(&system, &[killed, other], 10).await;
    victim.kill().await;
    // What it had sent is still its own.
    system.proxy.until("its connection is closed", |seen| seen.connections == 1).await;
    let sent = system.proxy.recording().shortest(other, ENVS);
    let successor = system.actor(next.0);
    until_each_sent(&system, &[next], 20).await;
    until_each_sent(&system, &[other], sent + 20).await;
    let summaries = stop([bystander, successor], inference).await;

    let policy = system.policy();
    let left = system.end().await;
    check_learner(&left, &policy, &[]);
    assert!(summaries.iter().all(|summary| summary.interruptions == 0));
    assert_eq!(left.recording.registrations.len(), 3);
    assert_eq!(left.recording.repeats, 0);
    assert_eq!(left.recording.streams.len(), 3 * ENVS as usize);
    for (source, stream) in &left.recording.streams {
        assert_eq!(check_stream(stream, &policy), 0, "{source:?}");
    }
}

#[tokio::test]
async fn what_the_learner_did_not_acknowledge_is_sent_again_and_learned_from_once() {
    let system = System::start(&SETTINGS);
    let inference = system.inference();
    let actor = (0, 1);
    let running = system.actor(actor.0);
    until_each_sent(&system, &[actor], 10).await;
    for (fault, connections) in [(Fault::LoseMessage, 2), (Fault::LoseAcknowledgements, 3)] {
        system.proxy.cause(fault);
        let again = |seen: &Recording| seen.registrations.len() == connections;
        system.proxy.until("the actor is back", again).await;
        let longest = system.proxy.recording().longest();
        until_each_sent(&system, &[actor], longest + 10).await;
    }
    let summaries = stop([running], inference).await;

    let policy = system.policy();
    let left = system.end().await;
    check_learner(&left, &policy, &summaries);
    assert_eq!(summaries[0].interruptions, 0, "the environments only waited");
    // Every message holds the trajectories of a group.
    let unheard = MAX_UNACKNOWLEDGED * ENVS as usize / 2;
    assert!(left.recording.repeats >= unheard, "{} repeats", left.recording.repeats);
    for (source, stream) in &left.recording.streams {
        assert_eq!(check_stream(stream, &policy), 0, "{source:?}");
    }
}

type Server = ServiceThread<Result<(), InferenceError>>;
type Actor = ServiceThread<Result<ActorSummary, ActorError>>;

/// Waits until each environment of `actors` has sent so many trajectories since its start.
async fn until_each_sent(system: &System, actors: &[Incarnation], count: usize) {
    let each = |seen: &Recording| actors.iter().all(|&actor| seen.shortest(actor, ENVS) >= count);
    system.proxy.until("enough trajectories", each).await;
}

/// Lets everybody leave in peace, the actors first.
async fn stop(actors: impl IntoIterator<Item = Actor>, inference: Server) -> Vec<ActorSummary> {
    let mut summaries = Vec::new();
    for actor in actors {
        summaries.push(actor.stop().await.expect("a good end of an actor"));
    }
    inference.stop().await.expect("a good end of the inference server");
    summaries
}

/// The learner has learned from everything that was passed on to it, once. `summaries` are those
/// of all actors, or none where not all are known.
fn check_learner(left: &Left, policy: &Policy, summaries: &[ActorSummary]) {
    let Left { recording, summary, checkpoint } = left;
    let trajectories: usize = recording.streams.values().map(Vec::len).sum();
    assert_eq!((summary.ended, summary.stale_trajectories), (Ended::Stopped, 0));
    assert_eq!(summary.updates, trajectories as u64);
    assert_eq!(summary.env_steps, recording.env_steps());
    assert_eq!(summary.policy_version, summary.updates + 1);

    let mut next = BTreeMap::new();
    for (source, stream) in &recording.streams {
        let length = stream.len() as u64;
        assert_eq!(recording.acknowledged[source], length, "{source:?}");
        // A later generation takes the place of an earlier one.
        let incarnation = (source.stream.actor, source.incarnation);
        next.insert(source.stream, (recording.generation(incarnation), length));
    }
    let membership = Membership::default().resuming(checkpoint.state.membership.clone());
    let held: BTreeMap<StreamId, (u64, u64)> = membership
        .streams()
        .map(|(stream, generation, next)| (stream, (generation, next)))
        .collect();
    assert_eq!(held, next, "what the learner holds is what it was sent");

    if !summaries.is_empty() {
        let acted: u64 = summaries.iter().map(|actor| actor.env_steps).sum();
        assert!(summary.env_steps <= acted, "{} of {acted}", summary.env_steps);
        let episodes: u64 = summaries.iter().map(|actor| actor.episodes_ended).sum();
        assert_eq!(summary.episodes, episodes);
    }

    // One policy explains everything: the last weights are the first ones.
    let last = Policy::from_weights(&checkpoint.weights, Device::Cpu).expect("good weights");
    for ((name, first), (_, last)) in policy.trainable().iter().zip(last.trainable()) {
        assert!(distance(first, &last) < 1e-20, "{name} has changed");
    }
}

/// Checks one environment's stream; returns how often it was interrupted.
fn check_stream(stream: &[Trajectory], policy: &Policy) -> usize {
    for (sequence, trajectory) in stream.iter().enumerate() {
        assert_eq!(trajectory.sequence, sequence as u64);
        check_frames(trajectory);
    }
    let uninterrupted: Vec<_> = stream.chunk_by(continues).collect();
    assert_eq!(shown(&stream[0])[0][0], 0.0, "a stream begins with the environment");
    for pair in uninterrupted.windows(2) {
        let (before, after) = (shown(&pair[0][pair[0].len() - 1]), shown(&pair[1][0]));
        let lost = after[0][0] - before[UNROLL_LENGTH][0] - 1.0;
        let most = UNROLL_LENGTH as f32;
        assert!((0.0..most).contains(&lost), "{lost} frames were lost with an unroll in progress");
    }
    for part in &uninterrupted {
        assert!(part[0].frames.step_types[0].is_first(), "what is reset begins an episode");
        assert!(part[0].core_state.iter().all(|&x| x == 0.0), "and remembers nothing");
        check_overlap(part, policy.spec());
        check_acting(part, policy);
        check_memory(part, policy);
    }
    uninterrupted.len() - 1
}

/// The number of each frame, its index in the episode, and the action that it echoes.
fn shown(trajectory: &Trajectory) -> Vec<[f32; 3]> {
    let Observations::F32(numbers) = &trajectory.frames.observations else { unreachable!() };
    numbers.chunks_exact(3).map(|frame| [frame[0], frame[1], frame[2]]).collect()
}

/// True if `after` begins where `before` ends.
fn continues(before: &Trajectory, after: &Trajectory) -> bool {
    shown(before)[UNROLL_LENGTH] == shown(after)[0]
}

/// Frames are numbered without gaps, each at its place in its episode, with the action and the
/// reward that led to it.
fn check_frames(trajectory: &Trajectory) {
    let (frames, shown) = (&trajectory.frames, shown(trajectory));
    assert_eq!(shown.len(), UNROLL_LENGTH + 1);
    for (t, [number, index, echo]) in shown.iter().copied().enumerate() {
        assert_eq!(number, shown[0][0] + t as f32);
        let step_type = match index as usize {
            0 => StepType::First,
            EPISODE_LENGTH => StepType::Last(Ending::Truncated),
            _ => StepType::Mid,
        };
        assert_eq!(frames.step_types[t], step_type, "frame {number}");
        let reward = if step_type.is_first() { 0.0 } else { number };
        assert_eq!(frames.previous_rewards[t], reward);
        let action = frames.previous_actions.row(t, 1).index();
        assert_eq!(action as f32, echo, "the action before frame {number}");
        if t > 0 {
            let cycle = EPISODE_LENGTH as f32 + 1.0;
            assert_eq!(index, (shown[t - 1][1] + 1.0) % cycle, "frame {number}");
        }
    }
    for (t, &log_prob) in trajectory.log_probs.iter().enumerate() {
        let decides = !frames.step_types[t].is_last();
        assert_eq!(log_prob < 0.0, decides, "the log_prob at frame {}", shown[t][0]);
    }
}

/// The last frame of each trajectory is the first one of the next, in every column.
fn check_overlap(trajectories: &[Trajectory], spec: &EnvSpec) {
    for pair in trajectories.windows(2) {
        let last = rows(&pair[0].frames, UNROLL_LENGTH..UNROLL_LENGTH + 1, spec);
        assert_eq!(last, rows(&pair[1].frames, 0..1, spec));
        assert!(pair[0].policy_versions.last() <= pair[1].policy_versions.first());
    }
}

/// Unrolled from its own core state, every trajectory ends in the core state of the next, and its
/// actions were as probable as it says.
fn check_acting(trajectories: &[Trajectory], policy: &Policy) {
    let batch = Batch::from_trajectories(trajectories, policy.spec(), Device::Cpu);
    let batch = batch.expect("trajectories of one run");
    let (time, count) = (batch.unroll_length(), batch.batch());
    let decisions = |column: &Tensor| column.narrow(0, 0, time);
    let is_first = (0..UNROLL_LENGTH)
        .flat_map(|t| trajectories.iter().map(move |x| x.frames.step_types[t].is_first()));
    let inputs = Inputs::new(
        decisions(&batch.inputs.observation),
        decisions(&batch.inputs.previous_action),
        decisions(&batch.inputs.previous_reward),
        is_first.collect(),
    );
    let before = policy.core_state(&batch.core_state).expect("core states of this policy");
    let (output, after) = tch::no_grad(|| policy.unroll(&inputs, &before));
    let log_probs = output.distribution.log_prob(&batch.actions) * &batch.weights;
    let apart = distance(&log_probs, &batch.behavior_log_probs);
    assert!(apart < 10.0 * TOLERANCE, "log_probs are {apart} apart");
    if count > 1 {
        let expected = after.flatten().narrow(0, 0, count - 1);
        let found = batch.core_state.narrow(0, 1, count - 1);
        let apart = distance(&expected, &found);
        assert!(apart < TOLERANCE, "core states are {apart} apart");
    }
}

/// The core state of every trajectory is what its episode alone has left, whatever was before it.
fn check_memory(trajectories: &[Trajectory], policy: &Policy) {
    let spec = policy.spec();
    let mut frames = Frames::with_capacity(spec, trajectories.len() * UNROLL_LENGTH);
    let mut before: Option<Tensor> = None;
    for pair in trajectories.windows(2) {
        frames.extend_rows(&pair[0].frames, 0..UNROLL_LENGTH, spec);
        // The state is that before the border's own frame: a First one has not reset it yet.
        let first = frames.step_types.iter().rposition(|step_type| step_type.is_first());
        let first = first.expect("what was not interrupted begins with an episode");
        let episode = rows(&frames, first..frames.rows(), spec);
        let mut state = policy.initial_state(1);
        for t in 0..episode.rows() {
            let frame = rows(&episode, t..t + 1, spec);
            state = policy.step(&Inputs::from_frames(&frame, spec, Device::Cpu), &state).1;
        }
        let found = Tensor::from_slice(&pair[1].core_state).view([1, -1]);
        let apart = distance(&state.flatten(), &found);
        assert!(apart < TOLERANCE, "trajectory {}: {apart} apart", pair[1].sequence);
        if let Some(before) = before.replace(found.shallow_clone()) {
            let moved = distance(&before, &found);
            assert!(moved > 100.0 * TOLERANCE, "states so much alike prove nothing: {moved}");
        }
    }
}

fn rows(frames: &Frames, range: Range<usize>, spec: &EnvSpec) -> Frames {
    let mut some = Frames::with_capacity(spec, range.len());
    some.extend_rows(frames, range, spec);
    some
}

/// The largest difference between two numbers at the same place.
fn distance(left: &Tensor, right: &Tensor) -> f64 {
    assert_eq!(left.size(), right.size());
    (left - right).detach().abs().max().double_value(&[])
}
