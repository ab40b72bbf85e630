//! The carry table against what its streams are owed.

use engram_policy::Policy;
use tch::Kind;

use super::*;
use crate::fixtures::{resolved, spec, stream};

/// An eLSTM, whose gradient is found in one way or another.
fn policy(hidden: u32, gradient: &str) -> Policy {
    let memory = format!(
        "seq.memory={{ name = \"elstm\", hidden = {hidden}, forget_bias = 1.0, \
         gradient = \"{gradient}\" }}"
    );
    let config = resolved(&[&memory]).section("seq").unwrap();
    Policy::new(&config, &spec(), engram_mdp::Seed::new(1), Device::Cpu).unwrap()
}

/// Bytes that two cells carry per stream: the sensitivities of each, by z and by f, to the
/// seven inputs' weights, a bias, and the cell's own weight.
const ROW: u64 = 4 * 2 * 2 * (7 + 1 + 1);

fn table(streams: u64, batch_size: usize) -> CarryTable {
    table_of(&policy(2, "rtrl"), ByteSize(streams * ROW), batch_size).unwrap()
}

fn table_of(
    policy: &Policy,
    memory: ByteSize,
    batch_size: usize,
) -> Result<CarryTable, TooLittleMemory> {
    CarryTable::new(&policy.initial_carry(1), Device::Cpu, memory, batch_size)
}

fn row(env_index: u32, sequence: u64) -> TrajectoryKey {
    TrajectoryKey { stream: stream(env_index), generation: 1, sequence, policy_version: 1 }
}

/// Learns from a batch: what its rows got, as their first number; then they keep `left`.
fn update(table: &mut CarryTable, rows: &[TrajectoryKey], left: f64) -> Vec<f32> {
    let taken = table.take(rows);
    let numbers = taken.flatten();
    let first = Vec::<f32>::try_from(numbers.select(1, 0)).unwrap();
    assert_eq!(numbers, numbers.select(1, 0).unsqueeze(1).expand_as(&numbers));
    let options = (Kind::Float, Device::Cpu);
    let full = Tensor::full([rows.len() as i64, taken.width() as i64], left, options);
    table.put(rows, &taken.unflatten(&full).unwrap());
    first
}

#[test]
fn a_direct_successor_gets_what_its_stream_has_left() {
    let mut table = table(9, 2);
    assert_eq!(update(&mut table, &[row(0, 0), row(1, 0)], 1.0), [0.0, 0.0]);
    assert_eq!(update(&mut table, &[row(2, 0), row(1, 1)], 2.0), [0.0, 1.0]);
    assert_eq!(update(&mut table, &[row(1, 2), row(0, 1)], 3.0), [2.0, 1.0]);
    let stats = CarryTableStats { streams: 3, bytes: 4 * ROW, restarts: 0, evictions: 0 };
    assert_eq!(table.stats(), stats);
}

#[test]
fn behind_a_hole_a_repeat_or_a_new_generation_a_stream_begins_anew() {
    let mut table = table(9, 1);
    update(&mut table, &[row(0, 0)], 1.0);
    assert_eq!(update(&mut table, &[row(0, 2)], 2.0), [0.0], "a hole");
    assert_eq!(update(&mut table, &[row(0, 2)], 3.0), [0.0], "the same again");
    assert_eq!(update(&mut table, &[row(0, 3)], 4.0), [3.0]);
    assert_eq!(table.stats().restarts, 2);
    // Its first trajectory was stale; the second has the number that would come next.
    let newer = TrajectoryKey { generation: 2, ..row(0, 4) };
    assert_eq!(update(&mut table, &[newer], 5.0), [0.0], "another generation");
    assert_eq!(table.stats().restarts, 1);
    let newest = TrajectoryKey { generation: 3, ..row(0, 0) };
    assert_eq!(update(&mut table, &[newest], 6.0), [0.0]);
    assert_eq!(table.stats().restarts, 0, "that one begins where it should");
}

#[test]
fn after_an_update_that_was_not_finite_its_streams_begin_anew() {
    let mut table = table(9, 2);
    update(&mut table, &[row(0, 0), row(1, 0)], 1.0);
    table.take(&[row(0, 1)]);
    assert_eq!(update(&mut table, &[row(0, 2), row(1, 1)], 2.0), [0.0, 1.0]);
    assert_eq!(table.stats().restarts, 1);
}

#[test]
fn the_stream_that_was_silent_for_longest_is_evicted() {
    let mut table = table(3, 2);
    update(&mut table, &[row(0, 0), row(1, 0)], 1.0);
    update(&mut table, &[row(2, 0)], 2.0);
    update(&mut table, &[row(0, 1)], 3.0);
    // That would be 1, but it is in this very batch: 2 makes room for 3.
    assert_eq!(update(&mut table, &[row(3, 0), row(1, 1)], 4.0), [0.0, 1.0]);
    assert_eq!(
        table.stats(),
        CarryTableStats { streams: 3, bytes: 3 * ROW, restarts: 0, evictions: 1 }
    );
    assert_eq!(update(&mut table, &[row(0, 2), row(2, 1)], 5.0), [3.0, 0.0]);
    assert_eq!(
        table.stats(),
        CarryTableStats { streams: 3, bytes: 3 * ROW, restarts: 1, evictions: 1 }
    );
}

#[test]
fn memory_for_less_than_a_batch_is_refused_with_the_numbers() {
    let refused = table_of(&policy(2, "rtrl"), ByteSize(4 * ROW - 1), 4).unwrap_err();
    assert_eq!(refused.needed, ByteSize(4 * ROW));
    let message = refused.to_string();
    assert!(message.contains("575 B") && message.contains("144 B"), "{message}");
}

#[test]
fn a_policy_that_carries_nothing_needs_no_memory() {
    let mut table = table_of(&policy(2, "tbptt"), ByteSize(0), 4).unwrap();
    assert!(!table.carries());
    let taken = table.take(&[row(0, 0), row(0, 1)]);
    assert_eq!((taken.batch(), taken.width()), (2, 0));
    table.put(&[row(0, 0), row(0, 1)], &taken);
    assert_eq!(table.stats(), CarryTableStats::default());
    assert_eq!(table.save(), (vec![], vec![]));
}

fn copies(named: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    named.iter().map(|(name, tensor)| (name.clone(), tensor.copy())).collect()
}

#[test]
fn what_was_saved_goes_on_evictions_in_the_same_order() {
    let mut before = table(3, 2);
    update(&mut before, &[row(0, 0), row(1, 0)], 1.0);
    update(&mut before, &[row(2, 0)], 2.0);
    update(&mut before, &[row(0, 1)], 3.0);
    before.take(&[row(1, 1)]);
    let (saved, carries) = before.save();
    let carries = copies(&carries);
    let mut after = table(3, 2);
    after.load(&saved, &carries).unwrap();
    assert_eq!(after.save(), (saved.clone(), copies(&carries)));
    for rows in [[row(3, 0), row(1, 2)], [row(0, 2), row(2, 1)], [row(3, 1), row(1, 3)]] {
        assert_eq!(update(&mut after, &rows, 4.0), update(&mut before, &rows, 4.0));
    }
    assert_eq!(after.save(), before.save());

    let mut smaller = table(2, 2);
    smaller.load(&saved, &carries).unwrap();
    // The ones last heard of are 1, whose update was not finite, and 0.
    assert_eq!(update(&mut smaller, &[row(0, 2), row(2, 1)], 5.0), [3.0, 0.0]);
}

#[test]
fn carries_of_another_width_are_refused() {
    let mut narrow = table(3, 1);
    update(&mut narrow, &[row(0, 0)], 1.0);
    let (saved, carries) = narrow.save();
    let mut wide = table_of(&policy(3, "rtrl"), ByteSize(1000), 1).unwrap();
    let refused = wide.load(&saved, &carries).unwrap_err();
    assert!(refused.contains("[1, 8, 4]") && refused.contains("[1, 8, 6]"), "{refused}");
    assert!(wide.load(&[], &[]).is_ok());
    let two = [saved[0], saved[0]];
    assert!(narrow.load(&two, &carries).unwrap_err().contains("2 streams"));
}

#[test]
fn streams_of_actors_that_were_forgotten_leave_no_hole() {
    let of = |actor, env_index, generation, sequence| TrajectoryKey {
        stream: StreamId { actor, env_index },
        generation,
        sequence,
        policy_version: 1,
    };
    let mut table = table(9, 4);
    let all = [of(1, 0, 5, 0), of(2, 0, 5, 0), of(1, 1, 5, 0), of(3, 0, 5, 0)];
    update(&mut table, &all, 1.0);
    update(&mut table, &[of(3, 0, 5, 1)], 2.0);
    table.forget(&[Forgotten { actor: 1, generation: 5 }, Forgotten { actor: 2, generation: 4 }]);
    let (saved, carries) = table.save();
    assert_eq!((saved.len(), carries[0].1.size()[0]), (2, 2));
    let rest = [of(2, 0, 5, 1), of(3, 0, 5, 2), of(1, 0, 6, 0)];
    assert_eq!(update(&mut table, &rest, 3.0), [1.0, 2.0, 0.0]);
    assert_eq!(table.stats().streams, 3);
}
