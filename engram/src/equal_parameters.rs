//! Equal parameters: networks of different layers, as large as one number says.
//!
//! `seq.parameters = N` stands for the width of the memory with which the whole acting network comes
//! as near to N parameters as it can. It is replaced by that width before anything else reads the
//! experiment, so that what is run, kept and resumed says the width. Only who knows the environment
//! can do this: the command line.

use anyhow::{Context, Result, bail};
use engram_envs::EnvConfig;
use engram_learner::RlConfig;
use engram_mdp::Seed;
use engram_policy::config::MAX_WIDTH;
use engram_policy::{Policy, PolicyConfig};
use engram_service::config::Resolved;
use tch::{Device, Kind};
use toml::{Table, Value};

/// Names that layers have for their width.
const WIDTHS: [&str; 2] = ["hidden", "width"];

/// The experiment with a width in the place of `seq.parameters`; as it is if that is not given.
pub(crate) fn fitted(mut resolved: Resolved) -> Result<Resolved> {
    let Some(wanted) = resolved.table_mut("seq").remove("parameters") else { return Ok(resolved) };
    let wanted = match wanted {
        Value::Integer(wanted @ 1..) => wanted as usize,
        other => bail!("seq.parameters is {other}; say how many, as in 100000"),
    };
    let env = EnvConfig::from_table(resolved.table("env").clone()).context("in [env]")?;
    if env.is_served() {
        bail!(
            "seq.parameters is {wanted}, but only the environment's server knows what goes into the \
             network: set the width of seq.memory"
        );
    }
    let rl: RlConfig = resolved.section("rl")?;
    let (spec, outputs) = (env.spec(), rl.algorithm().outputs());
    let with_width = |width: i64| {
        let mut resolved = resolved.clone();
        widths(resolved.table_mut("seq")).for_each(|at| *at = width.into());
        resolved
    };
    let parameters = |width: i64| -> Result<usize> {
        let model: PolicyConfig = with_width(width).section("seq")?;
        let (kind, seed, device) = (Kind::Float, Seed::new(0), Device::Cpu);
        let policy = Policy::with_outputs(&outputs, kind, &model, &spec, seed, device);
        Ok(policy.context("in [seq]")?.parameter_count())
    };
    let mut model = resolved.table("seq").clone();
    if widths(&mut model).next().is_none() {
        let name = &resolved.parts().seq;
        bail!("seq.parameters is {wanted}, but the memory of `{name}` has no width to be fitted");
    }
    let step = layers(&mut model).map(|layer| step(layer)).max().unwrap_or(1);
    let (width, found) = nearest(wanted, step, parameters)?;
    tracing::info!(wanted, parameters = found, "the memory is {width} wide");
    Ok(with_width(width))
}

/// The multiple of `step` with which there are nearest to `wanted` parameters, and their number,
/// which grows with the width.
fn nearest(
    wanted: usize,
    step: i64,
    parameters: impl Fn(i64) -> Result<usize>,
) -> Result<(i64, usize)> {
    let at = |steps: i64| Ok::<_, anyhow::Error>((steps * step, parameters(steps * step)?));
    let mut below = at(1)?;
    if below.1 > wanted {
        bail!(
            "seq.parameters is {wanted}: with the least width, {}, there are {} already",
            below.0,
            below.1
        );
    }
    let mut above = at(2)?;
    while above.1 < wanted {
        if above.0 * 2 > MAX_WIDTH {
            bail!("seq.parameters is {wanted}: with a width of {} there are {}", above.0, above.1);
        }
        (below, above) = (above, at(above.0 / step * 2)?);
    }
    while above.0 - below.0 > step {
        let middle = at((below.0 + above.0) / step / 2)?;
        match middle.1 <= wanted {
            true => below = middle,
            false => above = middle,
        }
    }
    Ok(if wanted - below.1 <= above.1.abs_diff(wanted) { below } else { above })
}

/// Layers of the memory.
fn layers(model: &mut Table) -> impl Iterator<Item = &mut Table> {
    let memory = model.get_mut("memory").and_then(Value::as_table_mut);
    let (stacked, alone) = match memory {
        // Elsewhere `layers` is a number.
        Some(memory) if memory.get("layers").is_some_and(Value::is_array) => {
            (memory.get_mut("layers"), None)
        }
        memory => (None, memory),
    };
    let stacked = stacked.and_then(Value::as_array_mut).into_iter().flatten();
    stacked.filter_map(Value::as_table_mut).chain(alone)
}

/// Widths of the memory's layers.
fn widths(model: &mut Table) -> impl Iterator<Item = &mut Value> {
    let width = |(key, value): (_, &Value)| WIDTHS.contains(&key) && value.is_integer();
    layers(model)
        .flat_map(toml::Table::iter_mut)
        .filter(move |(key, value)| width((key.as_str(), value)))
        .map(|(_, value)| value)
}

/// Number that a layer's width must be a multiple of: attention has heads, and sines come in pairs.
fn step(layer: &Table) -> i64 {
    layer.get("heads").and_then(Value::as_integer).map_or(1, |heads| 2 * heads)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use engram_service::config::{ExperimentSelection, resolve};

    use super::*;

    fn selected(seq: &str, set: &[&str]) -> Resolved {
        resolve(&ExperimentSelection {
            experiment: "recall-30".into(),
            env: None,
            rl: None,
            seq: Some(seq.into()),
            set: set.iter().map(ToString::to_string).collect(),
            configs: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs"),
        })
        .unwrap()
    }

    /// Parameters of the fitted network.
    fn count(resolved: &Resolved) -> usize {
        let env = EnvConfig::from_table(resolved.table("env").clone()).unwrap();
        let model: PolicyConfig = resolved.section("seq").unwrap();
        Policy::new(&model, &env.spec(), Seed::new(0), Device::Cpu).unwrap().parameter_count()
    }

    #[test]
    fn networks_of_every_layer_come_as_near_as_one_step_of_their_width() {
        for seq in
            ["lstm", "gru", "elstm-rtrl", "lru-rtrl", "mamba", "cgpt", "gpt2", "gru-elstm-rtrl"]
        {
            let fitted = fitted(selected(seq, &["seq.parameters=100000"])).unwrap();
            assert!(!fitted.table("seq").contains_key("parameters"), "{seq}");
            let off = count(&fitted).abs_diff(100_000);
            let mut next = fitted.clone();
            let step = layers(next.table_mut("seq")).map(|layer| step(layer)).max().unwrap();
            widths(next.table_mut("seq"))
                .for_each(|width| *width = (width.as_integer().unwrap() + step).into());
            assert!(off <= count(&next).abs_diff(100_000), "{seq}: a wider one is nearer");
            widths(next.table_mut("seq"))
                .for_each(|width| *width = (width.as_integer().unwrap() - 2 * step).into());
            assert!(off <= count(&next).abs_diff(100_000), "{seq}: a narrower one is nearer");
        }
    }

    #[test]
    fn without_it_nothing_changes_and_what_cannot_be_is_said() {
        let as_it_is = selected("lstm", &[]);
        assert_eq!(fitted(as_it_is.clone()).unwrap(), as_it_is);
        let refusal =
            |seq: &str, set: &str| format!("{:#}", fitted(selected(seq, &[set])).unwrap_err());
        let none = refusal("feedforward", "seq.parameters=100000");
        assert!(none.contains("`feedforward` has no width"), "{none}");
        let small = refusal("lstm", "seq.parameters=100");
        assert!(small.contains("with the least width, 1, there are"), "{small}");
        let word = refusal("lstm", "seq.parameters=\"many\"");
        assert!(word.contains("say how many"), "{word}");
    }
}
