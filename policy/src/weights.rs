//! Weights that describe themselves: safetensors whose metadata has one entry, [`KEY`], a JSON
//! object of the policy's configuration and outputs, how to explore with it, the environment's spec
//! and the weights' version.
//!
//! The same bytes go over the wire, into checkpoints, and open in Python:
//!
//! ```python
//! file = safetensors.safe_open("weights.safetensors", "np")
//! about = json.loads(file.metadata()["engram"])  # {"config": .., "version": .., ..}
//! weight = file.get_tensor("memory.weight_ih_l0")
//! ```
//!
//! Equal policies of equal versions give equal bytes.

use std::collections::HashMap;

use engram_mdp::EnvSpec;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::config::PolicyConfig;
use crate::error::PolicyError;
use crate::exploration::Exploration;
use crate::heads::Outputs;

/// The key of the metadata's one entry.
pub(crate) const KEY: &str = "engram";

/// Amount that was taken over from another policy's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub numbers: usize,
}

/// Description of weights, in their file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    pub(crate) config: PolicyConfig,
    pub(crate) outputs: Outputs,
    pub(crate) exploration: Exploration,
    pub(crate) spec: EnvSpec,
    pub(crate) version: u64,
}

/// Weights of a moment, apart from the policy that goes on learning.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) about: About,
    pub(crate) named: Vec<(String, Tensor)>,
}

impl Snapshot {
    /// The version that it was taken under.
    pub fn version(&self) -> u64 {
        self.about.version
    }

    /// The bytes that [`Policy::save`](crate::Policy::save) would have made then.
    pub fn save(&self) -> Vec<u8> {
        write(&self.about, &self.named)
    }
}

/// The bytes of `named` tensors and what they say about themselves.
pub(crate) fn write(about: &About, named: &[(String, Tensor)]) -> Vec<u8> {
    let about = serde_json::to_string(about).expect("a configuration and a spec are JSON");
    let data: Vec<Vec<u8>> = named.iter().map(|(_, tensor)| bytes(tensor)).collect();
    let views = named.iter().zip(&data).map(|((name, tensor), data)| {
        let shape = tensor.size().iter().map(|&side| side as usize).collect();
        let view = TensorView::new(dtype(tensor.kind()), shape, data);
        (name.as_str(), view.expect("a tensor's bytes have its shape"))
    });
    let metadata = HashMap::from([(KEY.to_owned(), about)]);
    safetensors::serialize(views, Some(metadata)).expect("parameters have names of their own")
}

/// Description of the weights `bytes`.
pub(crate) fn about(bytes: &[u8]) -> Result<About, PolicyError> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let about = metadata.metadata().as_ref().and_then(|entries| entries.get(KEY));
    let about = about.ok_or_else(|| PolicyError::Metadata(format!("no entry `{KEY}`")))?;
    serde_json::from_str(about).map_err(|error| PolicyError::Metadata(error.to_string()))
}

/// The shapes of the tensors in `bytes`, by name.
pub(crate) fn shapes(bytes: &[u8]) -> Result<HashMap<String, Vec<i64>>, PolicyError> {
    let sides = |shape: &[usize]| shape.iter().map(|&side| side as i64).collect();
    let tensors = SafeTensors::deserialize(bytes)?.tensors();
    Ok(tensors.iter().map(|(name, tensor)| (name.clone(), sides(tensor.shape()))).collect())
}

/// Overwrites `named` tensors with those in `bytes`: all of them, or none when anything is wrong.
pub(crate) fn read(bytes: &[u8], named: &[(String, Tensor)]) -> Result<(), PolicyError> {
    read_where(bytes, named, |_| true).map(|_| ())
}

/// [`read`], but looks at those tensors alone whose names are `wanted`.
pub(crate) fn read_where(
    bytes: &[u8],
    named: &[(String, Tensor)],
    wanted: impl Fn(&str) -> bool,
) -> Result<Loaded, PolicyError> {
    let file = SafeTensors::deserialize(bytes)?;
    let unknown = |name: &&str| wanted(name) && named.iter().all(|(n, _)| n != *name);
    if let Some(name) = file.names().into_iter().find(unknown) {
        return Err(PolicyError::Tensor {
            name: name.to_owned(),
            expected: "no such tensor".into(),
            found: "there".into(),
        });
    }
    let named: Vec<_> = named.iter().filter(|(name, _)| wanted(name)).collect();
    let views = named.iter().map(|(name, tensor)| view(&file, name, tensor));
    let views = views.collect::<Result<Vec<_>, _>>()?;
    tch::no_grad(|| {
        for ((_, tensor), view) in named.iter().zip(views) {
            let from = Tensor::from_data_size(view.data(), &tensor.size(), tensor.kind());
            tensor.shallow_clone().copy_(&from);
        }
    });
    let numbers = named.iter().map(|(_, tensor)| tensor.numel()).sum();
    Ok(Loaded { tensors: named.len(), numbers })
}

/// A diverged learner must not reach those who act.
fn check_finite(name: &str, view: &TensorView<'_>, tensor: &Tensor) -> Result<(), PolicyError> {
    let numbers = Tensor::from_data_size(view.data(), &tensor.size(), tensor.kind());
    if numbers.isfinite().all().int64_value(&[]) == 1 {
        return Ok(());
    }
    Err(PolicyError::Tensor {
        name: name.to_owned(),
        expected: "finite numbers".into(),
        found: "numbers that are not".into(),
    })
}

/// The file's tensor `name`, if it can be copied into `tensor`.
fn view<'a>(
    file: &SafeTensors<'a>,
    name: &str,
    tensor: &Tensor,
) -> Result<TensorView<'a>, PolicyError> {
    let shape: Vec<usize> = tensor.size().iter().map(|&side| side as usize).collect();
    let wrong = |found| PolicyError::Tensor {
        name: name.to_owned(),
        expected: format!("{:?} {shape:?}", dtype(tensor.kind())),
        found,
    };
    let view = file.tensor(name).map_err(|_| wrong("not there".into()))?;
    if view.shape() != shape || view.dtype() != dtype(tensor.kind()) {
        return Err(wrong(format!("{:?} {:?}", view.dtype(), view.shape())));
    }
    check_finite(name, &view, tensor)?;
    Ok(view)
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

fn dtype(kind: Kind) -> Dtype {
    match kind {
        Kind::Float => Dtype::F32,
        Kind::Double => Dtype::F64,
        other => panic!("parameters are floats, not {other:?}"),
    }
}
