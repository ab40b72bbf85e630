//! Evaluation queue: evaluations that are due, until an evaluator has played them.
//!
//! ```text
//! offered ──▶ waiting ──▶ playing ──▶ recorded
//!                ▲           │
//!                └───────────┘ its evaluator is lost
//! ```
//!
//! Training never waits for an evaluation. Each holds the weights that it is about; while training,
//! at most `WAITING` wait, and the oldest makes room for the next.

use std::collections::VecDeque;
use std::time::Duration;

use engram_mdp::Score;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use crate::rpc::publisher::Weights;
use crate::telemetry::metrics::Metrics;

/// Evaluations that may wait while training.
const WAITING: usize = 4;

/// Times that an evaluation is given to an evaluator.
const ATTEMPTS: u32 = 3;

/// Absence of evaluators after which none is expected any more.
const ABSENCE: Duration = Duration::from_secs(60);

/// Evaluation: greedy episodes with one version of the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Its occasion.
    pub occasion: Occasion,
    /// The weights.
    pub weights: Weights,
    /// Env steps that they were learned from.
    pub env_steps: u64,
    /// Updates that made them.
    pub updates: u64,
    /// Episodes to play.
    pub episodes: u32,
    /// Seed of their environments, as a run has one.
    pub seed: u64,
}

/// Occasion of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// So many env steps have passed since the last one.
    Training,
    /// The run has ended.
    End {
        /// Number of the set, counted from 0.
        set: u32,
        /// The weights' place in the run.
        checkpoint: CheckpointKind,
    },
}

/// Kind of the checkpoint whose weights are evaluated when a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointKind {
    /// The newest one.
    Newest,
    /// The one with the best evaluation.
    Best,
    /// The newest one, which has the best evaluation.
    Both,
}

/// Evaluations that wait, and evaluators that are there; clones share them.
#[derive(Clone, Debug)]
pub struct EvaluationQueue {
    state: watch::Sender<EvaluationQueueState>,
    metrics: Metrics,
}

/// Evaluation that an evaluator plays. Dropped before it is recorded, it waits again.
#[derive(Debug)]
pub struct PlayingEvaluation {
    queue: EvaluationQueue,
    entry: Option<QueuedEvaluation>,
}

/// Evaluation that was played.
#[derive(Debug)]
pub struct PlayedEvaluation {
    /// The evaluation.
    pub playing: PlayingEvaluation,
    /// Its score.
    pub score: Score,
    /// Answered once it is kept.
    pub kept: oneshot::Sender<()>,
}

/// Counts an evaluator among those that are there, as long as it lives.
#[derive(Debug)]
pub struct EvaluatorPresence(EvaluationQueue);

#[derive(Debug, Default)]
struct EvaluationQueueState {
    waiting: VecDeque<QueuedEvaluation>,
    playing: usize,
    evaluators: usize,
    /// True once any evaluator has come.
    expected: bool,
    /// True if evaluations are being missed, which is said once.
    missing: bool,
}

#[derive(Clone, Debug)]
struct QueuedEvaluation {
    evaluation: Evaluation,
    attempts: u32,
}

impl EvaluationQueue {
    /// A queue without evaluations and evaluators.
    pub fn new(metrics: Metrics) -> Self {
        EvaluationQueue { state: watch::channel(EvaluationQueueState::default()).0, metrics }
    }

    /// Puts an evaluation at the end.
    pub fn offer(&self, evaluation: Evaluation) {
        let mut missed = None;
        self.state.send_modify(|state| {
            let bounded = evaluation.occasion == Occasion::Training;
            state.waiting.push_back(QueuedEvaluation { evaluation, attempts: 0 });
            if bounded && state.waiting.len() > WAITING {
                missed = state.waiting.pop_front();
            }
        });
        if let Some(entry) = missed {
            let why = match self.state.borrow().evaluators {
                0 => "no evaluator is there: start `engram-evaluator --learner ADDR`",
                _ => "evaluators are slower than run.eval_env_steps asks for",
            };
            self.miss(&entry.evaluation, why);
        }
    }

    /// The next evaluation, once there is one. May be dropped.
    pub async fn take(&self) -> PlayingEvaluation {
        let mut changes = self.state.subscribe();
        loop {
            let _ = changes.wait_for(|state| !state.waiting.is_empty()).await;
            let mut entry = None;
            self.state.send_if_modified(|state| {
                entry = state.waiting.pop_front();
                state.playing += usize::from(entry.is_some());
                entry.is_some()
            });
            // Another evaluator may have been quicker.
            if entry.is_some() {
                return PlayingEvaluation { queue: self.clone(), entry };
            }
        }
    }

    /// An evaluator has come.
    pub fn join(&self) -> EvaluatorPresence {
        self.count_evaluators(|evaluators| evaluators + 1);
        EvaluatorPresence(self.clone())
    }

    /// True if an evaluator is there, or was.
    pub fn expects_evaluators(&self) -> bool {
        self.state.borrow().expected
    }

    /// Returns once every evaluation is recorded or missed. May be dropped.
    pub async fn settled(&self) {
        let settled = |state: &EvaluationQueueState| state.waiting.is_empty() && state.playing == 0;
        let _ = self.state.subscribe().wait_for(settled).await;
    }

    /// Returns once no evaluator has been there for a while. May be dropped.
    pub async fn deserted(&self) {
        let mut changes = self.state.subscribe();
        loop {
            let _ = changes.wait_for(|state| state.evaluators == 0).await;
            let back = changes.wait_for(|state| state.evaluators > 0);
            if tokio::time::timeout(ABSENCE, back).await.is_err() {
                return;
            }
        }
    }

    /// Forgets the evaluations that wait.
    pub fn give_up(&self, why: &str) {
        let mut missed = VecDeque::new();
        self.state.send_modify(|state| missed = std::mem::take(&mut state.waiting));
        missed.iter().for_each(|entry| self.miss(&entry.evaluation, why));
    }

    fn miss(&self, evaluation: &Evaluation, why: &str) {
        self.metrics.evaluation_missed();
        let mut said = false;
        self.state.send_modify(|state| said = std::mem::replace(&mut state.missing, true));
        if !said || evaluation.occasion != Occasion::Training {
            let env_steps = evaluation.env_steps;
            tracing::warn!(env_steps, "an evaluation is missed: {why}");
        }
    }

    fn count_evaluators(&self, change: impl Fn(usize) -> usize) {
        self.state.send_modify(|state| {
            state.evaluators = change(state.evaluators);
            state.expected = true;
            self.metrics.evaluators(state.evaluators);
        });
    }
}

impl PlayingEvaluation {
    /// Evaluation that is played.
    pub fn evaluation(&self) -> &Evaluation {
        &self.entry.as_ref().expect("it is there until it is recorded").evaluation
    }

    /// Its score is kept.
    pub fn recorded(mut self) {
        self.entry = None;
        self.queue.state.send_modify(|state| {
            state.playing -= 1;
            state.missing = false;
        });
    }
}

impl Drop for PlayingEvaluation {
    fn drop(&mut self) {
        let Some(mut entry) = self.entry.take() else { return };
        entry.attempts += 1;
        let lost = (entry.attempts == ATTEMPTS).then(|| entry.evaluation.clone());
        self.queue.state.send_modify(|state| {
            state.playing -= 1;
            if lost.is_none() {
                state.waiting.push_front(entry);
            }
        });
        if let Some(evaluation) = lost {
            self.queue.miss(&evaluation, "three evaluators were lost while they played it");
        }
    }
}

impl Drop for EvaluatorPresence {
    fn drop(&mut self) {
        self.0.count_evaluators(|evaluators| evaluators - 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn evaluation(env_steps: u64, occasion: Occasion) -> Evaluation {
        let weights = Weights { policy_version: env_steps, bytes: vec![7].into() };
        let (updates, episodes, seed) = (1, 3, env_steps);
        Evaluation { occasion, weights, env_steps, updates, episodes, seed }
    }

    fn queue(env_steps: impl IntoIterator<Item = u64>) -> EvaluationQueue {
        let queue = EvaluationQueue::new(Metrics::new());
        env_steps.into_iter().for_each(|at| queue.offer(evaluation(at, Occasion::Training)));
        queue
    }

    fn take(queue: &EvaluationQueue) -> Option<PlayingEvaluation> {
        queue.take().now_or_never()
    }

    fn settled(queue: &EvaluationQueue) -> bool {
        queue.settled().now_or_never().is_some()
    }

    #[tokio::test]
    async fn evaluations_are_played_in_their_order_and_the_oldest_makes_room() {
        let queue = queue(1..=6);
        for expected in [3, 4, 5, 6] {
            let playing = take(&queue).unwrap();
            assert_eq!(playing.evaluation().env_steps, expected);
            assert!(!settled(&queue));
            playing.recorded();
        }
        assert!(take(&queue).is_none() && settled(&queue));
    }

    #[tokio::test]
    async fn those_at_the_end_all_wait() {
        let queue = queue([]);
        let end = |set| evaluation(9, Occasion::End { set, checkpoint: CheckpointKind::Newest });
        (0..10).for_each(|set| queue.offer(end(set)));
        for set in 0..10 {
            let playing = take(&queue).unwrap();
            assert_eq!(*playing.evaluation(), end(set));
            playing.recorded();
        }
    }

    #[tokio::test]
    async fn one_whose_evaluator_is_lost_is_played_again_and_the_third_time_missed() {
        let queue = queue([1, 2]);
        for _ in 0..ATTEMPTS {
            assert_eq!(take(&queue).unwrap().evaluation().env_steps, 1);
        }
        let playing = take(&queue).unwrap();
        assert_eq!(playing.evaluation().env_steps, 2);
        playing.recorded();
        assert!(settled(&queue));
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_offered_and_two_never_get_the_same() {
        let queue = queue([]);
        let (mut first, mut second) = (Box::pin(queue.take()), Box::pin(queue.take()));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        queue.offer(evaluation(1, Occasion::Training));
        let playing = second.as_mut().now_or_never().unwrap();
        assert!(first.as_mut().now_or_never().is_none());
        drop(playing);
        assert!(first.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_deserted_when_nobody_has_been_there_for_a_while() {
        let queue = queue([1]);
        assert!(!queue.expects_evaluators());
        let started = tokio::time::Instant::now();
        queue.deserted().await;
        assert_eq!(started.elapsed(), ABSENCE);
        let present = queue.join();
        let deserted = tokio::time::timeout(100 * ABSENCE, queue.deserted()).await;
        assert!(deserted.is_err() && queue.expects_evaluators());
        drop(present);
        queue.deserted().await;
        queue.give_up("a test");
        assert!(settled(&queue));
    }
}
