//! Damaged segment files are refused, whatever they say of themselves.

use engram_mdp::{Actions, Ending, Frames, ObservationSpec, Observations};
use proptest::prelude::*;

use super::super::episode::CompleteEpisode;
use super::*;
use crate::damage::{cases, damaged};

fn shape() -> TrajectoryShape {
    let spec = EnvSpec {
        name: "counting".into(),
        observation: ObservationSpec { dtype: Observed::U8, shape: vec![2] },
        action: ActionSpec::Discrete { count: 3 },
        frame_stack: 1,
        action_repeat: 1,
    };
    TrajectoryShape { spec, state_width: 2 }
}

/// Two episodes, of two decisions each.
fn segment() -> Segment {
    let frames = Frames {
        observations: Observations::U8(vec![1, 2, 3, 4, 5, 6]),
        previous_actions: Actions::Discrete(vec![0, 1, 2]),
        previous_rewards: vec![0.0, 0.5, 1.0],
        step_types: vec![StepType::First, StepType::Mid, StepType::Last(Ending::Terminated)],
    };
    let episode = CompleteEpisode {
        frames: &frames,
        log_probs: &[-0.5, -0.25],
        state_rows: &[0],
        states: &[0.5, 0.25],
        policy_version: 7,
    };
    let mut segment = Segment::new(EpisodeId(4));
    segment.push(&episode);
    segment.push(&episode);
    segment
}

fn file() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &segment(), &shape()).expect("room on disk");
    fs::read(folder.path().join(name(EpisodeId(4), EpisodeId(5)))).expect("the file")
}

/// The file with another header, of the same length.
fn with_header(from: &str, to: &str) -> Vec<u8> {
    let file = file();
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
    let header = std::str::from_utf8(&file[8..8 + length]).expect("JSON");
    assert!(header.contains(from), "{header}");
    let mut header = header.replace(from, to).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &file[8 + length..]].concat()
}

fn refusal(file: &[u8]) -> String {
    columns(file, EpisodeId(4), &shape(), None).expect_err("a damaged file")
}

#[test]
fn the_good_file_is_good() {
    let read = columns(&file(), EpisodeId(4), &shape(), None).expect("a good file");
    assert_eq!(read.episodes, segment().episodes);
}

/// The story: sides were multiplied unchecked, and a column of no rows may have any.
#[test]
fn sides_whose_product_overflows_are_refused() {
    let huge = format!("[0,{0},{0}]", u64::MAX);
    let file = with_header("\"shape\":[2,2]", &format!("\"shape\":{huge}"));
    assert!(!refusal(&file).is_empty());
}

/// The story: rows were multiplied unchecked.
#[test]
fn episodes_whose_rows_overflow_are_refused() {
    let mut file = file();
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
    // The episodes come first, and their decisions are the first number.
    file[8 + length..][..8].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    assert_eq!(refusal(&file), "its columns are not of the same length");
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn damaged_files_do_no_harm(bytes in damaged(vec![file()])) {
        if let Ok(segment) = columns(&bytes, EpisodeId(4), &shape(), None) {
            prop_assert!(segment.rows() <= bytes.len());
        }
    }
}
