//! V-trace against a slow transcription of the paper, episode by episode.

use engram_learner::losses::vtrace::{VtraceInput, VtraceOptions, VtraceReturns, vtrace};
use engram_mdp::{Ending, Seed, StepType};
use rand::RngExt;
use tch::{Device, Kind, Tensor};

const GAMMA: f64 = 0.9375;

const ON_POLICY: VtraceOptions =
    VtraceOptions { rho_clip: 1.0, c_clip: 1.0, pg_rho_clip: Some(1.0), lambda: 1.0 };

/// One environment's unroll: T + 1 frames and T decisions, in plain numbers.
#[derive(Clone, Debug)]
struct Unroll {
    step_types: Vec<StepType>,
    values: Vec<f64>,
    rewards: Vec<f64>,
    target_log_probs: Vec<f64>,
    behavior_log_probs: Vec<f64>,
}

impl Unroll {
    /// Episodes of all lengths, cut anywhere. What stands at a Last frame is random too: it must
    /// not matter.
    fn random(rng: &mut engram_mdp::Generator, unroll_length: usize) -> Self {
        let mut step_types = Vec::new();
        for frame in 0..=unroll_length {
            let after_last = step_types.last().is_some_and(|s: &StepType| s.is_last());
            let starts = after_last || (frame == 0 && rng.random_bool(0.3));
            step_types.push(match rng.random_range(0..8) {
                _ if starts => StepType::First,
                0 => StepType::Last(Ending::Terminated),
                1 => StepType::Last(Ending::Truncated),
                _ => StepType::Mid,
            });
        }
        let mut numbers = |n: usize| (0..n).map(|_| rng.random_range(-2.0..2.0)).collect();
        Unroll {
            step_types,
            values: numbers(unroll_length + 1),
            rewards: numbers(unroll_length),
            target_log_probs: numbers(unroll_length),
            behavior_log_probs: numbers(unroll_length),
        }
    }

    fn unroll_length(&self) -> usize {
        self.rewards.len()
    }

    /// Frames `frames` as an unroll of their own.
    fn part(&self, frames: std::ops::RangeInclusive<usize>) -> Self {
        let decisions = *frames.start()..*frames.end();
        Unroll {
            step_types: self.step_types[frames.clone()].to_vec(),
            values: self.values[frames].to_vec(),
            rewards: self.rewards[decisions.clone()].to_vec(),
            target_log_probs: self.target_log_probs[decisions.clone()].to_vec(),
            behavior_log_probs: self.behavior_log_probs[decisions].to_vec(),
        }
    }
}

/// Targets and advantages of every column, `[B][T]`.
struct Columns {
    targets: Vec<Vec<f64>>,
    advantages: Vec<Vec<f64>>,
}

fn run(unrolls: &[Unroll], options: VtraceOptions, kind: Kind) -> Columns {
    let column = |f: &dyn Fn(&Unroll, usize) -> f64, rows: usize| {
        let numbers: Vec<f64> =
            (0..rows).flat_map(|t| unrolls.iter().map(move |u| f(u, t))).collect();
        Tensor::from_slice(&numbers).view([rows as i64, unrolls.len() as i64]).to_kind(kind)
    };
    let rows = unrolls[0].unroll_length();
    let discount = |u: &Unroll, t: usize| f64::from(u.step_types[t + 1].discount(GAMMA as f32));
    let weight = |u: &Unroll, t: usize| f64::from(u8::from(!u.step_types[t].is_last()));
    let returns = vtrace(
        &VtraceInput {
            target_log_probs: &column(&|u, t| u.target_log_probs[t], rows),
            behavior_log_probs: &column(&|u, t| u.behavior_log_probs[t], rows),
            rewards: &column(&|u, t| u.rewards[t], rows),
            discounts: &column(&discount, rows),
            weights: &column(&weight, rows),
            values: &column(&|u, t| u.values[t], rows + 1),
        },
        options,
    );
    let VtraceReturns { targets, advantages, .. } = returns;
    assert_eq!(targets.kind(), kind);
    assert_eq!(targets.device(), Device::Cpu);
    let by_column = |tensor: Tensor| {
        Vec::<Vec<f64>>::try_from(tensor.tr().to_kind(Kind::Double)).expect("two dimensions")
    };
    Columns { targets: by_column(targets), advantages: by_column(advantages) }
}

/// The paper's sum for one episode (or what the unroll shows of it), frames `s ..= end`: nothing
/// of weights, discounts or recursions, only the value of the frame where it ends.
fn paper_target(u: &Unroll, s: usize, end: usize, o: VtraceOptions) -> f64 {
    let value = |t: usize| match u.step_types[t] {
        StepType::Last(Ending::Terminated) => 0.0,
        _ => u.values[t],
    };
    let ratio = |t: usize| (u.target_log_probs[t] - u.behavior_log_probs[t]).exp();
    let mut target = u.values[s];
    for t in s..end {
        let product: f64 = (s..t).map(|i| o.lambda * ratio(i).min(o.c_clip)).product();
        let delta = ratio(t).min(o.rho_clip) * (u.rewards[t] + GAMMA * value(t + 1) - value(t));
        target += GAMMA.powi((t - s) as i32) * product * delta;
    }
    target
}

fn paper(u: &Unroll, o: VtraceOptions) -> (Vec<f64>, Vec<f64>) {
    let unroll_length = u.unroll_length();
    let mut targets = Vec::new();
    let mut advantages = Vec::new();
    for s in 0..unroll_length {
        if u.step_types[s].is_last() {
            targets.push(u.values[s]);
            advantages.push(0.0);
            continue;
        }
        let end =
            (s + 1..unroll_length).find(|&t| u.step_types[t].is_last()).unwrap_or(unroll_length);
        targets.push(paper_target(u, s, end, o));
        let next = match u.step_types[s + 1] {
            StepType::Last(Ending::Terminated) => 0.0,
            _ if s + 1 == end => u.values[end],
            _ => paper_target(u, s + 1, end, o),
        };
        let ratio = (u.target_log_probs[s] - u.behavior_log_probs[s]).exp();
        advantages.push(
            o.pg_rho_clip.map_or(1.0, |clip| ratio.min(clip))
                * (u.rewards[s] + GAMMA * next - u.values[s]),
        );
    }
    (targets, advantages)
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (t, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f - e).abs() / e.abs().max(1.0);
        assert!(error < tolerance, "{what} at {t}: {f}, the paper says {e}");
    }
}

#[test]
fn targets_and_advantages_equal_the_sum_of_the_paper() {
    let mut rng = Seed::new(1).derive("vtrace", 0).generator();
    let unroll_length = 9;
    let unrolls: Vec<Unroll> = (0..300).map(|_| Unroll::random(&mut rng, unroll_length)).collect();
    for frame in [0, 4, unroll_length - 1, unroll_length] {
        for ending in [Ending::Terminated, Ending::Truncated] {
            let last = StepType::Last(ending);
            let seen = unrolls.iter().any(|u| u.step_types[frame] == last);
            assert!(seen, "no {ending:?} episode ends at frame {frame}");
        }
    }
    let every_clip = [
        (1.0, 1.0, Some(1.0), 1.0),
        (2.0, 1.5, Some(1.25), 0.9),
        (f64::INFINITY, 1.0, Some(f64::INFINITY), 0.5),
        (1.0, 1.0, None, 0.9),
    ];
    for (rho_clip, c_clip, pg_rho_clip, lambda) in every_clip {
        let options = VtraceOptions { rho_clip, c_clip, pg_rho_clip, lambda };
        for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 1e-5)] {
            let found = run(&unrolls, options, kind);
            for (b, u) in unrolls.iter().enumerate() {
                let (targets, advantages) = paper(u, options);
                assert_close(&found.targets[b], &targets, tolerance, "target");
                assert_close(&found.advantages[b], &advantages, tolerance, "advantage");
            }
        }
    }
}

#[test]
fn on_policy_a_target_is_the_n_step_bellman_target() {
    let mut rng = Seed::new(2).derive("vtrace", 0).generator();
    let mut u = Unroll::random(&mut rng, 7);
    u.step_types = vec![StepType::Mid; 8];
    u.target_log_probs = u.behavior_log_probs.clone();
    let found = run(&[u.clone()], ON_POLICY, Kind::Double);
    let bellman: Vec<f64> = (0..7)
        .map(|s| {
            let rewards: f64 = (s..7).map(|t| GAMMA.powi((t - s) as i32) * u.rewards[t]).sum();
            rewards + GAMMA.powi((7 - s) as i32) * u.values[7]
        })
        .collect();
    assert_close(&found.targets[0], &bellman, 1e-12, "target");
}

/// Two decisions, then the end of the episode, then the first decision of the next.
fn short_episode(ending: Ending) -> Unroll {
    Unroll {
        step_types: vec![
            StepType::Mid,
            StepType::Mid,
            StepType::Last(ending),
            StepType::First,
            StepType::Mid,
        ],
        values: vec![1.0, 2.0, 40.0, 500.0, 6000.0],
        rewards: vec![0.0, 3.0, 777.0, 0.0],
        target_log_probs: vec![-1.0; 4],
        behavior_log_probs: vec![-1.0; 4],
    }
}

#[test]
fn a_truncated_episode_keeps_its_bootstrap() {
    let found = run(&[short_episode(Ending::Truncated)], ON_POLICY, Kind::Double);
    let last = 3.0 + GAMMA * 40.0;
    let expected = [GAMMA * last, last, 40.0, GAMMA * 6000.0];
    assert_close(&found.targets[0], &expected, 1e-12, "target");
    assert_close(
        &found.advantages[0],
        &[GAMMA * last - 1.0, last - 2.0, 0.0, GAMMA * 6000.0 - 500.0],
        1e-12,
        "advantage",
    );
}

#[test]
fn a_terminated_episode_has_no_bootstrap() {
    let found = run(&[short_episode(Ending::Terminated)], ON_POLICY, Kind::Double);
    let expected = [GAMMA * 3.0, 3.0, 40.0, GAMMA * 6000.0];
    assert_close(&found.targets[0], &expected, 1e-12, "target");
}

#[test]
fn two_episodes_packed_in_one_unroll_equal_the_two_apart() {
    let mut rng = Seed::new(3).derive("vtrace", 0).generator();
    let options = VtraceOptions { rho_clip: 1.5, lambda: 0.9, ..ON_POLICY };
    for ending in [Ending::Terminated, Ending::Truncated] {
        let mut packed = Unroll::random(&mut rng, 8);
        packed.step_types = vec![StepType::Mid; 9];
        packed.step_types[3] = StepType::Last(ending);
        packed.step_types[4] = StepType::First;
        let together = run(&[packed.clone()], options, Kind::Double);
        let first = run(&[packed.part(0..=3)], options, Kind::Double);
        let second = run(&[packed.part(4..=8)], options, Kind::Double);
        for (together, first, second) in [
            (&together.targets, &first.targets, &second.targets),
            (&together.advantages, &first.advantages, &second.advantages),
        ] {
            assert_eq!(together[0][..3], first[0][..]);
            assert_eq!(together[0][4..], second[0][..]);
        }
    }
}

#[test]
fn the_summary_leaves_last_frames_out() {
    let ones = Tensor::ones([3, 1], (Kind::Float, Device::Cpu));
    let column = |numbers: &[f32]| Tensor::from_slice(numbers).view([-1, 1]);
    let summary = vtrace(
        &VtraceInput {
            target_log_probs: &column(&[0.0, 50.0, 2.0_f32.ln()]),
            behavior_log_probs: &ones.zeros_like(),
            rewards: &column(&[1.0, 9.0, -1.0]),
            discounts: &ones.zeros_like(),
            weights: &column(&[1.0, 0.0, 1.0]),
            values: &column(&[1.0, 9.0, -1.0, 0.0]),
        },
        ON_POLICY,
    )
    .summary;
    assert_eq!(summary.decisions, 2.0);
    assert!((summary.mean_rho - 1.5).abs() < 1e-6);
    assert_eq!(summary.mean_value, 0.0);
    assert_eq!(summary.explained_variance, 1.0);
}

#[test]
#[should_panic(expected = "values are [T + 1, B]")]
fn values_without_the_last_frame_are_a_bug() {
    let x = Tensor::zeros([3, 2], (Kind::Float, Device::Cpu));
    let input = VtraceInput {
        target_log_probs: &x,
        behavior_log_probs: &x,
        rewards: &x,
        discounts: &x,
        weights: &x,
        values: &x,
    };
    vtrace(&input, ON_POLICY);
}
