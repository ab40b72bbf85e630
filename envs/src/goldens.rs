//! Recorded episodes of other programs, for tests: `tests/goldens.toml`, made by
//! `tests/goldens.py`. Other files are made with the generator and the hash that stand here too.

use toml::{Table, Value};

use crate::chance::Chance;

const TEXT: &str = include_str!("../tests/goldens.toml");

/// The recorded episodes of one environment.
pub(crate) fn episodes(environment: &str) -> Vec<Table> {
    let all: Table = TEXT.parse().unwrap();
    let episodes = all[environment].as_array().unwrap();
    assert!(!episodes.is_empty());
    episodes.iter().map(|episode| episode.as_table().unwrap().clone()).collect()
}

/// A list of numbers.
pub(crate) fn numbers(episode: &Table, key: &str) -> Vec<f64> {
    list(&episode[key])
}

/// A list of lists of numbers.
pub(crate) fn rows(episode: &Table, key: &str) -> Vec<Vec<f64>> {
    episode[key].as_array().unwrap().iter().map(list).collect()
}

/// A list of texts.
pub(crate) fn strings(record: &Table, key: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    record[key].as_array().unwrap().iter().map(text).collect()
}

/// Asserts that every number is near the recorded one.
pub(crate) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, step: usize) {
    let near = |(&found, &expected): (&f32, &f64)| (f64::from(found) - expected).abs() <= tolerance;
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(near),
        "step {step}: {found:?} is not {expected:?}"
    );
}

/// The generator that both programs have (SplitMix64, <https://doi.org/10.1145/2714064.2660195>).
pub(crate) struct SharedChance(pub(crate) u64);

impl SharedChance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Chance for SharedChance {
    fn below(&mut self, count: usize) -> usize {
        (((self.next() >> 32) * count as u64) >> 32) as usize
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / 2.0_f64.powi(53)
    }

    /// Nearly normal, and the same to the last digit wherever it is added up.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// The hash of everything that was seen, paid and ended (FNV-1a).
pub(crate) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(crate) fn text(&self) -> String {
        format!("{:016x}", self.0)
    }
}

fn list(value: &Value) -> Vec<f64> {
    let number = |value: &Value| match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        other => panic!("{other} is not a number"),
    };
    value.as_array().unwrap().iter().map(number).collect()
}
