//! Answers are those that the policy itself would give: every row with its own state, whoever
//! shares the batch.

use std::time::Duration;

use crate::support::*;
use engram_inference_server::{BatchLimits, InferenceConfig, WeightsSource};
use engram_mdp::{EnvSpec, Frames};
use engram_policy::exploration::{Choice, EpsilonSpread};
use engram_policy::{Batched, CoreState, Exploration, Inputs, Policy};
use engram_proto::{Purpose, Registration, v1};
use tch::{Device, Tensor};

/// The same policy, worked by hand: one environment at a time.
struct ByHand {
    policy: Policy,
    states: Vec<CoreState>,
}

/// Its answer to one frame.
struct Said {
    state_before: Vec<f32>,
    output: engram_policy::PolicyOutput,
}

impl ByHand {
    fn new(policy: Policy, envs: usize) -> Self {
        let states = (0..envs).map(|_| policy.initial_state(1)).collect();
        ByHand { policy, states }
    }

    fn step(&mut self, frames: &Frames, spec: &EnvSpec) -> Vec<Said> {
        (0..frames.rows())
            .map(|row| {
                let mut frame = Frames::with_capacity(spec, 1);
                frame.extend_rows(frames, row..row + 1, spec);
                let inputs = Inputs::from_frames(&frame, spec, Device::Cpu);
                let state_before = numbers(&self.states[row].flatten());
                let (output, after) = self.policy.step(&inputs, &self.states[row]);
                self.states[row] = after;
                Said { state_before, output }
            })
            .collect()
    }
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.view(-1)).expect("floats")
}

fn close(found: &[f32], expected: &[f32]) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + b.abs()))
}

/// A server whose batches wait until both of two streams have asked.
fn together() -> InferenceConfig {
    let batch = BatchLimits { max_batch_size: 64, max_wait: Duration::from_secs(600) };
    InferenceConfig { batch: batch.into(), ..config() }
}

/// Holds one answer against the policy worked by hand.
fn check(act: &v1::Act, frames: &Frames, said: &[Said], greedy: bool, unroll_start: bool) {
    let (actions, log_probs) = (actions(&act.actions), floats(&act.log_probs));
    let states = floats(&act.core_states);
    assert_eq!((actions.len(), log_probs.len()), (said.len(), said.len()));
    assert_eq!(act.policy_version, 7);
    let width = said[0].state_before.len();
    assert_eq!(states.len(), if unroll_start { said.len() * width } else { 0 });
    for (row, said) in said.iter().enumerate() {
        if unroll_start {
            assert!(close(&states[row * width..][..width], &said.state_before), "row {row}");
        }
        if frames.step_types[row].is_last() {
            assert_eq!(log_probs[row], 0.0);
            continue;
        }
        let action = Tensor::from_slice(&[i64::from(actions[row])]);
        assert!(!greedy || said.output.distribution.mode() == action, "row {row}");
        // Who evaluates takes the likeliest action with certainty.
        let log_prob = match greedy {
            true => vec![0.0],
            false => numbers(&said.output.distribution.log_prob(&action)),
        };
        assert!(close(&log_probs[row..=row], &log_prob), "row {row}");
    }
}

#[tokio::test]
async fn each_row_has_its_own_state_at_every_unroll_start_and_across_resets() {
    let server = Server::start(together());
    let mut trains = server.client(&registration(0, 0..3)).await.expect("registered");
    let evaluation = Registration { purpose: Purpose::Evaluate, ..registration(1, 3..5) };
    let mut evaluates = server.client(&evaluation).await.expect("registered");
    let mut hand = ByHand::new(policy(&spec(), 1), 5);
    let mut drawn = Vec::new();
    for moment in 0..40 {
        let unroll_start = moment % 4 == 0;
        let all = frames(0..5, moment, &spec());
        let said = hand.step(&all, &spec());
        let (front, back) = (frames(0..3, moment, &spec()), frames(3..5, moment, &spec()));
        // Different streams may start their unrolls at different moments.
        let (first, second) =
            tokio::join!(trains.ask(&front, unroll_start), evaluates.ask(&back, moment % 5 == 0));
        let (first, second) = (first.expect("an answer"), second.expect("an answer"));
        check(&first, &front, &said[..3], false, unroll_start);
        check(&second, &back, &said[3..], true, moment % 5 == 0);
        drawn.extend(actions(&first.actions));
    }
    assert!((0..3).all(|action| drawn.contains(&action)), "drawn, not greedy");
    server.stop().await;
}

#[tokio::test]
async fn what_a_stream_is_told_does_not_depend_on_who_shares_its_batches() {
    let mut answers = Vec::new();
    for company in [false, true] {
        let server = Server::start(together());
        let mut stream = server.client(&registration(0, 0..3)).await.expect("registered");
        let mut other = match company {
            true => Some(server.client(&registration(1, 0..4)).await.expect("registered")),
            false => None,
        };
        let mut told = Vec::new();
        for moment in 0..20 {
            if let Some(other) = &other {
                other.send(observe(&frames(10..14, moment, &spec()), false));
            }
            let act = stream.ask(&frames(0..3, moment, &spec()), true).await.expect("an answer");
            told.push((actions(&act.actions), floats(&act.core_states)));
            if let Some(other) = &mut other {
                other.answer().await.expect("an answer");
            }
        }
        answers.push(told);
        server.stop().await;
    }
    for ((alone, alone_states), (together, together_states)) in answers[0].iter().zip(&answers[1]) {
        assert_eq!(alone, together);
        assert!(close(alone_states, together_states));
    }
}

#[tokio::test]
async fn slots_that_change_hands_start_from_zero() {
    let server = Server::start(InferenceConfig { max_slots: 3, ..config() });
    for actor in 0..2 {
        let mut stream = server.client(&registration(actor, 0..3)).await.expect("registered");
        for moment in 0..3 {
            // Frames from the middle of an episode: nothing but the slots themselves is reset.
            let frames = frames(0..3, moment + 1, &spec());
            let act = stream.ask(&frames, true).await.expect("an answer");
            let zero = floats(&act.core_states).iter().all(|&x| x == 0.0);
            assert_eq!(zero, moment == 0, "actor {actor}, moment {moment}");
        }
        // Ends the stream, and waits until the server has seen it.
        drop(stream.requests);
        assert!(stream.responses.message().await.expect("a good end").is_none());
    }
    server.stop().await;
}

#[tokio::test]
async fn continuous_actions_come_within_bounds_and_with_their_density() {
    let weights = policy(&continuous(), 1).save(7).into();
    let server =
        Server::start(InferenceConfig { weights: WeightsSource::Bytes(weights), ..config() });
    let registration = Registration { spec: continuous(), ..registration(0, 0..4) };
    let mut stream = server.client(&registration).await.expect("registered");
    let mut hand = ByHand::new(policy(&continuous(), 1), 4);
    for moment in 0..6 {
        let frames = frames(0..4, moment, &continuous());
        let said = hand.step(&frames, &continuous());
        let act = stream.ask(&frames, false).await.expect("an answer");
        let (actions, log_probs) = (floats(&act.actions), floats(&act.log_probs));
        assert_eq!((actions.len(), log_probs.len()), (8, 4));
        assert!(actions.iter().all(|a| (-1.0..=1.0).contains(a)));
        for row in (0..4).filter(|&row| !frames.step_types[row].is_last()) {
            let action = Tensor::from_slice(&actions[2 * row..][..2]).view([1, 2]);
            let log_prob = numbers(&said[row].output.distribution.log_prob(&action));
            assert!(close(&log_probs[row..=row], &log_prob), "moment {moment} row {row}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn greedy_streams_hear_the_same_whatever_the_seed() {
    let mut told = Vec::new();
    for seed in [3, 4] {
        let server = Server::start(config());
        let evaluation = Registration { purpose: Purpose::Evaluate, seed, ..registration(0, 0..4) };
        let mut stream = server.client(&evaluation).await.expect("registered");
        let mut actions = Vec::new();
        for moment in 0..10 {
            let act = stream.ask(&frames(0..4, moment, &spec()), false).await.expect("an answer");
            actions.push(act.actions);
        }
        told.push(actions);
        server.stop().await;
    }
    assert_eq!(told[0], told[1]);
}

/// A stream that came again, to this server or to another one, once drew what it had drawn before.
#[tokio::test]
async fn draws_follow_from_a_streams_own_seed_and_not_from_its_server() {
    let mut told = Vec::new();
    for seeds in [[3, 4], [3, 5]] {
        let server = Server::start(config());
        for seed in seeds {
            let registration = Registration { seed, ..registration(0, 0..4) };
            let mut stream = server.client(&registration).await.expect("registered");
            let mut drawn = Vec::new();
            for moment in 0..10 {
                let frames = frames(0..4, moment, &spec());
                drawn.push(stream.ask(&frames, false).await.expect("an answer").actions);
            }
            told.push(drawn);
        }
        server.stop().await;
    }
    let [three, four, three_again, five] = &told[..] else { unreachable!() };
    assert_eq!(three, three_again);
    assert!(three != four && three != five && four != five);
}

/// Actors once explored by number, and those of random numbers all alike.
#[tokio::test]
async fn actors_explore_by_their_rank_whatever_their_number() {
    let spread = Some(EpsilonSpread { actors: 4, exponent: 7.0 });
    let mut policy = policy(&spec(), 1);
    policy.set_exploration(Exploration {
        choice: Choice::Greedy,
        epsilon: 0.4,
        spread,
        action_noise: 0.0,
    });
    let weights = WeightsSource::Bytes(policy.save(7).into());
    let server = Server::start(InferenceConfig { weights, ..config() });
    let mut stream = server.client(&registration(u32::MAX, 0..4)).await.expect("registered");
    for (rank, power) in [(0, 1), (3, 8), (9, 8)] {
        let epsilon = 0.4f64.powi(power);
        let (random, likeliest) = (epsilon / 3.0, 1.0 - epsilon + epsilon / 3.0);
        stream.send(v1::Observe { rank, ..observe(&frames(0..4, 1, &spec()), false) });
        for log_prob in floats(&stream.answer().await.expect("an answer").log_probs) {
            let near = |chance: f64| (f64::from(log_prob) - chance.ln()).abs() < 1e-4;
            assert!(near(random) || near(likeliest), "rank {rank}: {log_prob}");
        }
    }
    server.stop().await;
}
