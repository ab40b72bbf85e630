//! Waiting between attempts: longer each time, and never in step with others.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// Delays that double from `first` to `longest`, of each of which a part at random is waited, from
/// nothing to all of it (full jitter): a thousand actors that lose a learner in the same instant come
/// back evenly spread over the delay. Half of it as the least would bring them all in its second half.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    generator: Pcg64,
}

impl Backoff {
    /// From a tenth of a second to five seconds. The seed is one of the experiment's.
    pub fn new(seed: u64) -> Self {
        Self::between(Duration::from_millis(100), Duration::from_secs(5), seed)
    }

    /// From `first` to `longest`.
    pub fn between(first: Duration, longest: Duration, seed: u64) -> Self {
        assert!(first <= longest, "delays grow");
        Backoff { first, longest, next: first, generator: Pcg64::seed_from_u64(seed) }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.longest);
        delay.mul_f64(self.generator.random_range(0.0..=1.0))
    }

    /// Waits for the next delay.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(backoff: &mut Backoff, count: usize) -> Vec<u128> {
        (0..count).map(|_| backoff.next_delay().as_millis()).collect()
    }

    #[test]
    fn delays_double_up_to_the_longest_and_any_part_of_them_is_waited() {
        let full = [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000];
        let mut longest = vec![0; full.len()];
        for seed in 0..100 {
            let mut backoff = Backoff::new(seed);
            let delays = milliseconds(&mut backoff, full.len());
            longest
                .iter_mut()
                .zip(delays)
                .for_each(|(longest, delay)| *longest = delay.max(*longest));
            backoff.reset();
            assert!(backoff.next_delay() <= Duration::from_millis(100));
        }
        for (longest, full) in longest.into_iter().zip(full) {
            assert!((full * 9 / 10..=full).contains(&longest), "{longest} of {full}");
        }
    }

    #[test]
    fn a_thousand_actors_that_lose_a_server_at_once_come_back_spread_over_the_delay() {
        let mut actors: Vec<Backoff> = (0..1000).map(Backoff::new).collect();
        for delay in [100, 200, 400, 800, 1600, 3200, 5000] {
            let mut tenths = [0_u32; 10];
            for actor in &mut actors {
                let waited = actor.next_delay().as_secs_f64() * 1e3 / f64::from(delay);
                tenths[((waited * 10.0) as usize).min(9)] += 1;
            }
            assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{delay}: {tenths:?}");
        }
    }

    /// Whenever a server is back, nobody else tries in the same instant.
    #[test]
    fn a_server_that_comes_back_is_found_by_a_few_actors_at_a_time() {
        let back = 10_000;
        let mut milliseconds: Vec<u128> = (0..1000)
            .map(|actor| {
                let mut backoff = Backoff::new(actor);
                let mut now = 0;
                while now < back {
                    now += backoff.next_delay().as_millis();
                }
                now - back
            })
            .collect();
        milliseconds.sort_unstable();
        let in_100_ms = |start: u128| {
            let at = |&time: &u128| (start..start + 100).contains(&time);
            milliseconds.iter().filter(|&time| at(time)).count()
        };
        let most = (0..5000).step_by(100).map(in_100_ms).max();
        assert!(most <= Some(70), "{most:?} in a tenth of a second");
        assert!(*milliseconds.last().unwrap() <= 5000);
    }

    #[test]
    fn a_seed_fixes_the_delays_and_another_seed_changes_them() {
        let same = milliseconds(&mut Backoff::new(1), 5);
        assert_eq!(milliseconds(&mut Backoff::new(1), 5), same);
        assert_ne!(milliseconds(&mut Backoff::new(2), 5), same);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_takes_the_delay() {
        let start = tokio::time::Instant::now();
        let mut backoff = Backoff::between(Duration::from_secs(60), Duration::from_secs(60), 3);
        backoff.wait().await;
        let waited = start.elapsed();
        let mut same = Backoff::between(Duration::from_secs(60), Duration::from_secs(60), 3);
        assert_eq!(waited.as_secs(), same.next_delay().as_secs());
    }
}
