//! What carrying costs beside an update: an eLSTM of 256 cells on a torso of 64, by real-time
//! recurrent learning, 32 streams of 64 in turn. `cargo bench -p engram-learner --bench carried`

#[path = "../tests/support/mod.rs"]
mod support;

use divan::counter::BytesCount;
use engram_learner::algorithms::Algorithm;
use engram_learner::batches::batcher::Row;
use engram_learner::batches::carry_table::Carried;
use engram_learner::config::flags::ByteSize;
use engram_mdp::{Ending, Seed, StreamId};
use engram_policy::{Gradient, MemoryConfig, Policy};
use support::{Actor, Task};
use tch::Kind;

const TASK: Task = Task { choices: 4, question: 31, ending: Ending::Terminated };

const BATCH_SIZE: usize = 32;

fn main() {
    engram_service::allocator::keep_big_blocks();
    divan::main();
}

fn policy() -> Policy {
    tch::set_num_threads(1);
    let memory = MemoryConfig::Elstm { hidden: 256, gradient: Gradient::Rtrl, forget_bias: 1.0 };
    support::policy(Kind::Float, &support::network(64, memory), TASK, 1)
}

fn carried(policy: &Policy) -> Carried {
    Carried::new(policy, ByteSize::STREAM_MEMORY, BATCH_SIZE).expect("enough memory")
}

/// One half of the streams, then the other.
fn rows(update: u64) -> Vec<Row> {
    let first = (update % 2) as u32 * BATCH_SIZE as u32;
    let row = |env_index| Row {
        stream: StreamId { actor: 0, env_index },
        generation: 1,
        sequence: update / 2,
        policy_version: 0,
    };
    (first..first + BATCH_SIZE as u32).map(row).collect()
}

/// The update alone.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn update(bencher: divan::Bencher<'_, '_>) {
    let policy = policy();
    let batch = Actor::new(TASK, BATCH_SIZE, 20, &policy, 1).batch(&policy);
    let mut algorithm = Algorithm::new(&support::vtrace(|_| ()), &policy, Seed::new(1));
    bencher
        .with_inputs(|| policy.initial_carry(BATCH_SIZE as i64))
        .bench_local_values(|carry| algorithm.update(&policy, &batch, carry, 0.0).expect("finite"));
}

/// What is done around it for its streams.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn take_and_put(bencher: divan::Bencher<'_, '_>) {
    let policy = policy();
    let (mut carried, mut updates) = (carried(&policy), 0);
    bencher.bench_local(|| {
        let rows = rows(updates);
        let carry = carried.take(&rows);
        carried.put(&rows, &carry);
        updates += 1;
    });
}

/// What a checkpoint adds.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn save(bencher: divan::Bencher<'_, '_>) {
    let policy = policy();
    let mut carried = carried(&policy);
    for update in 0..2 {
        let rows = rows(update);
        let carry = carried.take(&rows);
        carried.put(&rows, &carry);
    }
    let bytes = carried.save().1.len();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| carried.save());
}
