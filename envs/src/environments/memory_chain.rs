//! Memory chain: bits are shown at first, and one of them must be named at the end. After bsuite's
//! (Osband et al. 2020, <https://arxiv.org/abs/1908.03568>): its experiment `memory_len` has one bit
//! and lengths of up to 100, `memory_size` has a length of 2 and up to 40 bits.
//!
//! The observation is the share of the time that is left, the number of the bit that is asked for
//! (at the last decision, else 0), and the bits as -1 and 1 (at first, else zeros). As in the
//! original, the first observation is shown twice. Only the last decision counts: 1 if it is the bit
//! (action 0 for -1, action 1 for 1), else -1.
//!
//! ```text
//! frame       0      1      2 … length - 1     length     length + 1
//!            bits   bits        nothing         query       (Last)
//! ```

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use serde::Deserialize;

use crate::canvas::{ACTOR, Canvas, FAINT, GOAL, SIGHT, mix};
use crate::chance::Chance;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};

/// The parameters of the memory chain.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryChainConfig {
    /// Decisions before the one that counts.
    pub memory_length: u32,
    /// Number of bits.
    pub num_bits: usize,
}

impl EnvironmentParameters for MemoryChainConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("memory_length", self.memory_length, 1..=1_000_000)?;
        within("num_bits", self.num_bits, 1..=4096)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: format!("memory-chain(num_bits={})", self.num_bits),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![self.num_bits + 2] },
            action: ActionSpec::Discrete { count: 2 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let chain = Chain::new(self);
        Box::new(MemoryChain { spec: self.spec(), generator: seed.generator(), chain })
    }

    fn optimum(&self) -> Option<f32> {
        Some(1.0)
    }

    /// A chain of length 1 shows its bits at the decision that counts.
    fn memoryless(&self) -> Option<f32> {
        Some(if self.memory_length == 1 { 1.0 } else { 0.5 })
    }
}

struct MemoryChain {
    spec: EnvSpec,
    generator: Generator,
    chain: Chain,
}

impl Environment for MemoryChain {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.chain.begin(&mut self.generator, observation.floats());
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.chain.step(action.index(), observation.floats())
    }

    fn success(&self) -> Option<bool> {
        Some(self.chain.success)
    }

    fn render(&self, canvas: &mut Canvas) {
        self.chain.render(canvas);
    }
}

/// Hidden state and rules.
struct Chain {
    length: u32,
    /// Zeros and ones.
    bits: Vec<u8>,
    query: usize,
    /// Decisions that were taken.
    time: u32,
    success: bool,
}

impl Chain {
    fn new(config: &MemoryChainConfig) -> Self {
        let bits = vec![0; config.num_bits];
        Chain { length: config.memory_length, bits, query: 0, time: 0, success: false }
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.bits.iter_mut().for_each(|bit| *bit = chance.below(2) as u8);
        self.query = chance.below(self.bits.len());
        (self.time, self.success) = (0, false);
        self.show(0, row);
    }

    fn step(&mut self, action: usize, row: &mut [f32]) -> Outcome {
        self.show(self.time, row);
        self.time += 1;
        if self.time <= self.length {
            return Outcome::goes_on(0.0);
        }
        self.success = action == usize::from(self.bits[self.query]);
        Outcome::terminated(if self.success { 1.0 } else { -1.0 })
    }

    fn show(&self, time: u32, row: &mut [f32]) {
        row.fill(0.0);
        row[0] = (1.0 - f64::from(time) / f64::from(self.length)) as f32;
        if time + 1 == self.length {
            row[1] = self.query as f32;
        }
        if time == 0 {
            row[2..]
                .iter_mut()
                .zip(&self.bits)
                .for_each(|(x, &bit)| *x = f32::from(bit) * 2.0 - 1.0);
        }
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(match self.time {
            time if time > self.length => "the answer was given".into(),
            time if time == self.length => format!("which was bit {}?", self.query),
            0 | 1 => "the bits are shown".into(),
            _ => "wait, and remember the bits".to_owned(),
        });
        let columns = self.bits.len().min(10);
        let grid = canvas.grid(self.bits.len().div_ceil(columns), columns);
        for (index, &bit) in self.bits.iter().enumerate() {
            let (row, column) = ((index / columns) as i32, (index % columns) as i32);
            let color = [SIGHT, ACTOR][usize::from(bit)];
            let shown = if self.time <= 1 { color } else { mix(FAINT, color, 0.35) };
            grid.fill(canvas, row, column, shown);
            if index == self.query && self.time >= self.length {
                canvas.disc(grid.center(row, column), 0.15 * grid.side, GOAL);
            }
        }
        canvas.timeline(&[self.length, 1], self.time);
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;
    use toml::Table;

    use super::*;
    use crate::goldens::{Digest, SharedChance, assert_close, rows, strings};

    const EPISODES: usize = 500;
    /// Share of the decisions that are right, in episodes that follow one another.
    const SKILLS: [f64; 3] = [0.0, 0.5, 1.0];

    /// Plays the episodes of a record, and compares every frame with bsuite's.
    fn replay(record: &Table) {
        let number = |key: &str| record[key].as_integer().unwrap();
        let (memory_length, num_bits) =
            (number("memory_length") as u32, number("num_bits") as usize);
        let mut chain = Chain::new(&MemoryChainConfig { memory_length, num_bits });
        let mut chance = SharedChance(u64::from(memory_length));
        let mut actor = SharedChance(num_bits as u64 + 1000);
        let mut row = vec![f32::NAN; num_bits + 2];
        let (mut digest, mut total) = (Digest::default(), 0.0);
        let mut digests = strings(record, "digests").into_iter();
        let first = rows(record, "first");
        let add = |digest: &mut Digest, row: &[f32]| {
            row.iter().for_each(|x| digest.add(&x.to_le_bytes()));
        };
        for episode in 0..EPISODES {
            chain.begin(&mut chance, &mut row);
            add(&mut digest, &row);
            for step in 1.. {
                let action = match actor.unit() < SKILLS[episode % SKILLS.len()] {
                    true => usize::from(chain.bits[chain.query]),
                    false => actor.below(2),
                };
                let outcome = chain.step(action, &mut row);
                if let Some(expected) = first.get(step).filter(|_| episode == 0) {
                    assert_close(&row, expected, 1e-7, step);
                }
                add(&mut digest, &row);
                digest.add(&outcome.reward.to_le_bytes());
                digest.add(&[u8::from(outcome.ending == Some(Ending::Terminated))]);
                total += f64::from(outcome.reward);
                if outcome.ending.is_some() {
                    assert_eq!(step as u32, memory_length + 1);
                    break;
                }
            }
            if episode & (episode + 1) == 0 || episode == EPISODES - 1 {
                assert_eq!(digest.text(), digests.next().unwrap(), "episode {episode}");
            }
        }
        assert_eq!(Some(total), record["total_return"].as_float());
    }

    #[test]
    fn episodes_are_bsuites() {
        let all: Table = include_str!("../../tests/replays/memory_chain.toml").parse().unwrap();
        let records = all["memory-chain"].as_array().unwrap();
        assert_eq!(records.len(), 9);
        records.iter().for_each(|record| replay(record.as_table().unwrap()));
    }
}
