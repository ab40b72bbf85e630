//! Waiting between attempts: longer each time, and never in step with others.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// Delays that double from `first` to `longest`, each shortened at random by up to a half, so
/// that a hundred actors do not return to a restarted learner in the same instant.
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
        delay.mul_f64(self.generator.random_range(0.5..=1.0))
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
    fn delays_double_up_to_the_longest_within_half_of_jitter() {
        let mut backoff = Backoff::new(7);
        let full = [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000];
        for (delay, full) in milliseconds(&mut backoff, full.len()).into_iter().zip(full) {
            assert!((full / 2..=full).contains(&delay), "{delay} of {full}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
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
        assert!((30..=60).contains(&start.elapsed().as_secs()));
    }
}
