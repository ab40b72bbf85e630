//! n-step returns.

use engram_learner::losses::n_step::{NStepInput, NStepReturns, n_step_returns};
use tch::{Kind, Tensor};

use crate::sequences::{Frame, GAMMA, Sequences};
use crate::{Grid, KINDS, assert_all_near, assert_near, numbers, rng};

/// One row, whose mask says where something is done.
fn row(rewards: &[f64], terminated: &[f64], mask: &[f64], n: usize) -> NStepReturns {
    let [rewards, terminated, mask] =
        [rewards, terminated, mask].map(|column| Tensor::from_slice(column).view([-1, 1]));
    let input = NStepInput { rewards: &rewards, terminated: &terminated, mask: &mask };
    n_step_returns(&input, 0.5, n)
}

#[test]
fn returns_equal_the_sum_of_the_book() {
    let mut rng = rng(1);
    for (length, batch) in [(9, 200), (1, 30), (4, 1)] {
        let sequences = Sequences::random([length, batch, 2], 2.0, &mut rng);
        let values = Grid::random(&[length + 1, batch], -3.0..3.0, &mut rng);
        for n in [1, 2, 3, 5, 8, 100] {
            for (kind, tolerance) in KINDS {
                let returns = sequences.columns(kind).returns(n);
                assert_eq!((returns.rewards.kind(), returns.discounts.kind()), (kind, kind));
                assert_eq!(returns.shape(), (length as i64, batch as i64));
                let [rewards, ends, discounts] =
                    [&returns.rewards, &returns.bootstrap, &returns.discounts].map(numbers);
                let backup = numbers(&returns.backup(&values.tensor(kind)));
                for (cell, (t, b)) in sequences.cells().enumerate() {
                    let found = (rewards[cell], ends[cell], discounts[cell]);
                    if !sequences.acts(t, b) {
                        assert_eq!(found, (0.0, (t + 1) as f64, 0.0));
                        continue;
                    }
                    let paper = sequences.outcome(t, b, n);
                    assert_near(found.0, paper.rewards, tolerance, "rewards");
                    assert_eq!(found.1, paper.end as f64, "t={t} b={b} n={n}");
                    assert_near(found.2, paper.discount, tolerance, "discount");
                    let target = paper.rewards + paper.discount * values.at(&[paper.end, b]);
                    assert_near(backup[cell], target, tolerance, "target");
                }
            }
        }
    }
}

#[test]
fn the_random_sequences_end_in_every_way_everywhere() {
    let sequences = Sequences::random([9, 200, 2], 2.0, &mut rng(1));
    for frame in [1, 4, 8, 9] {
        for end in [Frame::Terminated, Frame::Truncated, Frame::Cut] {
            assert!(sequences.frames.iter().any(|row| row[frame] == end), "{end:?} at {frame}");
        }
    }
    let (acts, cut, padding) = (Frame::Acts, Frame::Cut, Frame::Padding);
    for pair in [[padding, acts], [cut, acts], [cut, padding]] {
        assert!(sequences.frames.iter().any(|row| row.windows(2).any(|w| w == pair)), "{pair:?}");
    }
}

#[test]
fn a_truncated_episode_keeps_its_bootstrap_and_a_terminated_one_has_none() {
    let rewards = [1.0, 2.0, 777.0, 8.0];
    let mask = [1.0, 1.0, 0.0, 1.0];
    let truncated = row(&rewards, &[0.0; 4], &mask, 3);
    assert_all_near(&truncated.rewards, &[2.0, 2.0, 0.0, 8.0], 1e-15, "rewards");
    assert_eq!(numbers(&truncated.bootstrap), [2.0, 2.0, 3.0, 4.0]);
    assert_all_near(&truncated.discounts, &[0.25, 0.5, 0.0, 0.5], 1e-15, "discounts");
    let terminated = row(&rewards, &[0.0, 1.0, 0.0, 0.0], &mask, 3);
    assert_all_near(&terminated.rewards, &[2.0, 2.0, 0.0, 8.0], 1e-15, "rewards");
    assert_eq!(numbers(&terminated.bootstrap), [2.0, 2.0, 3.0, 4.0]);
    assert_all_near(&terminated.discounts, &[0.0, 0.0, 0.0, 0.5], 1e-15, "discounts");
}

#[test]
fn a_terminated_end_stops_returns_where_no_frame_is_masked() {
    // Replay may leave Last frames out: the next row then begins another episode.
    let returns = row(&[1.0, 2.0, 4.0], &[0.0, 1.0, 0.0], &[1.0; 3], 3);
    assert_all_near(&returns.rewards, &[2.0, 2.0, 4.0], 1e-15, "rewards");
    assert_eq!(numbers(&returns.bootstrap), [2.0, 2.0, 3.0]);
    assert_all_near(&returns.discounts, &[0.0, 0.0, 0.5], 1e-15, "discounts");
}

#[test]
fn what_is_masked_need_not_be_a_number() {
    let returns = row(&[1.0, f64::NAN, 3.0], &[0.0, f64::NAN, 0.0], &[1.0, 0.0, 1.0], 2);
    assert_eq!(numbers(&returns.rewards), [1.0, 0.0, 3.0]);
    assert_eq!(numbers(&returns.discounts), [0.5, 0.0, 0.5]);
}

#[test]
fn frames_are_taken_whole() {
    let mut rng = rng(2);
    let sequences = Sequences::random([6, 5, 2], 1.0, &mut rng);
    let frames = Grid::random(&[7, 5, 3], -1.0..1.0, &mut rng);
    let returns = sequences.columns(Kind::Double).returns(3);
    let found = returns.bootstrapped(&frames.tensor(Kind::Double));
    assert_eq!(found.size(), [6, 5, 3]);
    for (t, b) in sequences.cells().filter(|&(t, b)| sequences.acts(t, b)) {
        let end = sequences.outcome(t, b, 3).end;
        let found = numbers(&found.get(t as i64).get(b as i64));
        assert_eq!(found, frames.row(&[end, b]));
    }
}

#[test]
#[should_panic(expected = "a return is of one step at least")]
fn no_steps_are_a_bug() {
    row(&[1.0], &[0.0], &[1.0], 0);
}

#[test]
#[should_panic(expected = "values are [T + 1, B]")]
fn values_without_the_last_frame_are_a_bug() {
    let values = Grid::of(&[3, 1], |_| 0.0).tensor(Kind::Double);
    let _ = row(&[1.0; 3], &[0.0; 3], &[1.0; 3], 1).backup(&values);
}

#[test]
fn one_step_of_a_lone_episode_is_the_bellman_target() {
    let mut rng = rng(3);
    let mut sequences = Sequences::random([5, 1, 2], 1.0, &mut rng);
    sequences.frames = vec![vec![Frame::Acts; 6]];
    let values = Grid::random(&[6, 1], -1.0..1.0, &mut rng);
    let found = sequences.columns(Kind::Double).returns(1).backup(&values.tensor(Kind::Double));
    let bellman: Vec<f64> =
        (0..5).map(|t| sequences.rewards.at(&[t, 0]) + GAMMA * values.at(&[t + 1, 0])).collect();
    assert_all_near(&found, &bellman, 1e-15, "target");
}
