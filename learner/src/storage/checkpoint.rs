//! Checkpoints: folders that are either complete or recognized as torn.
//!
//! ```text
//! checkpoints/000000010000/          named by updates
//!     weights.safetensors            as published: they describe themselves
//!     optimizer.safetensors
//!     carry_table.safetensors        carries of the streams, if any
//!     state.json                     counters, generators, positions of streams; checksums
//! replay/…                           segments of the replay, if there is one; see `replay`
//! ```
//!
//! One is written beside its place, synced to the disk, and renamed, so a process killed at any
//! moment leaves the earlier ones whole. Where one of the same update stands in its place already
//! (a replay fills before the first update), the two are exchanged; that one is `….old` then, is
//! found there, and is deleted when the new one is on the disk. Bytes are made by whoever owns the tensors; the
//! disk is waited for on a thread of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use engram_mdp::{EnvSpec, Generator};
use engram_service::Resolved;
use engram_service::config::{SettingClass, differences};
use serde::{Deserialize, Serialize};

use crate::batches::carry_table::SavedStream;
use crate::durable;
use crate::durable::owner::Owner;
use crate::replay;
use crate::replay::rate_limiter::RateLimiterCounts;
use crate::rpc::membership::SavedMembership;
use crate::storage::checkpoint_error::{CheckpointError, disk, torn};
use crate::storage::files::{
    half_written, is_aside, put_in_place, read_file, read_manifest, remove_half_written, sha256,
};
use crate::telemetry::counters::Counters;
use crate::telemetry::episodes::Episodes;

/// Format of a checkpoint. It changes whenever one build would misread what another wrote.
pub const FORMAT: u32 = 7;

/// File of the policy in a checkpoint.
pub(crate) const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const CARRY_TABLE: &str = "carry_table.safetensors";
const STATE: &str = "state.json";

/// Place of a checkpoint that is being written; behind it stands whose that is.
const BESIDE: &str = ".new";

/// Checkpoint: everything that a killed run needs to go on as if nothing had happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Everything that is not a tensor.
    pub state: CheckpointState,
    /// The policy, as published.
    pub weights: Bytes,
    /// State of the optimizer, as safetensors.
    pub optimizer: Bytes,
    /// Carries of the streams that `state` lists, as safetensors.
    pub carry_table: Bytes,
}

/// State of a run: everything that is not a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointState {
    /// The run.
    pub run_id: String,
    /// Its resolved configuration, as TOML.
    pub config: String,
    /// Its environment.
    pub spec: EnvSpec,
    /// Its counters.
    pub counters: Counters,
    /// Every generator that the learner draws from, by name: the replay's. On-policy training
    /// draws nothing here: its data comes in the order in which actors send it.
    pub generators: BTreeMap<String, Generator>,
    /// Actors, and the position of every stream of trajectories.
    pub membership: SavedMembership,
    /// Streams of the carry table, in the order of its rows.
    pub carry_table: Vec<SavedStream>,
    /// The replay, where something is learned from one. Its segments are files beside the
    /// checkpoints, for they outlast many of them.
    pub replay: Option<replay::ReplayState>,
    /// Counts of the rate limiter, where something is learned from a replay.
    pub rate_limiter: Option<RateLimiterCounts>,
    /// Episodes so far.
    pub episodes: Episodes,
}

/// Mark: how far a run is. Checkpoints of a run that agree in it hold the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Updates, those that were skipped too.
    pub attempts: u64,
    /// Env steps that were learned from.
    pub env_steps: u64,
    /// Env steps that have entered the replay.
    pub inserted: u64,
}

impl Mark {
    /// Mark of a run by its counters, and by those of its replay, if it has one.
    pub fn of(counters: &Counters, replay: Option<RateLimiterCounts>) -> Self {
        let attempts = counters.updates + counters.non_finite_updates;
        let inserted = replay.map_or(0, |counts| counts.inserted());
        Mark { attempts, env_steps: counters.env_steps, inserted }
    }
}

/// Folder of a run's checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
    kept: usize,
    /// Owner of the run's folder, where it has one.
    owner: Option<Owner>,
}

/// `state.json`: the state, and what proves that the rest is whole.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    sha256: BTreeMap<String, String>,
    state: CheckpointState,
}

impl CheckpointStore {
    /// Checkpoints in `folder`, of which the newest `kept` stay.
    pub fn new(folder: PathBuf, kept: usize) -> Self {
        assert!(kept > 0, "the newest checkpoint always stays");
        CheckpointStore { folder, kept, owner: None }
    }

    /// The same, of a learner that owns the run's folder. It writes nothing once another one does.
    pub fn owned_by(self, owner: Owner) -> Self {
        CheckpointStore { owner: Some(owner), ..self }
    }

    /// Looks whether the run's folder still has the same owner.
    pub(crate) fn look(&self) -> Result<(), CheckpointError> {
        Ok(self.owner.as_ref().map_or(Ok(()), Owner::look)?)
    }

    /// Newest complete checkpoint and its path; torn ones, and those that the disk does not give
    /// out, are skipped with a warning. Where it gives out none of those that there are, this is an
    /// error, since a run must not begin anew above them.
    pub fn newest(&self) -> Result<Option<(PathBuf, Checkpoint)>, CheckpointError> {
        let mut unreadable = None;
        for path in self.all()?.into_iter().rev() {
            match read(&path) {
                Ok(checkpoint) => return Ok(Some((path, checkpoint))),
                Err(torn @ CheckpointError::Torn { .. }) => {
                    tracing::warn!("{torn}; an older one is tried");
                }
                Err(error @ CheckpointError::Disk { .. }) => {
                    tracing::warn!("{error}; an older checkpoint is tried");
                    unreadable.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        unreadable.map_or(Ok(None), Err)
    }

    /// Writes a checkpoint and returns its directory; older ones beyond the number kept go.
    pub fn write(&self, checkpoint: &Checkpoint) -> Result<PathBuf, CheckpointError> {
        let name = format!("{:012}", checkpoint.state.counters.updates);
        let place = self.folder.join(name);
        let beside = half_written(&self.folder, BESIDE, self.owner.as_ref());
        self.look()?;
        remove_half_written(&self.folder, BESIDE);
        let written = write_beside(&beside, checkpoint)
            .and_then(|()| self.look())
            .and_then(|()| put_in_place(&beside, &place));
        if let Err(error) = written {
            // The half-written directory takes room that a full disk does not have.
            let _ = durable::remove_folder(&beside);
            return Err(error);
        }
        self.prune(&place);
        Ok(place)
    }

    /// Replays of all complete checkpoints.
    pub fn replays(&self) -> Result<Vec<replay::ReplayState>, CheckpointError> {
        let manifest = |path: PathBuf| read_manifest::<Manifest>(&path, STATE, FORMAT).ok();
        let states = self.all()?.into_iter().filter_map(manifest);
        Ok(states.filter_map(|manifest| manifest.state.replay).collect())
    }

    /// Every checkpoint, the oldest first, complete or not.
    fn all(&self) -> Result<Vec<PathBuf>, CheckpointError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(disk("list", &self.folder)(error)),
        };
        let mut all: Vec<((u64, bool), PathBuf)> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_none() || is_aside(path))
            .filter_map(|path| {
                let update = path.file_stem()?.to_str()?.parse().ok()?;
                Some(((update, !is_aside(&path)), path))
            })
            .collect();
        all.sort_unstable();
        Ok(all.into_iter().map(|(_, path)| path).collect())
    }

    /// Deletes what is older than the newest `kept` up to `newest`, and all whose places were
    /// taken. What sorts after it was torn when the run was resumed, and is replaced when the run
    /// gets there again.
    fn prune(&self, newest: &Path) {
        let all = self.all().unwrap_or_default().into_iter();
        let (aside, all): (Vec<_>, Vec<_>) = all.partition(|path| is_aside(path));
        let until = all.iter().position(|path| path == newest).map_or(0, |at| at + 1);
        let old = &all[..until.saturating_sub(self.kept)];
        for path in aside.iter().chain(old) {
            if let Err(error) = durable::remove_folder(path) {
                tracing::warn!(path = %path.display(), %error, "an old checkpoint stays");
            }
        }
    }
}

impl CheckpointState {
    /// Mark of the run, as it was.
    pub fn mark(&self) -> Mark {
        Mark::of(&self.counters, self.rate_limiter)
    }

    /// Refuses another experiment. What only says how long or how often may differ: such a run
    /// may be prolonged.
    pub fn check_config(&self, path: &Path, config: &Resolved) -> Result<(), CheckpointError> {
        let stored = Resolved::from_toml(&self.config).map_err(|error| torn(path, error))?;
        let fixed = |key: &str| !SettingClass::of(key).may_change_on_resume();
        let differences = differences(&stored.to_table(), &config.to_table()).into_iter();
        let differences: Vec<String> = differences
            .filter(|difference| fixed(&difference.key))
            .map(|difference| difference.to_string())
            .collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(CheckpointError::Config { path: path.into(), differences })
    }
}

fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let manifest = read_manifest::<Manifest>(path, STATE, FORMAT)?;
    let whole = |name: &str| {
        let bytes = read_file(path, name)?;
        match manifest.sha256.get(name) {
            Some(expected) if *expected == sha256(&bytes) => Ok(Bytes::from(bytes)),
            _ => Err(torn(path, format!("{name} has another checksum than state.json says"))),
        }
    };
    let (weights, optimizer) = (whole(WEIGHTS)?, whole(OPTIMIZER)?);
    let carry_table = match manifest.state.carry_table.is_empty() {
        true => Bytes::new(),
        false => whole(CARRY_TABLE)?,
    };
    Ok(Checkpoint { state: manifest.state, weights, optimizer, carry_table })
}

fn write_beside(beside: &Path, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    durable::create_folder(beside).map_err(disk("create", beside))?;
    let mut tensors = vec![(WEIGHTS, &checkpoint.weights), (OPTIMIZER, &checkpoint.optimizer)];
    if !checkpoint.state.carry_table.is_empty() {
        tensors.push((CARRY_TABLE, &checkpoint.carry_table));
    }
    for (name, bytes) in &tensors {
        let path = beside.join(name);
        durable::write(&path, bytes).map_err(disk("write", &path))?;
    }
    let manifest = Manifest {
        format: FORMAT,
        sha256: tensors.iter().map(|(name, bytes)| ((*name).into(), sha256(bytes))).collect(),
        state: checkpoint.state.clone(),
    };
    let text = serde_json::to_vec_pretty(&manifest).expect("numbers and strings make JSON");
    let path = beside.join(STATE);
    durable::write(&path, &text).map_err(disk("write", &path))?;
    durable::sync(beside).map_err(disk("sync", beside))
}
