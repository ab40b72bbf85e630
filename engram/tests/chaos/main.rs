//! Chaos: real programs, and faults of all kinds in an order that a seed says. In the end
//! everything is well again: all are there, the run goes on, and its books balance.
//!
//! ```text
//! ENGRAM_CHAOS_SEEDS=50 cargo test --test chaos      seeds 0 to 49
//! ENGRAM_CHAOS_SEED=17 cargo test --test chaos       that one, as a failure says
//! ```

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod fleet;
mod full_disk;
mod proxy;

use engram_mdp::Seed;
use faults::schedule;
use fleet::Fleet;

/// Seeds of a usual run.
const SEEDS: u64 = 5;

/// Faults of each.
const EVENTS: usize = 8;

/// Says how a failure is repeated.
struct Repeat(u64);

impl Drop for Repeat {
    #[allow(clippy::print_stderr, reason = "a failed test says how to repeat it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("repeat with: ENGRAM_CHAOS_SEED={seed} cargo test --workspace --test chaos");
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[test]
#[allow(clippy::print_stderr, reason = "a failed test shows what went before")]
fn whatever_happens_a_fleet_goes_on_and_its_books_balance() {
    let seeds = match number("ENGRAM_CHAOS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ENGRAM_CHAOS_SEEDS").unwrap_or(SEEDS),
    };
    for number in seeds {
        let _repeat = Repeat(number);
        let seed = Seed::new(number);
        let began = std::time::Instant::now();
        let mut fleet = Fleet::start(seed);
        fleet.learns();
        for event in schedule(seed, EVENTS) {
            eprintln!("seed {number}, {:.1?}: {event:?}", began.elapsed());
            fleet.suffer(event);
        }
        eprintln!("seed {number}, {:.1?}: calm", began.elapsed());
        fleet.recover();
        fleet.close();
        eprintln!("seed {number}, {:.1?}: closed", began.elapsed());
    }
}
