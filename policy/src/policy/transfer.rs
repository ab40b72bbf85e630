//! Transfer: weights of one network in another, and weights that stay as they are.

use engram_mdp::Seed;
use tch::no_grad;

use super::Policy;
use crate::error::PolicyError;
use crate::heads::Outputs;
use crate::parts;
use crate::weights::{self, Loaded};

impl Policy {
    /// Another network of the same weights, none of which learn: a target network, to begin with.
    pub fn replica(&self) -> Policy {
        let (seed, kind) = (Seed::new(0), self.kind);
        let copy =
            Policy::with_outputs(&self.outputs, kind, &self.config, &self.spec, seed, self.device);
        let copy = copy.expect("the configuration was good once");
        for ((_, to), (_, from)) in copy.named.iter().zip(&self.named) {
            let mut to = to.set_requires_grad(false);
            to.copy_(&from.detach());
        }
        copy
    }

    /// A network beside this one, for an algorithm that needs another: its torso and memory are
    /// configured alike, but are its own, and it says of frames what `outputs` names. Its weights
    /// follow from `seed`. Where both have a weight of one name, what this network took over from
    /// [another run](Self::init_from) is taken over there too, and what is
    /// [frozen](Self::freeze) here is frozen there.
    pub fn beside(&self, outputs: &Outputs, seed: Seed) -> Policy {
        let (config, spec) = (&self.config, &self.spec);
        let mut beside = Policy::with_outputs(outputs, self.kind, config, spec, seed, self.device)
            .expect("a policy of this configuration was made for this environment");
        for (name, to) in &beside.named {
            let Some((_, from)) = self.named.iter().find(|(other, _)| other == name) else {
                continue;
            };
            if parts::names(&self.adopted, name) {
                no_grad(|| to.shallow_clone().copy_(from));
            }
            if !from.requires_grad() {
                let _ = to.set_requires_grad(false);
            }
        }
        beside.adopted.clone_from(&self.adopted);
        beside
    }

    /// Starts the weights anew that [learn](Self::trainable), from `seed`. What this network took over
    /// from [another run](Self::init_from) stays.
    pub fn restart(&self, seed: Seed) {
        let fresh = self.beside(&self.outputs, seed);
        let pairs = self.named.iter().zip(&fresh.named);
        for ((_, to), (_, from)) in pairs.filter(|((_, to), _)| to.requires_grad()) {
            no_grad(|| to.shallow_clone().copy_(from));
        }
    }

    /// Takes over the weights below `parts` from another policy's, whose environment and
    /// configuration may differ: a name, or what stands before one of its dots, such as `torso` or
    /// `memory.output_gate`. Where a tensor below them is not on both sides, or of another shape,
    /// the policy stays as it was.
    pub fn init_from(&mut self, bytes: &[u8], parts: &[String]) -> Result<Loaded, PolicyError> {
        parts::check(parts, &self.named)?;
        let loaded = weights::read_where(bytes, &self.named, |name| parts::names(parts, name))?;
        self.adopted.extend_from_slice(parts);
        Ok(loaded)
    }

    /// From here on the weights below `parts` learn no more: they have no gradient and are not
    /// among those [`trainable`](Self::trainable), but are saved and loaded as before.
    pub fn freeze(&mut self, parts: &[String]) -> Result<(), PolicyError> {
        parts::check(parts, &self.named)?;
        for (name, weight) in &self.named {
            if parts::names(parts, name) {
                let _ = weight.set_requires_grad(false);
            }
        }
        Ok(())
    }
}
