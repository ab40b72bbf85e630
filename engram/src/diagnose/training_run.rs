//! Training run of one network: rows of progress, and the end.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use engram_mdp::Seed;
use engram_policy::{Device, PolicyConfig};
use engram_service::Shutdown;
use engram_service::progress::{Progress, ProgressLine};

use super::streams::{TaskStreams, Unroll};
use super::task::Task;
use super::trainer::{Learned, Steps, Trainer};

/// Rows of a training that uses its whole budget.
const ROWS: u64 = 100;

/// A training stops early once this many rows in a row have reached the target.
const ROWS_AT_TARGET: usize = 3;

/// Settings that all training runs of a command share.
#[derive(Clone, Debug)]
pub(crate) struct TrainingSettings {
    /// The task.
    pub(crate) task: Arc<dyn Task>,
    /// T: frames of an unroll.
    pub(crate) unroll: usize,
    /// B: streams.
    pub(crate) batch: usize,
    /// Frames of all streams together.
    pub(crate) budget: u64,
    /// Step size and clipping.
    pub(crate) steps: Steps,
    /// The accuracy that is enough.
    pub(crate) target: Option<f64>,
    /// Device of the network.
    pub(crate) device: Device,
}

/// One row of `progress.csv`. Questions are answered before they are learned from, and none comes
/// twice, so these are accuracies on what was not seen before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ProgressRow {
    /// Frames read so far, of all streams together.
    pub(crate) frames: u64,
    /// Optimizer steps so far.
    pub(crate) updates: u64,
    /// Mean cross-entropy since the last row.
    pub(crate) loss: f64,
    /// Share of questions answered rightly since the last row.
    pub(crate) accuracy: f64,
    /// Share of episodes that have ended since the last row in which every answer was right; NaN
    /// where none has.
    pub(crate) episode_accuracy: f64,
    /// Since the training began.
    pub(crate) seconds: f64,
}

/// End of a training run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrainingEnd {
    /// It reached the target.
    Reached,
    /// It used its budget.
    Budget,
    /// The loss was no number any more.
    Diverged,
    /// Somebody stopped it.
    Stopped,
}

/// Training run that has ended.
#[derive(Clone, Debug)]
pub(crate) struct TrainingRun {
    /// The experiment's seed.
    pub(crate) seed: u64,
    /// Empty where it was stopped before anything was asked.
    pub(crate) rows: Vec<ProgressRow>,
    /// Why there are no more rows.
    pub(crate) end: TrainingEnd,
    /// Numbers that learned.
    pub(crate) parameters: usize,
}

/// Counts since the last row.
#[derive(Default)]
struct Count {
    updates: u64,
    loss: f64,
    questions: u64,
    right: u64,
    episodes: u64,
    episodes_right: u64,
}

/// For each stream's episode in progress: asked anything, and all right so far.
struct Flawless(Vec<(bool, bool)>);

/// Trains one network, and leaves `progress.csv` in `folder`.
pub(crate) fn train(
    settings: &TrainingSettings,
    config: &PolicyConfig,
    seed: u64,
    folder: &Path,
    progress: &mut Progress,
    shutdown: &Shutdown,
) -> Result<TrainingRun> {
    let root = Seed::new(seed);
    let mut streams = TaskStreams::new(&settings.task, settings.batch, root.derive("task", 0));
    let (spec, device) = (settings.task.spec(), settings.device.ready()?);
    let weights = root.derive("weights", 0);
    let mut trainer = Trainer::new(config, &spec, settings.batch, settings.steps, weights, device)?;
    let mut file = ProgressFile::create(folder)?;
    let mut flawless = Flawless::new(settings.batch);
    let (mut rows, mut count) = (Vec::new(), Count::default());
    let (mut frames, mut updates) = (0, 0);
    let (started, mut next_row) = (Instant::now(), settings.budget.div_ceil(ROWS));
    let end = loop {
        if shutdown.is_triggered() {
            break TrainingEnd::Stopped;
        }
        let unroll = streams.next(settings.unroll);
        frames += (settings.unroll * settings.batch) as u64;
        match trainer.read(&unroll)? {
            Err(_) => break TrainingEnd::Diverged,
            Ok(None) => flawless.follow(&unroll, &[], &mut count),
            Ok(Some(learned)) => {
                updates += 1;
                count.add(&learned);
                flawless.follow(&unroll, &learned.right, &mut count);
            }
        }
        let finished = frames >= settings.budget;
        // What is left after the last whole row would be a row of few questions, which says little.
        let only_row = finished && rows.is_empty();
        if count.questions > 0 && (only_row || frames >= next_row) {
            next_row = frames + settings.budget.div_ceil(ROWS);
            let row = std::mem::take(&mut count).row(frames, updates, started);
            file.add(&row)?;
            rows.push(row);
            progress.update(&line(settings, &row));
            if settings.target.is_some_and(|target| has_reached(&rows, target)) {
                break TrainingEnd::Reached;
            }
        }
        if finished {
            break TrainingEnd::Budget;
        }
    };
    Ok(TrainingRun { seed, rows, end, parameters: trainer.parameters() })
}

/// Line of progress after `row`.
pub(crate) fn line(settings: &TrainingSettings, row: &ProgressRow) -> ProgressLine {
    ProgressLine {
        env_steps: row.frames,
        budget: settings.budget,
        steps_per_second: row.frames as f64 / row.seconds.max(1e-9),
        episodes: 0,
        mean_return: None,
        return_of_100: None,
        success: Some(row.accuracy as f32),
        updates: row.updates,
        policy_lag: 0.0,
    }
}

fn has_reached(rows: &[ProgressRow], target: f64) -> bool {
    let latest = rows.len().checked_sub(ROWS_AT_TARGET).map(|first| &rows[first..]);
    latest.is_some_and(|latest| latest.iter().all(|row| row.accuracy >= target))
}

impl Count {
    fn add(&mut self, learned: &Learned) {
        self.updates += 1;
        self.loss += learned.loss;
        self.questions += learned.right.len() as u64;
        self.right += learned.right.iter().filter(|&&right| right).count() as u64;
    }

    fn row(self, frames: u64, updates: u64, started: Instant) -> ProgressRow {
        ProgressRow {
            frames,
            updates,
            loss: self.loss / self.updates as f64,
            accuracy: self.right as f64 / self.questions as f64,
            episode_accuracy: self.episodes_right as f64 / self.episodes as f64,
            seconds: started.elapsed().as_secs_f64(),
        }
    }
}

impl Flawless {
    fn new(batch: usize) -> Self {
        Flawless(vec![(false, true); batch])
    }

    /// Goes through an unroll whose questions were answered `right` or not, in the order of
    /// `[T B]`; counts the episodes that have ended.
    fn follow(&mut self, unroll: &Unroll, right: &[bool], count: &mut Count) {
        let mut right = right.iter();
        for (time, answers) in unroll.answers.chunks(unroll.batch).enumerate() {
            for ((asked, flawless), answer) in self.0.iter_mut().zip(answers) {
                if unroll.begins[time] {
                    count.episodes += u64::from(*asked);
                    count.episodes_right += u64::from(*asked && *flawless);
                    (*asked, *flawless) = (false, true);
                }
                if answer.is_some() {
                    *asked = true;
                    *flawless &= right.next().expect("every question was answered");
                }
            }
        }
    }
}

/// `progress.csv`.
struct ProgressFile(csv::Writer<std::fs::File>);

impl ProgressFile {
    fn create(folder: &Path) -> Result<Self> {
        let path = folder.join("progress.csv");
        let cannot = || format!("cannot write {}", path.display());
        std::fs::create_dir_all(folder).with_context(cannot)?;
        let mut writer = csv::Writer::from_path(&path).with_context(cannot)?;
        let names = ["frames", "updates", "loss", "accuracy", "episode_accuracy", "seconds"];
        writer.write_record(names)?;
        Ok(ProgressFile(writer))
    }

    fn add(&mut self, row: &ProgressRow) -> Result<()> {
        // As elsewhere, what is not known is left empty.
        let known = |number: f64| match number.is_nan() {
            true => String::new(),
            false => format!("{number:.6}"),
        };
        self.0.write_record([
            row.frames.to_string(),
            row.updates.to_string(),
            known(row.loss),
            known(row.accuracy),
            known(row.episode_accuracy),
            format!("{:.3}", row.seconds),
        ])?;
        Ok(self.0.flush()?)
    }
}
