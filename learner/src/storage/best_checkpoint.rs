//! Best checkpoint: the weights with the best evaluation so far.
//!
//! ```text
//! checkpoints/best/
//!     weights.safetensors    as published: they describe themselves
//!     evaluation.json        what they came to; checksum; format, as checkpoints have it
//! ```
//!
//! It is for evaluations, not to resume from, and no retention deletes it. It is written as
//! checkpoints are: complete beside its place, then exchanged with the one before, which is
//! `best.old` for a moment. Of equal returns the later one is better: it has learned from more.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use engram_mdp::Score;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::durable::owner::Owner;
use crate::rpc::evaluation_queue::Evaluation;
use crate::storage::checkpoint::{FORMAT, WEIGHTS};
use crate::storage::checkpoint_error::{CheckpointError, disk, torn};
use crate::storage::files::{
    ASIDE, half_written, put_in_place, read_file, read_manifest, remove_half_written, sha256,
};

const EVALUATION: &str = "evaluation.json";

/// Place of one that is being written; behind it stands whose that is.
const BESIDE: &str = "best.new";

/// Best checkpoint of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct BestCheckpoint {
    /// Its evaluation.
    pub evaluation: BestEvaluation,
    /// Its weights.
    pub weights: Bytes,
}

/// Evaluation of a best checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestEvaluation {
    /// Env steps that the weights were learned from.
    pub env_steps: u64,
    /// Updates that made them.
    pub updates: u64,
    /// Their version.
    pub policy_version: u64,
    /// Their score.
    pub score: Score,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BestManifest {
    format: u32,
    evaluation: BestEvaluation,
    sha256: String,
}

impl BestEvaluation {
    /// Evaluation that came to this score.
    pub fn new(evaluation: &Evaluation, score: Score) -> Self {
        let Evaluation { env_steps, updates, ref weights, .. } = *evaluation;
        let policy_version = weights.policy_version;
        BestEvaluation { env_steps, updates, policy_version, score }
    }

    /// True if it is better than another.
    pub fn is_better_than(&self, other: &BestEvaluation) -> bool {
        (self.score.mean_return, self.env_steps) > (other.score.mean_return, other.env_steps)
    }
}

impl BestCheckpoint {
    /// The best checkpoint in a folder of checkpoints, if there is one.
    pub fn read(checkpoints: &Path) -> Result<Option<Self>, CheckpointError> {
        let place = place(checkpoints);
        for folder in [place.clone(), place.with_extension(ASIDE)] {
            match folder.exists().then(|| read(&folder)) {
                None => {}
                Some(Err(lost @ (CheckpointError::Torn { .. } | CheckpointError::Disk { .. }))) => {
                    tracing::warn!("{lost}; without it the next evaluation is the best one")
                }
                Some(best) => return best.map(Some),
            }
        }
        Ok(None)
    }

    /// Writes it into a folder of checkpoints, where it takes the place of the one before.
    pub fn write(&self, checkpoints: &Path) -> Result<(), CheckpointError> {
        self.write_of(checkpoints, None)
    }

    /// The same, of a learner that owned the run's folder. It gets no place once another one does.
    pub(crate) fn write_of(
        &self,
        checkpoints: &Path,
        owner: Option<&Owner>,
    ) -> Result<(), CheckpointError> {
        let place = place(checkpoints);
        let owned = || owner.map_or(Ok(()), Owner::look);
        let (beside, aside) =
            (half_written(checkpoints, BESIDE, owner), place.with_extension(ASIDE));
        owned()?;
        remove_half_written(checkpoints, BESIDE);
        let written = self
            .write_beside(&beside)
            .and_then(|()| Ok(owned()?))
            .and_then(|()| put_in_place(&beside, &place));
        if let Err(error) = written {
            // The half-written folder takes room that a full disk does not have.
            let _ = durable::remove_folder(&beside);
            return Err(error);
        }
        if aside.exists() {
            durable::remove_folder(&aside).map_err(disk("delete", &aside))?;
        }
        Ok(())
    }

    fn write_beside(&self, beside: &Path) -> Result<(), CheckpointError> {
        durable::create_folder(beside).map_err(disk("create", beside))?;
        let path = beside.join(WEIGHTS);
        durable::write(&path, &self.weights).map_err(disk("write", &path))?;
        let (evaluation, sha256) = (self.evaluation.clone(), sha256(&self.weights));
        let manifest = BestManifest { format: FORMAT, evaluation, sha256 };
        let text = serde_json::to_vec_pretty(&manifest).expect("numbers make JSON");
        let path = beside.join(EVALUATION);
        durable::write(&path, &text).map_err(disk("write", &path))?;
        durable::sync(beside).map_err(disk("sync", beside))
    }
}

fn place(checkpoints: &Path) -> PathBuf {
    checkpoints.join("best")
}

fn read(folder: &Path) -> Result<BestCheckpoint, CheckpointError> {
    let manifest: BestManifest = read_manifest(folder, EVALUATION, FORMAT)?;
    let weights = Bytes::from(read_file(folder, WEIGHTS)?);
    if sha256(&weights) != manifest.sha256 {
        return Err(torn(folder, format!("{WEIGHTS} has another checksum than {EVALUATION} says")));
    }
    Ok(BestCheckpoint { evaluation: manifest.evaluation, weights })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn best(env_steps: u64, mean_return: f64) -> BestCheckpoint {
        let score =
            Score { episodes: 9, mean_return, return_std: 0.0, success: None, mean_length: 3.0 };
        let evaluation = BestEvaluation { env_steps, updates: 5, policy_version: 6, score };
        BestCheckpoint { evaluation, weights: vec![env_steps as u8; 9].into() }
    }

    #[test]
    fn the_larger_return_is_better_and_of_equals_the_later_one() {
        let better = |a: (u64, f64), b: (u64, f64)| {
            best(a.0, a.1).evaluation.is_better_than(&best(b.0, b.1).evaluation)
        };
        assert!(better((10, 1.0), (20, 0.5)) && !better((20, 0.5), (10, 1.0)));
        assert!(better((20, 1.0), (10, 1.0)) && !better((10, 1.0), (20, 1.0)));
        assert!(!better((10, 1.0), (10, 1.0)));
    }

    #[test]
    fn a_better_one_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(BestCheckpoint::read(folder.path()).unwrap(), None);
        for best in [best(10, 0.5), best(20, 1.0)] {
            best.write(folder.path()).unwrap();
            assert_eq!(BestCheckpoint::read(folder.path()).unwrap(), Some(best));
        }
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["best"]);
    }

    #[test]
    fn whenever_its_writer_is_killed_one_of_both_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (old, new) = (best(10, 0.5), best(20, 1.0));
        let found = || BestCheckpoint::read(folder.path()).unwrap();
        old.write(folder.path()).unwrap();
        // While the new one is being written,
        fs::create_dir(at("best.new")).unwrap();
        fs::write(at("best.new").join(WEIGHTS), b"half").unwrap();
        assert_eq!(found(), Some(old.clone()));
        // between the two renames,
        fs::rename(at("best"), at("best.old")).unwrap();
        assert_eq!(found(), Some(old.clone()));
        // and before the old one is deleted.
        new.write_beside(&at("best.new")).unwrap();
        fs::rename(at("best.new"), at("best")).unwrap();
        assert_eq!(found(), Some(new.clone()));
        // A disk that lost what it had taken.
        fs::write(at("best").join(WEIGHTS), b"half").unwrap();
        assert_eq!(found(), Some(old));
        new.write(folder.path()).unwrap();
        assert_eq!(found(), Some(new));
        assert!(!at("best.old").exists());
    }

    #[test]
    fn a_learner_that_has_lost_the_folder_while_it_wrote_leaves_the_best_one_of_the_new_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = Owner::claim(folder.path()).unwrap();
        best(10, 0.5).write_of(folder.path(), Some(&first)).unwrap();
        let second = Owner::claim(folder.path()).unwrap();
        let refused = best(20, 1.0).write_of(folder.path(), Some(&first)).unwrap_err();
        assert!(matches!(refused, CheckpointError::Taken(_)), "{refused}");
        assert_eq!(BestCheckpoint::read(folder.path()).unwrap(), Some(best(10, 0.5)));
        best(30, 2.0).write_of(folder.path(), Some(&second)).unwrap();
        assert_eq!(BestCheckpoint::read(folder.path()).unwrap(), Some(best(30, 2.0)));
    }

    /// Both once wrote into `best.new`: the files of one stood beside the checksum of the other.
    #[test]
    fn two_learners_that_write_at_once_do_not_write_into_the_same_folder() {
        let folder = tempfile::tempdir().unwrap();
        let owners = [(); 2].map(|()| Owner::claim(folder.path()).unwrap());
        let [old, new] =
            owners.each_ref().map(|owner| half_written(folder.path(), BESIDE, Some(owner)));
        best(30, 2.0).write_beside(&new).unwrap();
        best(20, 1.0).write_beside(&old).unwrap();
        put_in_place(&new, &place(folder.path())).unwrap();
        assert_eq!(BestCheckpoint::read(folder.path()).unwrap(), Some(best(30, 2.0)));
        best(40, 3.0).write_of(folder.path(), Some(&owners[1])).unwrap();
        assert!(!old.exists(), "what the other one left stays");
    }

    #[test]
    fn one_of_another_format_is_refused_with_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        best(10, 0.5).write(folder.path()).unwrap();
        let manifest = folder.path().join("best").join(EVALUATION);
        let text = fs::read_to_string(&manifest).unwrap();
        let written = format!("\"format\": {FORMAT}");
        assert!(text.contains(&written), "{text}");
        fs::write(&manifest, text.replace(&written, "\"format\": 5, \"more\": 1")).unwrap();
        let error = BestCheckpoint::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("has format 5, this build reads {FORMAT}")), "{error}");
    }
}
