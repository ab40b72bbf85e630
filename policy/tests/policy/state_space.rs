//! The GRU and Mamba: numbers of other programs, where parameters start, and long unrolls.

use engram_mdp::Seed;
use engram_policy::memory::gru::GruConfig;
use engram_policy::memory::input_layer::InputLayer;
use engram_policy::memory::mamba::MambaConfig;
use engram_policy::{Initialization, MemoryConfig, Norm};
use tch::{Kind, Tensor};

use super::goldens::check;
use super::memories::{states_differ, walk};
use super::{CONTINUOUS, DISCRETE, difference, frames, numbers, policy, some_state};

const GOLDENS: &str = include_str!("../goldens/state_space.json");

fn mamba(
    [width, state, conv, blocks]: [i64; 4],
    selection_scale: f64,
    norm: Norm,
    feed_forward: bool,
) -> MemoryConfig {
    MemoryConfig::Mamba(MambaConfig {
        input: InputLayer::Linear,
        width,
        state,
        conv,
        blocks,
        selection_scale,
        norm,
        feed_forward,
        export_state: false,
    })
}

#[test]
fn the_gru_computes_its_equations() {
    check(
        GOLDENS,
        "gru",
        MemoryConfig::Gru(GruConfig {
            hidden: 4,
            layers: 1,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
        }),
    );
    check(
        GOLDENS,
        "gru_2",
        MemoryConfig::Gru(GruConfig {
            hidden: 4,
            layers: 2,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
        }),
    );
}

#[test]
fn mamba_computes_its_equations() {
    for (name, norm, state, conv, blocks, feed_forward) in [
        ("mamba_rms", Norm::Rms, 3, 3, 2, false),
        ("mamba_layer", Norm::Layer, 3, 3, 2, false),
        ("mamba_rms_feed_forward", Norm::Rms, 2, 4, 1, true),
        ("mamba_layer_feed_forward", Norm::Layer, 1, 1, 1, true),
    ] {
        let memory = mamba([4, state, conv, blocks], 1.0, norm, feed_forward);
        check(GOLDENS, name, memory);
    }
}

#[test]
fn the_mamba_of_resel_has_as_many_parameters_as_theirs() {
    let [width, state, conv, blocks] = [256, 64, 8, 1];
    let (norm, feed_forward) = (Norm::Rms, true);
    let memory = mamba([width, state, conv, blocks], 1.0, norm, feed_forward);
    let named = policy(Kind::Float, memory, DISCRETE).trainable();
    let theirs = named
        .iter()
        .filter(|(name, _)| name.starts_with("memory.") && !name.starts_with("memory.input."));
    let (d, n, k, rank) = (256, 64, 8, 256 / 16);
    let mixer = 4 * d * d + 2 * d * (k + 1) + (rank + 2 * n) * 2 * d + 2 * d * (rank + 1);
    let mixer = mixer + 2 * d * n + 2 * d + 2 * d * d;
    let expected = d + mixer + 2 * (d * d + d) + 2 * d;
    assert_eq!(expected, 645_888);
    assert_eq!(theirs.map(|(_, tensor)| tensor.numel()).sum::<usize>(), expected);
}

#[test]
fn mambas_parameters_start_where_its_authors_start_them() {
    let [width, state, conv, blocks] = [64, 5, 4, 4];
    let (norm, feed_forward) = (Norm::Rms, false);
    let memory = mamba([width, state, conv, blocks], 1.0, norm, feed_forward);
    let named = policy(Kind::Float, memory, DISCRETE).trainable();
    let tensor = |name: &str| {
        let (_, tensor) = named.iter().find(|(n, _)| n == name).unwrap();
        tensor.detach().to_kind(Kind::Double)
    };
    let largest = |name: &str| tensor(name).abs().max().double_value(&[]);
    for block in ["memory.0", "memory.3"] {
        let part = |part: &str| format!("{block}.{part}");
        let decay = tensor(&part("log_decay")).exp();
        let expected = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0]).unsqueeze(1);
        assert!(difference(&decay, &expected.expand([5, 128], false)) < 1e-6);
        assert_eq!(difference(&tensor(&part("skip")), &expected.get(0).expand([128], false)), 0.0);
        // Δ where nothing is selected: uniform in its logarithm.
        let logs = tensor(&part("delta.bias")).softplus().log();
        let (low, high) = (0.001f64.ln(), 0.1f64.ln());
        assert!(logs.min().double_value(&[]) > low - 1e-3);
        assert!(logs.max().double_value(&[]) < high + 1e-3);
        let middle = logs.mean(Kind::Double).double_value(&[]);
        assert!((middle - (low + high) / 2.0).abs() < 0.4, "{middle}");
        // 4 inputs of Δ, 128 channels, 4 blocks.
        for (name, bound) in [
            ("delta.weight", 0.5),
            ("input.weight", 1.0 / 8.0),
            ("select.weight", 1.0 / 128f64.sqrt()),
            ("output.weight", 1.0 / 128f64.sqrt() / 2.0),
        ] {
            let found = largest(&part(name));
            assert!(found <= bound * (1.0 + 1e-6) && found > 0.98 * bound, "{name}: {found}");
        }
    }
}

#[test]
fn mambas_selection_starts_as_many_times_larger_as_asked_for() {
    let [plain, scaled] = [1.0, 4.0].map(|scale| {
        let memory = mamba([64, 5, 4, 2], scale, Norm::Rms, false);
        policy(Kind::Float, memory, DISCRETE).trainable()
    });
    for ((name, plain), (_, scaled)) in plain.iter().zip(&scaled) {
        let expected = plain.detach().copy();
        if name.ends_with("select.weight") {
            // Four rows of δ stay as they are; five of B and five of C follow.
            let _ = expected.narrow(0, 4, 10).g_mul_scalar_(4.0);
        }
        assert_eq!(scaled.detach(), expected, "{name}");
    }
}

#[test]
fn a_long_unroll_passes_its_state_from_chunk_to_chunk() {
    // A moment's state of 256 KB: chunks of 4 moments.
    let [width, state, conv, blocks] = [32, 32, 4, 1];
    let (norm, feed_forward) = (Norm::Rms, false);
    let memory = mamba([width, state, conv, blocks], 1.0, norm, feed_forward);
    let policy = policy(Kind::Double, memory, CONTINUOUS);
    let inputs = frames(&mut Seed::new(5).generator(), 11, 16, CONTINUOUS);
    let state = some_state(&policy, 16, Seed::new(6));
    let (stepped, after_steps) = walk(&policy, &inputs, &state);
    let (unrolled, after_unroll) = policy.unroll(&inputs, &state);
    assert!(difference(&stepped, &numbers(&unrolled)) < 1e-12);
    assert!(states_differ(&after_steps, &after_unroll) < 1e-12);
}

#[test]
fn mambas_norms_bear_a_stream_of_zeros() {
    for norm in [Norm::Rms, Norm::Layer] {
        let [width, state, conv, blocks] = [8, 2, 2, 2];
        let feed_forward = norm == Norm::Rms;
        let memory = mamba([width, state, conv, blocks], 1.0, norm, feed_forward);
        let policy = policy(Kind::Float, memory, DISCRETE);
        let named = policy.trainable();
        let tensors: Vec<&Tensor> = named.iter().map(|(_, tensor)| tensor).collect();
        tch::no_grad(|| {
            for (_, tensor) in named.iter().filter(|(name, _)| name.starts_with("memory.input.")) {
                let _ = tensor.shallow_clone().zero_();
            }
        });
        let inputs = frames(&mut Seed::new(5).generator(), 6, 3, DISCRETE);
        let (output, _) = policy.unroll(&inputs, &policy.initial_state(3));
        let loss = numbers(&output).square().sum(Kind::Float);
        let gradients = Tensor::run_backward(&[loss], &tensors, false, false);
        for (gradient, (name, _)) in gradients.iter().zip(&named) {
            assert!(gradient.isfinite().all().int64_value(&[]) == 1, "{name}");
        }
    }
}
