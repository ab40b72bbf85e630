//! Damage to good bytes: what a broken or hostile peer, or a broken disk, makes of them.
//!
//! Tests of other crates take this file by its path. The seed is fixed, so that a test says the same
//! each time; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` choose others and more.

#![allow(dead_code, reason = "each test uses its own part of this")]

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed};

/// Seed of the tests.
const SEED: u64 = 1;

/// Numbers that readers of lengths and counts stumble over.
const NUMBERS: [u64; 8] =
    [0, 1, 0x7f, 0xffff, i32::MAX as u64, u32::MAX as u64, i64::MAX as u64, u64::MAX];

/// One change.
#[derive(Clone, Debug)]
enum Damage {
    /// One bit is another.
    Flip(Index, u8),
    /// The end is missing.
    Cut(Index),
    /// A piece is missing.
    Remove(Index, Index),
    /// A piece is there twice.
    Repeat(Index, Index),
    /// Other bytes stand between.
    Insert(Index, Vec<u8>),
    /// A number, with as many bytes, stands in the place of what was there.
    Number(Index, u64, usize),
    /// A number of variable length stands between.
    Varint(Index, u64),
}

/// So many cases, from the seed.
pub(crate) fn cases(cases: u32) -> Config {
    let environment = Config::default();
    let rng_seed = match environment.rng_seed {
        RngSeed::Random => RngSeed::Fixed(SEED),
        chosen => chosen,
    };
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => environment.cases,
        None => cases,
    };
    // Nothing is written beside the tests: the seed repeats a failure.
    Config { cases, rng_seed, failure_persistence: None, ..environment }
}

/// One of `good`, changed in a few places, or bytes of any kind.
pub(crate) fn damaged(good: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec(damage(), 1..6);
    let changed = (prop::sample::select(good), changes).prop_map(|(mut bytes, changes)| {
        changes.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    });
    prop_oneof![9 => changed, 1 => prop::collection::vec(any::<u8>(), 0..256)]
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    let number = || prop_oneof![prop::sample::select(&NUMBERS[..]), any::<u64>()];
    let inserted = prop::collection::vec(any::<u8>(), 1..16);
    prop_oneof![
        4 => (place(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => place().prop_map(Damage::Cut),
        1 => (place(), place()).prop_map(|(from, to)| Damage::Remove(from, to)),
        2 => (place(), place()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        1 => (place(), inserted).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        3 => (place(), number(), prop::sample::select(&[1_usize, 4, 8][..]))
            .prop_map(|(at, number, bytes)| Damage::Number(at, number, bytes)),
        2 => (place(), number()).prop_map(|(at, number)| Damage::Varint(at, number)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let end = bytes.len();
        let place = |at: &Index| at.index(end + 1);
        match self {
            Damage::Flip(at, bit) => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte ^= 1 << bit;
                }
            }
            Damage::Cut(at) => bytes.truncate(place(at)),
            Damage::Remove(from, to) => {
                bytes.drain(place(from).min(place(to))..place(from).max(place(to)));
            }
            Damage::Repeat(from, to) => {
                let range = place(from).min(place(to))..place(from).max(place(to));
                let piece = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, piece);
            }
            Damage::Insert(at, piece) => {
                let at = place(at);
                bytes.splice(at..at, piece.iter().copied());
            }
            Damage::Number(at, number, width) => {
                let at = place(at);
                let piece = &number.to_le_bytes()[..*width];
                bytes.splice(at..(at + width).min(end), piece.iter().copied());
            }
            Damage::Varint(at, number) => {
                let at = place(at);
                bytes.splice(at..at, varint(*number));
            }
        }
    }
}

/// A number of variable length, as protocol buffers write it.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
