//! Unroll grants: the right of actors to begin unrolls, by which the learner bounds policy lag.
//!
//! Batches hold B trajectories, and each batch makes one version of the weights. A trajectory that
//! is begun while n others are under way is learned from after n / B more versions. So an unroll may
//! begin while fewer than `(lag + 1) · B` trajectories are under way, wherever they are:
//!
//! ```text
//! begin ──▶ playing ──arrived──▶ waiting ──batched──▶ in a batch ──learned, published──▶ gone
//! ```
//!
//! A lag of 0 means turns: a batch is played while nothing is learned, then learned from while
//! nothing is played. With a lag of 1 a batch is played while the one before it is learned from.
//! Large-scale reinforcement learning of language models has the same rule (Fu et al. 2025,
//! <https://arxiv.org/abs/2505.24298>, section 5.1).
//!
//! The bound is exact where B is a multiple of the environments of each group. Otherwise the
//! trajectories of a group that do not fit into its batch wait for the next one. A trajectory that
//! comes without a grant, as one that is sent again does, counts from its arrival on.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

/// Grants of one run; clones share them.
#[derive(Clone, Debug)]
pub struct UnrollGrants {
    /// Trajectories under way at which no unroll may begin any more.
    limit: usize,
    underway: watch::Sender<Underway>,
    /// Held by the session that is next to begin: first come, first served.
    turn: Arc<Mutex<()>>,
}

/// Trajectories under way, and sessions that want more.
#[derive(Clone, Copy, Debug, Default)]
struct Underway {
    playing: usize,
    waiting: usize,
    batched: usize,
    /// Requests to begin that have no answer yet.
    asking: usize,
}

/// Grants of one stream of trajectories: what is still being played is given back when it ends.
#[derive(Debug)]
pub struct StreamGrants {
    grants: UnrollGrants,
    playing: std::sync::Mutex<usize>,
}

/// Counts a request to begin, as long as it lives.
struct Asking<'a>(&'a UnrollGrants);

impl UnrollGrants {
    /// Grants for batches of `batch_size` trajectories, none of which is learned from by weights more
    /// than `lag` versions newer than those that began it.
    pub fn bounded(batch_size: usize, lag: u64) -> Self {
        let batches = usize::try_from(lag).unwrap_or(usize::MAX).saturating_add(1);
        UnrollGrants::of(batch_size.saturating_mul(batches))
    }

    /// Grants for a replay that acting and learning take turns at: a group begins when nothing is
    /// under way.
    pub fn one_group_at_a_time() -> Self {
        UnrollGrants::of(1)
    }

    /// Grants that every request gets at once.
    pub fn unlimited() -> Self {
        UnrollGrants::of(usize::MAX)
    }

    fn of(limit: usize) -> Self {
        UnrollGrants {
            limit,
            underway: watch::channel(Underway::default()).0,
            turn: Arc::default(),
        }
    }

    /// True if nobody needs to ask.
    pub fn are_unlimited(&self) -> bool {
        self.limit == usize::MAX
    }

    /// The grants of a new stream.
    pub fn stream(&self) -> StreamGrants {
        StreamGrants { grants: self.clone(), playing: std::sync::Mutex::new(0) }
    }

    /// `trajectories` that have arrived are in a batch now.
    pub fn batched(&self, trajectories: usize) {
        self.underway.send_modify(|underway| {
            underway.waiting = underway.waiting.saturating_sub(trajectories);
            underway.batched += trajectories;
        });
    }

    /// `trajectories` that have arrived are learned from by nobody.
    pub fn dropped(&self, trajectories: usize) {
        self.underway.send_modify(|underway| {
            underway.waiting = underway.waiting.saturating_sub(trajectories);
        });
    }

    /// `trajectories` of batches are learned from, and the weights that this made are published.
    pub fn learned(&self, trajectories: usize) {
        self.underway.send_modify(|underway| {
            underway.batched = underway.batched.saturating_sub(trajectories);
        });
    }

    /// Returns once no trajectory will come any more to the `in_hand` that wait until these are
    /// learned from: nothing is played, nothing is in a batch, and unrolls wait to begin. May be
    /// dropped.
    pub async fn exhausted(&self, in_hand: usize) {
        let exhausted = |underway: &Underway| {
            let Underway { playing, waiting, batched, asking } = *underway;
            let idle = playing == 0 && batched == 0 && waiting <= in_hand;
            idle && asking > 0 && waiting >= self.limit
        };
        let _ = self.underway.subscribe().wait_for(exhausted).await;
    }
}

impl StreamGrants {
    /// Waits for the right to begin an unroll of so many environments. May be dropped.
    pub async fn begin(&self, trajectories: usize) {
        let UnrollGrants { limit, underway, turn } = &self.grants;
        let _asking = Asking::new(&self.grants);
        let _turn = turn.lock().await;
        let room =
            |underway: &Underway| underway.playing + underway.waiting + underway.batched < *limit;
        let _ = underway.subscribe().wait_for(room).await;
        *self.lock() += trajectories;
        underway.send_modify(|underway| underway.playing += trajectories);
    }

    /// A trajectory has arrived, and waits for a batch.
    pub fn arrived(&self) {
        let granted = self.take_one();
        self.grants.underway.send_modify(|underway| {
            underway.playing -= usize::from(granted);
            underway.waiting += 1;
        });
    }

    /// A trajectory has come that is not learned from.
    pub fn refused(&self) {
        if self.take_one() {
            self.grants.underway.send_modify(|underway| underway.playing -= 1);
        }
    }

    /// Takes one trajectory off those that are played; `false` if it has no grant.
    fn take_one(&self) -> bool {
        let mut playing = self.lock();
        let granted = *playing > 0;
        *playing -= usize::from(granted);
        granted
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.playing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for StreamGrants {
    fn drop(&mut self) {
        let playing = *self.lock();
        self.grants.underway.send_modify(|underway| underway.playing -= playing);
    }
}

impl<'a> Asking<'a> {
    fn new(grants: &'a UnrollGrants) -> Self {
        grants.underway.send_modify(|underway| underway.asking += 1);
        Asking(grants)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.underway.send_modify(|underway| underway.asking -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// True if a stream may begin an unroll of so many environments right now.
    fn begins(stream: &StreamGrants, trajectories: usize) -> bool {
        stream.begin(trajectories).now_or_never().is_some()
    }

    fn arrive(stream: &StreamGrants, trajectories: usize) {
        (0..trajectories).for_each(|_| stream.arrived());
    }

    #[test]
    fn in_turns_a_batch_begins_when_the_one_before_is_published() {
        let grants = UnrollGrants::bounded(4, 0);
        let stream = grants.stream();
        assert!(begins(&stream, 2) && begins(&stream, 2) && !begins(&stream, 2));
        arrive(&stream, 4);
        grants.batched(4);
        assert!(!begins(&stream, 2), "it is being learned from");
        grants.learned(4);
        assert!(begins(&stream, 2) && begins(&stream, 2) && !begins(&stream, 2));
    }

    #[test]
    fn one_ahead_a_batch_is_played_while_another_is_learned_from() {
        let grants = UnrollGrants::bounded(2, 1);
        let stream = grants.stream();
        assert!(begins(&stream, 2) && begins(&stream, 2) && !begins(&stream, 2));
        arrive(&stream, 2);
        grants.batched(2);
        assert!(!begins(&stream, 2));
        grants.learned(2);
        assert!(begins(&stream, 2) && !begins(&stream, 2));
    }

    #[test]
    fn a_stream_that_ends_gives_back_what_it_played_and_what_was_dropped_is_gone() {
        let grants = UnrollGrants::bounded(4, 0);
        let (lost, stream) = (grants.stream(), grants.stream());
        assert!(begins(&lost, 3) && begins(&stream, 1) && !begins(&stream, 1));
        arrive(&lost, 1);
        drop(lost);
        assert!(begins(&stream, 2) && !begins(&stream, 1), "one has arrived, three are played");
        grants.dropped(1);
        assert!(begins(&stream, 1) && !begins(&stream, 1));
        stream.refused();
        assert!(begins(&stream, 1) && !begins(&stream, 1));
    }

    #[test]
    fn a_trajectory_without_a_grant_counts_once_it_has_arrived() {
        let grants = UnrollGrants::bounded(2, 0);
        let stream = grants.stream();
        arrive(&stream, 2);
        assert!(!begins(&stream, 1));
        grants.batched(2);
        grants.learned(2);
        assert!(begins(&stream, 1));
        stream.refused();
        stream.refused();
        assert!(begins(&stream, 2) && !begins(&stream, 1));
    }

    #[tokio::test]
    async fn requests_are_answered_in_the_order_in_which_they_came() {
        let grants = UnrollGrants::bounded(1, 0);
        let stream = grants.stream();
        stream.begin(1).await;
        let mut first = Box::pin(stream.begin(1));
        let mut second = Box::pin(stream.begin(1));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        stream.refused();
        assert!(second.as_mut().now_or_never().is_none());
        assert!(first.as_mut().now_or_never().is_some());
    }

    #[test]
    fn exhausted_is_what_waits_for_ever() {
        let grants = UnrollGrants::bounded(4, 0);
        let exhausted = || grants.exhausted(4).now_or_never().is_some();
        let stream = grants.stream();
        assert!(begins(&stream, 4) && !exhausted());
        arrive(&stream, 4);
        assert!(!exhausted(), "nobody wants more");
        let mut more = Box::pin(stream.begin(4));
        assert!(more.as_mut().now_or_never().is_none() && exhausted());
        assert!(grants.exhausted(3).now_or_never().is_none(), "one is still in the queue");
        grants.batched(3);
        assert!(!exhausted(), "what is learned from will make room");
    }
}
