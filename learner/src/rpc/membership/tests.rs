//! Membership against what actors and their machines do to it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::rpc::stream_positions::Continuity;

fn numbered(actor: u32, generation: Option<u64>) -> Claim {
    Claim { actor: Some(actor), any_number: false, generation, instance: 0, streams: 1 }
}

const NEWCOMER: Claim =
    Claim { actor: None, any_number: true, generation: None, instance: 0, streams: 1 };

/// Claim of an actor without a number of its own that comes again.
fn again(Incarnation { actor, generation, .. }: Incarnation) -> Claim {
    Claim { actor: Some(actor), generation: Some(generation), ..NEWCOMER }
}

fn stream(actor: u32) -> StreamId {
    StreamId { actor, env_index: 0 }
}

/// Membership of a learner that begins with a checkpoint of `membership`.
fn restored(membership: &Membership) -> Membership {
    let json = serde_json::to_string(&membership.save()).unwrap();
    membership.clone().resuming(serde_json::from_str(&json).unwrap())
}

#[test]
fn a_newer_generation_fences_the_older_one_and_begins_anew() {
    let mut members = Membership::default();
    let first = members.register(numbered(3, None)).unwrap();
    members.accept(stream(3), first.generation, 0).unwrap();
    let second = members.register(numbered(3, None)).unwrap();
    assert!(second.generation > first.generation);
    assert_eq!((first.predecessors, second.predecessors), (0, 1));
    let (current, found) = (second.generation, first.generation);
    let refused = MembershipError::Superseded { actor: 3, current, found };
    assert_eq!(members.accept(stream(3), found, 1), Err(refused.clone()));
    assert_eq!(members.register(numbered(3, Some(found))), Err(refused));
    let began = members.accept(stream(3), current, 0);
    assert_eq!(began, Ok(Verdict::Accepted(Continuity::Begins)));
    assert_eq!(members.accept(stream(9), 1, 0), Err(MembershipError::Unregistered(9)));
}

#[test]
fn the_same_generation_goes_on_where_it_stood_also_after_a_checkpoint() {
    let mut members = Membership::default();
    let one = members.register(numbered(3, None)).unwrap();
    members.accept(stream(3), one.generation, 4).unwrap();
    let mut members = restored(&members);
    assert_eq!(members.register(numbered(3, Some(one.generation))), Ok(one));
    assert_eq!(members.accept(stream(3), one.generation, 4), Ok(Verdict::Repeat));
    let next = members.accept(stream(3), one.generation, 5);
    assert_eq!(next, Ok(Verdict::Accepted(Continuity::Continues)));
}

#[test]
fn reports_count_once_for_the_newest_generation_alone() {
    let mut members = Membership::default();
    let old = members.register(numbered(1, None)).unwrap().generation;
    assert!(members.report(1, old, 0) && !members.report(1, old, 0) && members.report(1, old, 1));
    let new = members.register(numbered(1, None)).unwrap().generation;
    assert!(members.report(1, new, 0) && !members.report(1, old, 2) && !members.report(2, new, 0));
}

#[test]
fn a_generation_that_a_killed_learner_has_issued_after_its_checkpoint_is_kept() {
    let mut members = Membership::default();
    let old = members.register(numbered(3, None)).unwrap();
    let checkpoint = restored(&members);
    let new = members.register(numbered(3, None)).unwrap();
    let other = members.register(NEWCOMER).unwrap();

    let mut members = checkpoint.clone();
    let kept = members.register(numbered(3, Some(new.generation))).unwrap();
    assert_eq!(kept.generation, new.generation);
    assert!(members.register(numbered(3, Some(old.generation))).is_err(), "it was fenced");
    assert_eq!(members.register(again(other)).unwrap().generation, other.generation);
    // Whoever comes after that is newer than all of them.
    assert!(members.register(numbered(3, None)).unwrap().generation > new.generation);

    // If the learner has given the number away meanwhile, its new owner keeps it.
    let mut members = checkpoint;
    let newcomer = members.register(NEWCOMER).unwrap();
    assert_eq!(newcomer.actor, other.actor);
    let moved = members.register(again(other)).unwrap();
    assert!(moved.actor != other.actor && moved.generation > newcomer.generation);
    assert!(members.accept(stream(newcomer.actor), newcomer.generation, 0).is_ok());
}

/// Of 10,000 simulated fleets one found this: such an actor was forgotten, came again, kept its
/// generation a second time, and what it had sent was learned from twice.
#[test]
fn a_generation_of_a_killed_learner_is_kept_once_and_not_after_it_was_forgotten() {
    let mut killed = Membership::new(64, 4);
    let mut members = restored(&killed);
    let lost = killed.register(numbered(3, None)).unwrap();
    assert_eq!(members.register(again(lost)).unwrap().generation, lost.generation);
    let first = members.accept(stream(3), lost.generation, 0).unwrap();
    assert!(matches!(first, Verdict::Accepted(_)));
    members.depart(3);
    for number in 10..30 {
        members.register(numbered(number, None)).unwrap();
        members.depart(number);
    }
    assert!(members.take_forgotten().iter().any(|forgotten| forgotten.actor == 3));
    let back = members.register(again(lost)).unwrap();
    assert!(back.generation > lost.generation, "it would send again what was learned from");
}

/// Two learners may begin with one checkpoint, one after the other was killed, and issue the same.
#[test]
fn processes_that_two_lost_learners_gave_one_generation_are_told_apart() {
    let process = |instance, generation| Claim { instance, ..numbered(3, generation) };
    let checkpoint = Membership::default();
    let lost = restored(&checkpoint).register(process(111, None)).unwrap();
    let mut members = restored(&checkpoint);
    let other = members.register(process(222, None)).unwrap();
    assert_eq!(lost, other);
    let back = members.register(process(111, Some(lost.generation))).unwrap();
    assert!(back.generation > other.generation);
}

/// A partition delays a registration; its process has given up on it, and registered anew.
#[test]
fn a_registration_that_comes_late_is_that_of_the_same_process() {
    for claim in [numbered(3, None), NEWCOMER] {
        let mut members = Membership::default();
        let process = Claim { instance: 77, ..claim };
        let first = members.register(process).unwrap();
        assert_eq!(members.register(process), Ok(first), "it has not heard of its generation");
        let other = members.register(Claim { instance: 78, ..claim }).unwrap();
        assert!(other.generation > first.generation);
    }
}

/// Every pod once took a place for ever: 512 pods of 512 environments ended a run.
#[test]
fn however_many_have_come_and_gone_no_more_are_remembered_than_were_ever_present() {
    let mut members = Membership::new(16, 4);
    for round in 0..1000 {
        let one = members.register(NEWCOMER).unwrap();
        let two = members.register(numbered(round as u32, None)).unwrap();
        members.depart(one.actor);
        members.depart(two.actor);
    }
    // Two that were here at once, the four in any case, and the last one that came.
    assert!(members.len() <= 6, "{} are remembered", members.len());
    assert_eq!(members.take_forgotten().len() + members.len(), 2000);
    // Numbers are used again, and seeds are not.
    let next = members.register(NEWCOMER).unwrap();
    assert!(next.actor < FIRST_ISSUED_NUMBER + 6, "number {}", next.actor);
    assert!(next.predecessors > 0);
}

#[test]
fn who_was_forgotten_is_new_and_what_it_had_sent_is_not_taken_for_its_own() {
    let mut members = Membership::new(16, 1);
    let one = members.register(NEWCOMER).unwrap();
    members.accept(stream(one.actor), one.generation, 0).unwrap();
    members.depart(one.actor);
    for _ in 0..3 {
        let other = members.register(NEWCOMER).unwrap();
        members.depart(other.actor);
    }
    let forgotten = Forgotten { actor: one.actor, generation: one.generation };
    assert!(members.take_forgotten().contains(&forgotten));
    let back = members.register(again(one)).unwrap();
    assert!(back.generation > one.generation);
    assert!(back.predecessors > one.predecessors, "its seed is another one");
    assert!(members.accept(stream(one.actor), one.generation, 0).is_err());
    // The same with a number of its own.
    let own = numbered(one.actor + 100, Some(one.generation));
    assert!(members.register(own).unwrap().generation > back.generation);
}

#[test]
fn beyond_the_limit_the_absent_make_room_and_the_present_do_not() {
    let mut members = Membership::new(4, 100);
    let wide = |actor| Claim { streams: 2, ..numbered(actor, None) };
    for actor in 0..2 {
        members.register(wide(actor)).unwrap();
    }
    let before = members.clone();
    let refused = MembershipError::TooMany { limit: 4, found: 6 };
    assert_eq!(members.register(wide(7)), Err(refused));
    assert_eq!(members, before);
    members.register(wide(1)).unwrap();
    members.depart(0);
    members.register(wide(7)).unwrap();
    assert_eq!(members.take_forgotten().iter().map(|f| f.actor).collect::<Vec<_>>(), [0]);
    members.depart(1);
    assert_eq!(members.register(wide(8)), Err(MembershipError::TooMany { limit: 4, found: 6 }));
    members.depart(1);
    assert!(members.register(wide(8)).is_ok());
}

proptest! {
    /// The model: nothing that was accepted is accepted again, in whatever order actors come, go,
    /// are forgotten and come back, and learners are killed: a trajectory that was accepted before
    /// the checkpoint that the present learner began with, or by it.
    #[test]
    fn nothing_is_accepted_twice(
        events in prop::collection::vec((0_usize..5, 0_u8..8, 0_u64..6), 1..200)
    ) {
        let mut members = Membership::new(8, 2);
        let mut actors: BTreeMap<usize, (Claim, Option<Incarnation>)> = BTreeMap::new();
        let mut accepted: BTreeSet<(usize, u64, u64)> = BTreeSet::new();
        let mut saved = (restored(&members), accepted.clone());
        for (who, what, sequence) in events {
            let first = match who % 2 {
                0 => (numbered(who as u32, None), None),
                _ => (NEWCOMER, None),
            };
            let entry = actors.entry(who).or_insert(first);
            match (what, entry.1) {
                // It comes, or comes again.
                (0 | 1, _) => {
                    if let Ok(now) = members.register(entry.0) {
                        let claim = Claim { actor: Some(now.actor), ..entry.0 };
                        *entry = (Claim { generation: Some(now.generation), ..claim }, Some(now));
                    }
                }
                // It goes.
                (2, Some(incarnation)) => {
                    members.depart(incarnation.actor);
                    entry.1 = None;
                }
                // Its process dies: the next one knows nothing.
                (3, Some(incarnation)) => {
                    members.depart(incarnation.actor);
                    *entry = first;
                }
                (4, _) => saved = (restored(&members), accepted.clone()),
                (5, _) => {
                    (members, accepted) = saved.clone();
                    actors.values_mut().for_each(|actor| actor.1 = None);
                }
                (_, Some(now)) => {
                    let verdict = members.accept(stream(now.actor), now.generation, sequence);
                    if matches!(verdict, Ok(Verdict::Accepted(_))) {
                        prop_assert!(accepted.insert((who, now.generation, sequence)));
                    }
                }
                _ => {}
            }
        }
    }
}
