//! The files of a replay: written once, read back, missed without a crash, deleted in the end.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "tests, each of which uses some of the model"
)]

#[path = "replay/model.rs"]
mod model;

#[path = "replay/run.rs"]
mod run;

use std::path::Path;

use engram_learner::config::replay::{ReplayConfig, Storage};
use engram_learner::replay::{Replay, ReplayState, prune_segments};
use engram_learner::storage::run_folder::RunFolder;
use engram_mdp::Seed;
use model::{Stream, config, shape};
use run::Run;

/// The segments in a folder.
fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_checkpoint_writes_only_what_is_new() {
    let mut run = Run::new(config(), shape(false), (5, 12), Seed::new(1));
    run.fill(20);
    let first = run.save();
    let name = format!("000000000000-{:012}.safetensors", run.model.next - 1);
    assert_eq!(files(&run.place()), std::slice::from_ref(&name));
    let written = |run: &Run, name: &str| {
        std::fs::metadata(run.place().join(name)).unwrap().modified().unwrap()
    };
    let before = written(&run, &name);
    let again = run.save();
    assert_eq!(again, first, "nothing has happened");
    run.fill(40);
    let second = run.save();
    assert_eq!(second.segments[0], first.segments[0]);
    assert_eq!(second.segments.len(), 2);
    assert_eq!(written(&run, &name), before);
    let (mut resumed, _) = run.restore(&second);
    let third = resumed.snapshot().write(&run.place()).unwrap();
    assert_eq!(third, second, "a restored replay writes nothing again");
    assert_eq!(written(&run, &name), before);
}

#[test]
fn torn_and_missing_segments_are_left_out_and_counted() {
    for storage in [Storage::Memory, Storage::Disk] {
        let config = ReplayConfig { storage, ..config() };
        let mut run = Run::new(config, shape(true), (5, 12), Seed::new(1));
        let mut saved = ReplayState::default();
        for episodes in [20, 40, 60] {
            run.fill(episodes);
            saved = run.save();
        }
        let path = |i: usize| run.place().join(&saved.segments[i].name);
        let mut bytes = std::fs::read(path(1)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path(1), bytes).unwrap();
        std::fs::remove_file(path(0)).unwrap();
        let (resumed, lost) = run.restore(&saved);
        let gone = saved.segments[0].env_steps + saved.segments[1].env_steps;
        assert_eq!((lost.segments, lost.env_steps), (2, gone));
        assert_eq!(lost.episodes, saved.segments[2].first.0);
        assert_eq!(resumed.size().env_steps, saved.segments[2].env_steps);
        let sample = resumed.sample(50, &mut Seed::new(1).generator()).unwrap();
        assert!(sample.pieces.iter().all(|piece| piece.episode >= saved.segments[2].first));
        run.model.check(&sample);

        std::fs::write(path(2), b"").unwrap();
        let (mut resumed, lost) = run.restore(&saved);
        assert_eq!((lost.segments, resumed.size().episodes), (3, 0));
        assert!(resumed.sample(1, &mut Seed::new(1).generator()).is_err());
        // It fills again, with numbers that were not used before.
        let mut stream = Stream::new(9, shape(true), (40, 3), Seed::new(2).generator());
        let arrival = stream.unroll();
        resumed.insert(arrival.generation, &arrival.trajectory).unwrap();
        let sample = resumed.sample(9, &mut Seed::new(1).generator()).unwrap();
        assert!(sample.pieces.iter().all(|piece| piece.episode >= saved.next));
    }
}

/// Its worker once wrote and deleted on, until training next looked whose the folder is; and the
/// new owner's segments have the same names.
#[test]
fn a_learner_that_has_lost_the_folder_neither_writes_nor_deletes_segments() {
    let config = ReplayConfig { storage: Storage::Disk, max_env_steps: 2000, ..config() };
    let mut run = Run::new(config, shape(false), (5, 12), Seed::new(1));
    let home = run.place().parent().unwrap().to_owned();
    let first = RunFolder::open(&home).unwrap();
    run.replay.own(first.owner().clone());
    run.fill(400);
    let before = files(&run.place());
    run.fill(800);
    assert_ne!(files(&run.place()), before);

    std::fs::remove_file(home.join("lock")).unwrap();
    let _second = RunFolder::open(&home).unwrap();
    let before = files(&run.place());
    run.fill(1600);
    assert_eq!(files(&run.place()), before);
    run.model.check(&run.replay.sample(50, &mut Seed::new(1).generator()).unwrap());
}

#[test]
fn files_of_another_environment_are_left_out() {
    let mut run = Run::new(config(), shape(false), (5, 12), Seed::new(1));
    run.fill(20);
    let saved = run.save();
    let (resumed, lost) = Replay::restore(config(), shape(true), run.place(), &saved).unwrap();
    assert_eq!((lost.segments, resumed.size().episodes), (1, 0));
}

#[test]
fn pruning_deletes_what_no_checkpoint_refers_to() {
    let config = ReplayConfig { max_env_steps: 200, ..config() };
    let mut run = Run::new(config, shape(false), (5, 12), Seed::new(1));
    run.fill(30);
    let old = run.save();
    run.fill(90);
    let new = run.save();
    let names = |saved: &ReplayState| -> Vec<String> {
        saved.segments.iter().map(|segment| segment.name.clone()).collect()
    };
    assert!(names(&old).iter().all(|name| !names(&new).contains(name)), "all is forgotten");
    assert_eq!(prune_segments(&run.place(), &[old.clone(), new.clone()]).unwrap(), 0);
    // Files that a killed process left half-written, or that a checkpoint to come refers to.
    let torn = format!(".{}", names(&old)[0]);
    std::fs::write(run.place().join(&torn), b"half").unwrap();
    let newer = format!("{:012}-{:012}.safetensors", new.next.0, new.next.0 + 9);
    std::fs::write(run.place().join(&newer), b"soon").unwrap();
    std::fs::write(run.place().join("notes.txt"), b"mine").unwrap();
    let deleted = prune_segments(&run.place(), std::slice::from_ref(&new)).unwrap();
    assert_eq!(deleted, old.segments.len() + 1);
    let mut left = names(&new);
    left.extend([newer, "notes.txt".into()]);
    assert_eq!(files(&run.place()), left);
    assert_eq!(prune_segments(Path::new("/nowhere/at/all"), &[new]).unwrap(), 0);
}

#[test]
fn a_replay_on_the_disk_deletes_what_it_forgets_unless_a_checkpoint_may_want_it() {
    let config = ReplayConfig { max_env_steps: 200, storage: Storage::Disk, ..config() };
    let mut run = Run::new(config, shape(false), (5, 12), Seed::new(1));
    run.fill(40);
    let before = files(&run.place());
    assert!(before.len() > 3, "full segments are written at once: {before:?}");
    run.fill(120);
    let after = files(&run.place());
    assert!(after.iter().all(|name| !before.contains(name)), "{before:?} {after:?}");
    let saved = run.save();
    run.fill(200);
    let (resumed, lost) = run.restore(&saved);
    assert_eq!((lost.segments, resumed.size().episodes > 0), (0, true));
}
