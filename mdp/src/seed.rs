//! One experiment seed; every generator is derived from it by name and index.
//!
//! Two generators of the same run share nothing but the experiment's seed, and adding one
//! never changes another: derivation hashes a path of names, it does not draw.

use rand::SeedableRng;
use serde::{Deserialize, Serialize};

/// The generator that everything random in Engram draws from: small, fast, and serializable, so
/// that a checkpoint can hold it.
pub type Generator = rand_pcg::Pcg64;

/// A point in the tree of seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seed(u64);

impl Seed {
    /// The root: the experiment's own seed.
    pub fn new(experiment: u64) -> Self {
        Seed(mix(experiment ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// The seed below this one for the `index`-th thing called `name`.
    pub fn derive(self, name: &str, index: u64) -> Self {
        // FNV-1a over the name, then two rounds of a 64-bit finalizer.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        Seed(mix(mix(self.0 ^ hash).wrapping_add(mix(index ^ 0xd1b5_4a32_d192_ed03))))
    }

    /// A generator that starts here.
    pub fn generator(self) -> Generator {
        Generator::seed_from_u64(self.0)
    }

    /// The seed as a number, for libraries that want one.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// The finalizer of SplitMix64 (Steele, Lea & Flood 2014,
/// <https://doi.org/10.1145/2714064.2660195>).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn derivation_is_reproducible_and_separates_names_and_indices() {
        let root = Seed::new(7);
        assert_eq!(root.derive("env", 3), Seed::new(7).derive("env", 3));
        let all: HashSet<Seed> = (0..100)
            .flat_map(|i| [root.derive("env", i), root.derive("policy", i)])
            .chain((0..100).map(|i| Seed::new(8).derive("env", i)))
            .collect();
        assert_eq!(all.len(), 300);
    }
}
