//! Parts of a policy, by the names of its weights: `torso`, `memory`, `memory.output_gate`.
//!
//! A part is a name or what stands before one of its dots; it names every weight below it.

use std::collections::BTreeSet;

use tch::Tensor;

use crate::error::PolicyError;

/// Parts of a name that messages tell.
const TOLD_DEPTH: usize = 2;

/// True if the weight `name` lies below one of `parts`.
pub(crate) fn names(parts: &[String], name: &str) -> bool {
    parts.iter().any(|part| lies_below(name, part))
}

/// Checks that each of `parts` names one of the `named` weights at least.
pub(crate) fn check(parts: &[String], named: &[(String, Tensor)]) -> Result<(), PolicyError> {
    let unknown = |part: &&String| named.iter().all(|(name, _)| !lies_below(name, part));
    match parts.iter().find(unknown) {
        None => Ok(()),
        Some(part) => Err(PolicyError::UnknownPart { part: part.clone(), parts: known(named) }),
    }
}

fn lies_below(name: &str, part: &str) -> bool {
    name.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The upper parts of all names, separated by commas.
fn known(named: &[(String, Tensor)]) -> String {
    let borders = named.iter().flat_map(|(name, _)| {
        name.match_indices('.').take(TOLD_DEPTH).map(|(dot, _)| &name[..dot])
    });
    borders.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_at_a_dot_or_at_the_names_end() {
        assert!(lies_below("memory.output_gate.bias", "memory"));
        assert!(lies_below("memory.output_gate.bias", "memory.output_gate"));
        assert!(lies_below("memory.output_gate.bias", "memory.output_gate.bias"));
        assert!(!lies_below("memory.output_gate.bias", "memory.output"));
        assert!(!lies_below("memory.output_gate.bias", "output_gate"));
        assert!(!lies_below("memory", ""));
    }
}
