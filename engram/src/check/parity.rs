//! Parity: what the device computes and learns, beside what the CPU does.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use engram_learner::parity::{PLAIN_STEPS, Pair, meet};
use engram_mdp::ActionSpec;
use engram_policy::parity::{compute, largest_error};
use engram_policy::{Gradient, MemoryConfig, PolicyConfig, TorsoConfig};
use engram_service::config::{names, part};
use tch::{Device, Kind};

use super::report::Section;
use super::scope::{Check, Extent, guarded};

/// Largest error in double precision.
const DOUBLE: f64 = 1e-9;
/// Cells of the layers that stand for their kind.
const CELLS: i64 = 6;
/// Sequence models that a quick check meets with every algorithm.
const QUICK: [&str; 3] = ["lstm-small", "elstm-small-rtrl", "nature-cnn"];
/// Actions that policies choose from.
const ACTIONS: [ActionSpec; 2] =
    [ActionSpec::Discrete { count: 4 }, ActionSpec::Continuous { dimensions: 2 }];

/// Outputs and gradients of every sequence model and of every kind of layer, in double precision.
pub(super) fn layers(check: &Check<'_>) -> Result<Section> {
    let models = models(check)?;
    let mut section = Section {
        text: format!(
            "Outputs, gradients, sensitivities and states of two unrolls and a step; relative \
             errors. The tolerance is {DOUBLE:e} in double precision; in single precision none is \
             stated, but numbers must be finite."
        ),
        header: vec!["sequence model", "double", "of", "single", "of"],
        ..Section::default()
    };
    for (name, model) in &models {
        if check.shutdown.is_triggered() {
            break;
        }
        let mut row = vec![name.clone()];
        for (kind, tolerance) in [(Kind::Double, DOUBLE), (Kind::Float, f64::INFINITY)] {
            match guarded(|| worst(model, kind, check.device)) {
                Ok((of, error)) => {
                    if error >= tolerance {
                        let failure = format!("{name}, {kind:?}, {of}: off by {error:.1e}");
                        section.failures.push(failure);
                    }
                    row.extend([format!("{error:.1e}"), of]);
                }
                Err(error) => {
                    section.failures.push(format!("{name}, {kind:?}: {error:#}"));
                    row.extend(["failed".into(), "–".into()]);
                }
            }
        }
        section.rows.push(row);
    }
    if models.is_empty() {
        bail!("{} has no sequence models", check.configs.display());
    }
    Ok(section)
}

/// The tensor with the largest error, whatever the actions are, and this error.
fn worst(model: &PolicyConfig, kind: Kind, device: Device) -> Result<(String, f64)> {
    let mut worst = (String::new(), 0.0);
    for action in ACTIONS {
        let compute = |device| compute(model, action, kind, device);
        let (name, error) = largest_error(&compute(Device::Cpu)?, &compute(device)?);
        if error >= worst.1 {
            worst = (name, error);
        }
    }
    Ok(worst)
}

/// Every file of `configs/seq`, and every kind of layer in it by itself, with exact gradients where
/// it has them; of a quick check small ones of every kind.
fn models(check: &Check<'_>) -> Result<Vec<(String, PolicyConfig)>> {
    let mut models = BTreeMap::new();
    let mut layers: Vec<MemoryConfig> = Vec::new();
    for name in names(check.configs, "seq")? {
        let model: PolicyConfig = part(check.configs, "seq", &name, &[])?.1;
        let inside = match &model.memory {
            MemoryConfig::Stack(stack) => stack.layers.clone(),
            _ => vec![],
        };
        for memory in inside.iter().chain([&model.memory]).flat_map(|kind| kind.examples(CELLS)) {
            let exact = memory.with_gradient(Gradient::Rtrl);
            for layer in [Some(memory), exact].into_iter().flatten() {
                if !layers.contains(&layer) {
                    layers.push(layer);
                }
            }
        }
        models.insert(name, model);
    }
    let Some(plain) = models.values().find(|model| matches!(model.torso, TorsoConfig::Mlp { .. }))
    else {
        return Ok(models.into_iter().collect());
    };
    let (plain, mut numbers) = (plain.clone(), BTreeMap::new());
    if check.extent == Extent::Quick {
        models.retain(|name, _| QUICK.contains(&name.as_str()));
    }
    let alone = layers.into_iter().map(|memory| {
        let table = toml::Table::try_from(&memory).unwrap_or_default();
        let kind = table.get("name").and_then(toml::Value::as_str).unwrap_or("layer").to_owned();
        let number = numbers.entry(kind.clone()).or_insert(0);
        *number += 1;
        (format!("{kind} alone, {number}"), PolicyConfig { memory, ..plain.clone() })
    });
    let alone: Vec<_> = alone.collect();
    Ok(models.into_iter().chain(alone).collect())
}

/// Comparisons of one algorithm.
#[derive(Default)]
struct Compared {
    pairs: usize,
    refused: usize,
    /// The largest error as a share of its tolerance, this error, and its pair.
    worst: (f64, f64, String),
}

/// Two updates of every sequence model by every algorithm, in single precision.
pub(super) fn algorithms(check: &Check<'_>) -> Result<Section> {
    let mut section = Section {
        text: "Two updates in single precision: losses and norms that they tell, and how far the \
               weights move; relative errors, the larger one of both. Tolerance 1e-3, and 2e-2 with \
               images, for recurrent layers and convolutions of cuDNN compute in TF32 unless \
               `NVIDIA_TF32_OVERRIDE=0`. Refused are pairs that do not go together."
            .into(),
        header: vec!["algorithm", "sequence models", "refused", "largest error", "tolerance", "of"],
        ..Section::default()
    };
    let (models, algorithms) = (names(check.configs, "seq")?, names(check.configs, "rl")?);
    for rl in &algorithms {
        let mut compared = Compared::default();
        let chosen = |seq: &&String| {
            let quick = check.extent == Extent::Quick;
            meet(seq, rl) && (!quick || QUICK.contains(&seq.as_str()))
        };
        let mut tolerance = 0.0;
        for seq in models.iter().filter(chosen) {
            if check.shutdown.is_triggered() {
                return Ok(section);
            }
            let name = format!("{seq} with {rl}");
            let pair = pair(check, name.clone(), seq, rl)?;
            if pair.refusal().is_some() {
                compared.refused += 1;
                continue;
            }
            compared.pairs += 1;
            let error = guarded(|| {
                let (here, there) = (pair.learn(0, Device::Cpu)?, pair.learn(0, check.device)?);
                Ok(here.difference(&there).largest())
            });
            match error {
                Ok(error) => {
                    let share = error / pair.tolerance();
                    if share >= 1.0 {
                        section.failures.push(format!("{name}: off by {error:.1e}"));
                    }
                    if share >= compared.worst.0 {
                        tolerance = pair.tolerance();
                        compared.worst = (share, error, seq.clone());
                    }
                }
                Err(error) => section.failures.push(format!("{name}: {error:#}")),
            }
        }
        let Compared { pairs, refused, worst: (_, error, of) } = compared;
        section.rows.push(vec![
            rl.clone(),
            pairs.to_string(),
            refused.to_string(),
            format!("{error:.1e}"),
            format!("{tolerance:e}"),
            of,
        ]);
    }
    Ok(section)
}

fn pair(check: &Check<'_>, name: String, seq: &str, rl: &str) -> Result<Pair> {
    let set = PLAIN_STEPS.map(String::from);
    Ok(Pair::new(name, check.resolve("main", [None, Some(rl), Some(seq)], &set)?)?)
}
