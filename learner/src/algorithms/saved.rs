//! What algorithms with several networks and optimizers remember, under one roof of names.

use tch::{Tensor, no_grad};

use crate::algorithms::optimizer::{StateError, find};

/// Named tensors, each name behind `part` and a dot.
pub(super) fn under(part: &str, named: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    named.into_iter().map(|(name, tensor)| (format!("{part}.{name}"), tensor)).collect()
}

/// Those of `state` that lie under `part`, by the names that they have there.
pub(super) fn below(part: &str, state: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let inside = |name: &str| Some(name.strip_prefix(part)?.strip_prefix('.')?.to_owned());
    let found = state.iter().filter_map(|(name, x)| Some((inside(name)?, x.shallow_clone())));
    found.collect()
}

/// Copies of weights, as they are now.
pub(super) fn copies(weights: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
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
