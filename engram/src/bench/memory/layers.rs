//! Every layer: a long unroll beside as many steps, an update beside one that goes step by step,
//! and one step of acting.

use anyhow::Result;
use engram_policy::memory::candidate::Candidate;
use engram_policy::memory::cgpt::CgptConfig;
use engram_policy::memory::conv1d::Conv1dConfig;
use engram_policy::memory::elstm::ElstmConfig;
use engram_policy::memory::frame_stack::FrameStackConfig;
use engram_policy::memory::gilr::GilrConfig;
use engram_policy::memory::gilr_lstm::GilrLstmConfig;
use engram_policy::memory::gpt2::Gpt2Config;
use engram_policy::memory::gru::GruConfig;
use engram_policy::memory::indrnn::IndrnnConfig;
use engram_policy::memory::input_layer::InputLayer;
use engram_policy::memory::lru::LruConfig;
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::memory::mamba::MambaConfig;
use engram_policy::memory::mingru::MingruConfig;
use engram_policy::memory::minlstm::MinlstmConfig;
use engram_policy::memory::positional_mlp::PositionalMlpConfig;
use engram_policy::{
    Activation, Batched, Gradient, Initialization, MemoryConfig, Norm, Positions, UnrollContext,
};
use tch::{Device, no_grad};

use super::workload::Workload;
use crate::bench::timing::{medians, wait_for};

const WIDTH: i64 = 64;
const LONG: i64 = 1000;
/// T and B of an update.
pub(crate) const UPDATE: [i64; 2] = [32, 64];

#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(device: Device, seconds: f64) -> Result<()> {
    let [time, batch] = UPDATE;
    println!("\nLayers of about {WIDTH} numbers in and 128 out (attention and Mamba: 64); ms\n");
    println!(
        "{:<15}{:>11}{:>9}{:>9}{:>8}{:>11}{:>10}{:>8}{:>22}",
        "", "", "unroll of", "1000", "", "an update,", "T=32 B=64", "", "a step, B = 1, 32, 256"
    );
    println!(
        "{:<15}{:>11}{:>9}{:>9}{:>8}{:>11}{:>10}{:>8}{:>22}",
        "layer", "parameters", "steps", "unroll", "ratio", "by steps", "unroll", "ratio", "µs"
    );
    for (name, memory) in layers() {
        let workload = Workload::new(memory, WIDTH, device)?;
        let [stepped, unrolled] = long(&workload, seconds);
        let [by_steps, by_unroll] = update(&workload, seconds, time, batch);
        let acting: Vec<String> = [1, 32, 256]
            .map(|batch| format!("{:.0}", 1e6 * acting(&workload, seconds, batch)))
            .into_iter()
            .collect();
        println!(
            "{name:<15}{:>11}{:>9.1}{:>9.1}{:>8.1}{:>11.1}{:>10.1}{:>8.1}{:>22}",
            workload.policy.parameter_count(),
            1e3 * stepped,
            1e3 * unrolled,
            stepped / unrolled,
            1e3 * by_steps,
            1e3 * by_unroll,
            by_steps / by_unroll,
            acting.join("  "),
        );
    }
    println!(
        "\nunroll of 1000: B = 4, without gradients. An update: forward and backward pass; by \
         steps means\nunrolls of one frame each. Every row begins one episode on its way."
    );
    Ok(())
}

/// Times of one layer.
pub(crate) struct LayerTimes {
    pub(crate) name: &'static str,
    pub(crate) parameters: usize,
    /// One step of acting for [`ACTING`] environments, in seconds.
    pub(crate) acting: f64,
    /// One update, in seconds.
    pub(crate) update: f64,
}

/// Environments that act at once in [`LayerTimes`].
pub(crate) const ACTING: i64 = 256;

/// Times of the first `count` layers: a step, and an update by an unroll of [`UPDATE`] frames.
pub(crate) fn measure(count: usize, device: Device, seconds: f64) -> Result<Vec<LayerTimes>> {
    let times = layers().into_iter().take(count).map(|(name, memory)| {
        let workload = Workload::new(memory, WIDTH, device)?;
        let [time, batch] = UPDATE;
        let (frames, initial) =
            (workload.frames(time, batch), workload.policy.initial_state(batch));
        let mut unroll = || {
            let (output, _) = workload.policy.unroll(&frames, &initial);
            wait_for(&workload.gradient(&[output], UnrollContext::none()).0[0]);
        };
        let [update] = medians(seconds, [&mut unroll]);
        let parameters = workload.policy.parameter_count();
        Ok(LayerTimes { name, parameters, acting: acting(&workload, seconds, ACTING), update })
    });
    times.collect()
}

/// One of every layer.
fn layers() -> Vec<(&'static str, MemoryConfig)> {
    let mut layers = recurrent();
    layers.extend(others());
    layers
}

/// Cells.
fn recurrent() -> Vec<(&'static str, MemoryConfig)> {
    let hidden = 128;
    let (gradient, forget_bias, feed_forward) = (Gradient::Tbptt, 2.0, false);
    let (candidate, init) = (Candidate::Linear, Initialization::FAN_IN);
    vec![
        (
            "lstm",
            MemoryConfig::Lstm(LstmConfig { hidden, layers: 1, forget_bias, init, bf16: false }),
        ),
        ("gru", MemoryConfig::Gru(GruConfig { hidden, layers: 1, forget_bias, init })),
        ("elstm", MemoryConfig::Elstm(ElstmConfig { hidden, gradient, forget_bias })),
        (
            "lru",
            MemoryConfig::Lru(LruConfig { hidden, radius: [0.9, 0.999], feed_forward, gradient }),
        ),
        ("gilr", MemoryConfig::Gilr(GilrConfig { hidden, forget_bias, feed_forward, gradient })),
        (
            "mingru",
            MemoryConfig::Mingru(MingruConfig {
                hidden,
                candidate,
                forget_bias,
                feed_forward,
                gradient,
            }),
        ),
        (
            "minlstm",
            MemoryConfig::Minlstm(MinlstmConfig {
                hidden,
                candidate,
                forget_bias,
                feed_forward,
                gradient,
            }),
        ),
        (
            "indrnn",
            MemoryConfig::Indrnn(IndrnnConfig {
                hidden,
                activation: Activation::Relu,
                horizon: 1000,
                gradient,
            }),
        ),
        ("gilr_lstm", MemoryConfig::GilrLstm(GilrLstmConfig { hidden, forget_bias, feed_forward })),
    ]
}

/// State-space blocks, attention, convolutions, and what stands in for a memory.
fn others() -> Vec<(&'static str, MemoryConfig)> {
    let (hidden, feed_forward, init) = (128, false, Initialization::FAN_IN);
    let (width, heads, blocks, context_length) = (64, 4, 1, 64);
    vec![
        (
            "mamba",
            MemoryConfig::Mamba(MambaConfig {
                input: InputLayer::Linear,
                width,
                state: 16,
                conv: 4,
                blocks,
                selection_scale: 1.0,
                norm: Norm::Rms,
                feed_forward,
                export_state: false,
            }),
        ),
        (
            "cgpt",
            MemoryConfig::Cgpt(CgptConfig {
                input: InputLayer::Linear,
                width,
                heads,
                blocks,
                context_length,
                norm: Norm::Layer,
                bf16: false,
                export_state: false,
            }),
        ),
        (
            "gpt2",
            MemoryConfig::Gpt2(Gpt2Config {
                input: InputLayer::Linear,
                width,
                heads,
                blocks,
                context_length,
                positions: Positions::Sine,
                dropout: 0.0,
                export_state: false,
            }),
        ),
        ("conv1d", MemoryConfig::Conv1d(Conv1dConfig { hidden, kernel: 4, feed_forward })),
        ("frame_stack", MemoryConfig::FrameStack(FrameStackConfig { frames: 4 })),
        (
            "positional_mlp",
            MemoryConfig::PositionalMlp(PositionalMlpConfig {
                hidden: vec![hidden],
                activation: Activation::Relu,
                init,
            }),
        ),
    ]
}

/// A thousand steps, and an unroll of a thousand.
fn long(workload: &Workload, seconds: f64) -> [f64; 2] {
    let batch = 4;
    let (frames, moment) = (workload.frames(LONG, batch), workload.moment(batch));
    let initial = workload.policy.initial_state(batch);
    let mut steps = || {
        let mut state = initial.shallow_clone();
        for _ in 0..LONG {
            let (output, next) = workload.policy.step(&moment, &state);
            state = next;
            wait_for(output.value());
        }
    };
    let mut unroll = || no_grad(|| wait_for(workload.policy.unroll(&frames, &initial).0.value()));
    medians(seconds, [&mut steps, &mut unroll])
}

/// Gradients through unrolls of one frame each, and through one unroll.
fn update(workload: &Workload, seconds: f64, time: i64, batch: i64) -> [f64; 2] {
    let (frames, moment) = (workload.frames(time, batch), workload.frames(1, batch));
    let initial = workload.policy.initial_state(batch);
    let mut steps = || {
        let mut state = initial.shallow_clone();
        let outputs: Vec<_> = (0..time)
            .map(|_| {
                let (output, next) = workload.policy.unroll(&moment, &state);
                state = next;
                output
            })
            .collect();
        wait_for(&workload.gradient(&outputs, UnrollContext::none()).0[0]);
    };
    let mut unroll = || {
        let (output, _) = workload.policy.unroll(&frames, &initial);
        wait_for(&workload.gradient(&[output], UnrollContext::none()).0[0]);
    };
    medians(seconds, [&mut steps, &mut unroll])
}

fn acting(workload: &Workload, seconds: f64, batch: i64) -> f64 {
    let (moment, state) = (workload.moment(batch), workload.policy.initial_state(batch));
    let mut step = || wait_for(workload.policy.step(&moment, &state).0.value());
    medians(seconds / 10.0, [&mut step])[0]
}
