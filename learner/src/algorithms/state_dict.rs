//! State dicts: named tensors, what algorithms remember between updates and checkpoints hold.

use tch::{Tensor, no_grad};
use thiserror::Error;

/// Named tensors.
pub type StateDict = Vec<(String, Tensor)>;

/// Why a checkpoint's state does not fit this optimizer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StateError {
    /// A tensor is missing.
    #[error("the optimizer's state lacks `{name}`; it was saved by another optimizer or policy")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A tensor has another shape.
    #[error("the optimizer's state `{name}` has shape {found:?}; this policy needs {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The shape it has.
        found: Vec<i64>,
        /// The shape it should have.
        expected: Vec<i64>,
    },
}

/// Named tensors, each name behind `part` and a dot.
pub(super) fn under(part: &str, named: StateDict) -> StateDict {
    named.into_iter().map(|(name, tensor)| (format!("{part}.{name}"), tensor)).collect()
}

/// Those of `state` that lie under `part`, by the names that they have there.
pub(super) fn below(part: &str, state: &[(String, Tensor)]) -> StateDict {
    let inside = |name: &str| Some(name.strip_prefix(part)?.strip_prefix('.')?.to_owned());
    let found = state.iter().filter_map(|(name, x)| Some((inside(name)?, x.shallow_clone())));
    found.collect()
}

/// Copies of weights, as they are now.
pub(super) fn copies(weights: &[(String, Tensor)]) -> StateDict {
    weights.iter().map(|(name, weight)| (name.clone(), weight.detach().copy())).collect()
}

/// Overwrites weights with those that `state` has under `part`: all, or none if one does not fit.
pub(super) fn restore(
    weights: &[(String, Tensor)],
    part: &str,
    state: &[(String, Tensor)],
) -> Result<(), StateError> {
    let stored = weights.iter().map(|(name, weight)| {
        find(state, &format!("{part}.{name}"), &weight.size()).map(|stored| (weight, stored))
    });
    let stored = stored.collect::<Result<Vec<_>, _>>()?;
    no_grad(|| {
        for (weight, stored) in stored {
            weight.shallow_clone().copy_(stored);
        }
    });
    Ok(())
}

/// The tensor `name` of `state`, of shape `expected`.
pub(crate) fn find<'a>(
    state: &'a [(String, Tensor)],
    name: &str,
    expected: &[i64],
) -> Result<&'a Tensor, StateError> {
    let Some((_, stored)) = state.iter().find(|(found, _)| found == name) else {
        return Err(StateError::Missing { name: name.into() });
    };
    if stored.size() != expected {
        return Err(StateError::Shape {
            name: name.into(),
            found: stored.size(),
            expected: expected.to_vec(),
        });
    }
    Ok(stored)
}
