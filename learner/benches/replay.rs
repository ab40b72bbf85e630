//! What a replay costs: inserting trajectories, and drawing a batch of 64 sequences into rows.
//! `cargo bench -p engram-learner --bench replay`
//!
//! Samples are of two floats with T = 51 and 251, of 75 bytes (a view of 5 × 5 × 3) with T = 150,
//! and of 40 kB images in chunks of 20.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use engram_learner::replay::{
    InitialState, Replay, ReplayConfig, Sampling, Sequences, Storage, World,
};
use engram_learner::rpc::queue::Arrival;
use engram_mdp::{
    ActionSpec, Actions, Dtype, Ending, EnvSpec, Frames, ObservationSpec, Observations, Seed,
    StepType, StreamId, Trajectory,
};

const BATCH_SIZE: usize = 64;

/// A world: the type and numbers of an observation, and decisions per episode.
#[derive(Clone, Copy, Debug)]
struct Task(&'static str, Dtype, usize, usize);

const TASKS: [Task; 4] = [
    Task("two floats, 51 steps", Dtype::F32, 2, 51),
    Task("two floats, 251 steps", Dtype::F32, 2, 251),
    Task("75 bytes, 150 steps", Dtype::U8, 75, 150),
    Task("40 kB, 100 steps in chunks of 20", Dtype::U8, 40_000, 100),
];

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn main() {
    engram_service::allocator::keep_big_blocks();
    divan::main();
}

impl Task {
    fn world(self) -> World {
        let spec = EnvSpec {
            name: "bench".into(),
            observation: ObservationSpec { dtype: self.1, shape: vec![self.2] },
            action: ActionSpec::Discrete { count: 4 },
            action_repeat: 1,
        };
        World { spec, state_width: 0 }
    }

    fn config(self, sampling: Sampling) -> ReplayConfig {
        let sequences = match self.2 > 1_000 {
            true => Sequences::Chunks { length: 20, burn_in: 0 },
            false => Sequences::Episodes,
        };
        ReplayConfig {
            max_env_steps: 100_000,
            max_bytes: "400MiB".parse().expect("a size"),
            storage: Storage::Memory,
            sampling,
            sequences,
            initial_state: InitialState::Zero,
            packed: false,
        }
    }

    /// The trajectory of one episode and the First frame after it.
    fn arrival(self, sequence: u64) -> Arrival {
        let Task(_, dtype, width, decisions) = self;
        let rows = decisions + 2;
        let step = |row| match row {
            0 => StepType::First,
            row if row == decisions => StepType::Last(Ending::Terminated),
            row if row > decisions => StepType::First,
            _ => StepType::Mid,
        };
        let frames = Frames {
            observations: Observations::zeros(dtype, rows * width),
            previous_actions: Actions::Discrete(vec![0; rows]),
            previous_rewards: vec![0.0; rows],
            step_types: (0..rows).map(step).collect(),
        };
        let trajectory = Trajectory {
            stream: StreamId { actor: 0, env_index: 0 },
            sequence,
            frames,
            log_probs: vec![0.0; rows - 1],
            policy_versions: vec![0; rows - 1],
            core_state: Vec::new(),
        };
        Arrival { trajectory, generation: 1 }
    }

    /// A replay as full as it gets.
    fn full(self, sampling: Sampling) -> Replay {
        let mut replay = Replay::new(self.config(sampling), self.world(), None).expect("a replay");
        let mut arrival = self.arrival(0);
        while replay.totals().forgotten_episodes == 0 {
            replay.insert(&arrival).expect("it fits");
            arrival.trajectory.sequence += 1;
        }
        replay
    }

    /// Bytes of a frame's columns.
    fn row(self) -> usize {
        self.2 * self.1.size() + 13
    }
}

/// A trajectory of one whole episode into a full replay. Items are env steps.
#[divan::bench(args = TASKS)]
fn insert(bencher: Bencher<'_, '_>, task: Task) {
    let mut replay = task.full(Sampling::Uniform);
    let mut arrival = task.arrival(1_000_000);
    bencher
        .counter(ItemsCount::new(task.3))
        .counter(BytesCount::new((task.3 + 1) * task.row()))
        .bench_local(|| {
            arrival.trajectory.sequence += 1;
            replay.insert(&arrival).expect("it fits")
        });
}

fn draw(bencher: Bencher<'_, '_>, task: Task, sampling: Sampling) {
    let replay = task.full(sampling);
    let mut generator = Seed::new(1).generator();
    let sample = replay.sample(BATCH_SIZE, &mut generator).expect("a sample");
    let frames = (sample.unroll_length() + 1) * BATCH_SIZE;
    bencher
        .counter(ItemsCount::new(BATCH_SIZE))
        .counter(BytesCount::new(frames * task.row()))
        .bench_local(|| replay.sample(BATCH_SIZE, &mut generator).expect("a sample"));
}

/// 64 sequences, uniform. Items are sequences.
#[divan::bench(args = TASKS)]
fn sample(bencher: Bencher<'_, '_>, task: Task) {
    draw(bencher, task, Sampling::Uniform);
}

/// 64 sequences by priority. Items are sequences.
#[divan::bench(args = TASKS)]
fn sample_prioritized(bencher: Bencher<'_, '_>, task: Task) {
    draw(bencher, task, Sampling::Prioritized { exponent: 0.9, importance: 0.6 });
}

/// Priorities of 64 sequences.
#[divan::bench]
fn update_priorities(bencher: Bencher<'_, '_>) {
    let task = TASKS[0];
    let mut replay = task.full(Sampling::Prioritized { exponent: 0.9, importance: 0.6 });
    let sample = replay.sample(BATCH_SIZE, &mut Seed::new(1).generator()).expect("a sample");
    let errors = vec![0.5; sample.unroll_length() * BATCH_SIZE];
    bencher.counter(ItemsCount::new(BATCH_SIZE)).bench_local(|| {
        let priorities = sample.priorities(&errors, 0.9);
        replay.update_priorities(&priorities)
    });
}
