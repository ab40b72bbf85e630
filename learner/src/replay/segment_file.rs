//! Segment files: sealed segments as safetensors, so that other programs can read them, too.
//!
//! ```text
//! episodes          U64 [E, 3]      decisions, recurrent states and the oldest policy version
//! previous_actions  I32 [R, 1] or F32 [R, A]
//! previous_rewards  F32 [R]
//! log_probs         F32 [R]
//! core_state_rows   U32 [S]         rows, counted within the episode, before which they belong
//! core_states       F32 [S, W]
//! observations      U8 or F32 [R, O..]
//! step_types        U8 [R]          0 First, 1 Mid, 2 Last and terminated, 3 Last and truncated
//! ```
//!
//! The columns of E episodes follow one another in R rows. Larger numbers come first, so that all
//! are aligned where the file is mapped into memory.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;
use engram_mdp::{ActionSpec, Dtype as Observed, EnvSpec, StepType};
use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use super::column::Column;
use super::episode::{EpisodeId, TrajectoryShape};
use super::segment::{EpisodeSpan, FileState, Segment};
use crate::config::replay::Storage;
use crate::durable::{self, NewFile};

/// Name of a segment's file.
pub(super) fn name(first: EpisodeId, last: EpisodeId) -> String {
    format!("{:012}-{:012}.safetensors", first.0, last.0)
}

/// First episode of the segment of that name, which may be half-written.
pub(super) fn first_episode(name: &str) -> Option<EpisodeId> {
    let (first, last) = name.strip_suffix(".safetensors")?.split_once('-')?;
    last.parse::<u64>().ok()?;
    first.strip_prefix('.').unwrap_or(first).parse().ok().map(EpisodeId)
}

/// Writes a segment beside its place in `folder` and renames it. Returns the file's SHA-256.
pub(super) fn write(
    folder: &Path,
    segment: &Segment,
    shape: &TrajectoryShape,
) -> io::Result<String> {
    let name = name(segment.first, segment.last());
    let (place, beside) = (folder.join(&name), folder.join(format!(".{name}")));
    let written = write_columns(&beside, segment, shape).and_then(|sha256| {
        durable::rename(&beside, &place)?;
        Ok(sha256)
    });
    if written.is_err() {
        // The half-written file takes room that a full disk does not have.
        let _ = durable::remove_file(&beside);
    }
    written
}

/// Makes a file outlast a power failure.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    durable::sync(path)
}

/// Reads a segment into memory, or leaves its columns on the disk and maps them. Its first and last
/// episode are known, and so may be its checksum; an error says why the file is not that segment.
pub(super) fn read(
    path: &Path,
    (first, last): (EpisodeId, EpisodeId),
    sha256: Option<&str>,
    shape: &TrajectoryShape,
    storage: Storage,
) -> Result<Segment, String> {
    let map = Arc::new(map(path).map_err(|error| error.to_string())?);
    if let Some(expected) = sha256
        && hex(&Sha256::digest(&map[..])) != expected
    {
        return Err("it has another checksum than the checkpoint says".into());
    }
    let kept = (storage == Storage::Disk).then_some(&map);
    let segment = columns(&map, first, shape, kept)?;
    match Some(segment.next().0) == last.0.checked_add(1) {
        true => Ok(segment),
        false => Err(format!("it holds {} episodes", segment.episodes.len())),
    }
}

/// Maps a file into memory.
#[allow(unsafe_code, reason = "the one place where a file is taken for memory")]
fn map(path: &Path) -> io::Result<Mmap> {
    let file = fs::File::open(path)?;
    // SAFETY: nobody writes to a segment's file once it has its name: it is written beside and
    // renamed, and whoever replaces or deletes it leaves the mapped file as it is. Somebody who
    // writes into the folder of a run by hand can break this, as he can break a checkpoint.
    unsafe { Mmap::map(&file) }
}

/// Name, type, shape and bytes of a column.
type ColumnBytes<'a> = (&'static str, Dtype, Vec<usize>, &'a [u8]);

fn write_columns(path: &Path, segment: &Segment, shape: &TrajectoryShape) -> io::Result<String> {
    let numbers = |episode: &EpisodeSpan| {
        [episode.decisions as u64, episode.states as u64, episode.policy_version]
    };
    let episodes: Vec<u64> = segment.episodes.iter().flat_map(numbers).collect();
    let described = describe(segment, bytemuck::cast_slice(&episodes), shape);
    let (mut header, mut end) = (Map::new(), 0);
    let about =
        json!({ "first_episode": segment.first.to_string(), "environment": shape.spec.name });
    header.insert("__metadata__".into(), about);
    for (name, dtype, shape, bytes) in &described {
        let start = end;
        end += bytes.len();
        let about = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        header.insert((*name).into(), about);
    }
    let mut header = serde_json::to_vec(&header).expect("names and numbers make JSON");
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    let (mut file, mut hash) = (NewFile::create(path)?, Sha256::new());
    let columns = described.iter().map(|(.., bytes)| *bytes);
    for bytes in [&length[..], &header[..]].into_iter().chain(columns) {
        file.append(bytes)?;
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize()))
}

fn describe<'a>(
    segment: &'a Segment,
    episodes: &'a [u8],
    shape: &TrajectoryShape,
) -> Vec<ColumnBytes<'a>> {
    let (rows, spec) = (segment.rows(), &shape.spec);
    let states = segment.state_rows.len();
    let observation = [&[rows], &spec.observation.shape[..]].concat();
    let (observations, actions) = (&segment.observations, &segment.previous_actions);
    vec![
        ("episodes", Dtype::U64, vec![segment.episodes.len(), 3], episodes),
        ("previous_actions", action_dtype(spec), vec![rows, spec.action.len()], actions.bytes()),
        ("previous_rewards", Dtype::F32, vec![rows], segment.previous_rewards.bytes()),
        ("log_probs", Dtype::F32, vec![rows], segment.log_probs.bytes()),
        ("core_state_rows", Dtype::U32, vec![states], segment.state_rows.bytes()),
        ("core_states", Dtype::F32, vec![states, shape.state_width], segment.states.bytes()),
        ("observations", observation_dtype(spec), observation, observations.bytes()),
        ("step_types", Dtype::U8, vec![rows], segment.step_types.bytes()),
    ]
}

fn observation_dtype(spec: &EnvSpec) -> Dtype {
    match spec.observation.dtype {
        Observed::U8 => Dtype::U8,
        Observed::F32 => Dtype::F32,
    }
}

fn action_dtype(spec: &EnvSpec) -> Dtype {
    match spec.action {
        ActionSpec::Discrete { .. } => Dtype::I32,
        ActionSpec::Continuous { .. } => Dtype::F32,
    }
}

/// Reader of a file.
struct SegmentReader<'a> {
    file: &'a [u8],
    /// Offset of the numbers.
    data: usize,
    metadata: Metadata,
    map: Option<&'a Arc<Mmap>>,
}

impl SegmentReader<'_> {
    /// Column of that type in the file; rows of `width` numbers each. Bytes may be numbers of any.
    fn column<T: Pod>(&self, name: &str, dtype: Dtype, width: usize) -> Result<Column<T>, String> {
        let info: &TensorInfo = self.metadata.info(name).ok_or_else(|| format!("no {name}"))?;
        let sides = info.shape.iter().skip(1);
        let found = sides.copied().try_fold(1_usize, usize::checked_mul);
        if info.dtype != dtype || found != Some(width) {
            return Err(format!(
                "{name} are {:?} {:?} of another environment",
                info.dtype, info.shape
            ));
        }
        let (start, end) = info.data_offsets;
        let column = Column::read(self.file, self.data + start..self.data + end, self.map);
        column.ok_or_else(|| format!("{name} lie askew"))
    }
}

fn columns(
    file: &[u8],
    first: EpisodeId,
    shape: &TrajectoryShape,
    map: Option<&Arc<Mmap>>,
) -> Result<Segment, String> {
    let (header, metadata) = SafeTensors::read_metadata(file).map_err(|error| error.to_string())?;
    let reader = SegmentReader { file, data: 8 + header, metadata, map };
    let spec = &shape.spec;
    let (observation, action) = (spec.observation.len(), spec.action.len());
    let known: Column<u64> = reader.column("episodes", Dtype::U64, 3)?;
    let mut segment = Segment {
        first,
        episodes: Vec::with_capacity(known.len() / 3),
        observations: reader.column("observations", observation_dtype(spec), observation)?,
        previous_actions: reader.column("previous_actions", action_dtype(spec), action)?,
        previous_rewards: reader.column("previous_rewards", Dtype::F32, 1)?,
        step_types: reader.column("step_types", Dtype::U8, 1)?,
        log_probs: reader.column("log_probs", Dtype::F32, 1)?,
        state_rows: reader.column("core_state_rows", Dtype::U32, 1)?,
        states: reader.column("core_states", Dtype::F32, shape.state_width)?,
        file: FileState::default(),
    };
    let (mut row, mut state) = (0, 0);
    for numbers in known.chunks_exact(3) {
        let [decisions, states, policy_version] = numbers else { unreachable!("chunks of 3") };
        let (decisions, states) = (*decisions as usize, *states as usize);
        let policy_version = *policy_version;
        segment.episodes.push(EpisodeSpan { row, decisions, state, states, policy_version });
        row = row.saturating_add(decisions).saturating_add(1);
        state = state.saturating_add(states);
    }
    check(&segment, (row, state), shape)?;
    Ok(segment)
}

/// Checks that the episodes are whole: the rest of a replay trusts in it.
fn check(
    segment: &Segment,
    (rows, states): (usize, usize),
    shape: &TrajectoryShape,
) -> Result<(), String> {
    let spec = &shape.spec;
    // What a damaged file says may be any number.
    let lengths = [
        (segment.observations.len(), rows.checked_mul(spec.observation.bytes())),
        (segment.previous_actions.len(), rows.checked_mul(4 * spec.action.len())),
        (segment.previous_rewards.len(), Some(rows)),
        (segment.step_types.len(), Some(rows)),
        (segment.log_probs.len(), Some(rows)),
        (segment.state_rows.len(), Some(states)),
        (segment.states.len(), states.checked_mul(shape.state_width)),
    ];
    if lengths.iter().any(|(found, expected)| Some(*found) != *expected) {
        return Err("its columns are not of the same length".into());
    }
    let is_whole = |episode: &EpisodeSpan| {
        let steps = &segment.step_types[episode.row..episode.row + episode.decisions + 1];
        let (inner, ends) = (&steps[1..steps.len() - 1], (steps[0], steps[steps.len() - 1]));
        let at = segment.state_rows(episode);
        ends.0 == StepType::First.code()
            && inner.iter().all(|&step| step == StepType::Mid.code())
            && StepType::from_code(ends.1).is_some_and(StepType::is_last)
            && at.is_sorted_by(|a, b| a < b)
            && at.last().is_none_or(|&row| (row as usize) < episode.decisions)
    };
    let has_decisions = |episode: &EpisodeSpan| episode.decisions > 0;
    match segment.episodes.iter().all(|episode| has_decisions(episode) && is_whole(episode)) {
        true => Ok(()),
        false => Err("it holds an episode that does not go from First to Last".into()),
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
