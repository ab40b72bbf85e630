//! What an update costs: T=20, MLP 64 and LSTM 128 on recall (4 choices), by batch size and by
//! libtorch's threads. `cargo bench -p engram-learner --bench update`

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use divan::counter::ItemsCount;
use engram_learner::algorithms::{Algorithm, Phases};
use engram_mdp::{Ending, Seed};
use engram_policy::MemoryConfig;
use support::{Actor, Task};
use tch::Kind;

const TASK: Task = Task { choices: 4, question: 31, ending: Ending::Terminated };

const UNROLL_LENGTH: usize = 20;

fn main() {
    engram_service::allocator::keep_big_blocks();
    divan::main();
}

/// Time per update; the items are env steps.
#[divan::bench(
    args = [(1, 32), (1, 64), (1, 128), (2, 32), (2, 64), (2, 128)],
    sample_count = 40,
    sample_size = 1,
)]
fn update(bencher: divan::Bencher<'_, '_>, (threads, batch_size): (i32, usize)) {
    tch::set_num_threads(threads);
    let network =
        support::network(64, MemoryConfig::Lstm { hidden: 128, layers: 1, forget_bias: 0.0 });
    let policy = support::policy(Kind::Float, &network, TASK, 1);
    let mut actor = Actor::new(TASK, batch_size, UNROLL_LENGTH, &policy, 1);
    let batch = actor.batch(&policy);
    let mut algorithm = Algorithm::new(&support::vtrace(|_| ()), &policy, Seed::new(1));
    let mut phases = Vec::new();
    bencher.counter(ItemsCount::new(UNROLL_LENGTH * batch_size)).bench_local(|| {
        let nothing = policy.initial_carry(batch.batch());
        let updated = algorithm.update(&policy, &batch, nothing, 0.0);
        let (stats, _) = updated.expect("a finite update");
        phases.push(stats.phases);
    });
    show(&phases);
}

/// The mean of each phase, on a line of its own.
#[allow(clippy::print_stderr, reason = "a bench talks to people")]
fn show(phases: &[Phases]) {
    let mean = |phase: fn(&Phases) -> Duration| {
        phases.iter().map(phase).sum::<Duration>() / (phases.len().max(1) as u32)
    };
    eprintln!(
        "forward {:?}, backward {:?}, optimizer {:?}",
        mean(|p| p.forward),
        mean(|p| p.backward),
        mean(|p| p.optimizer),
    );
}
