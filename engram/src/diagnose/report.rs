//! Report of all training runs: a table and a chart.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use engram_analysis::chart::{self, Chart, Panel, ReferenceLine, Series, XAxis};
use engram_service::format::number;

use super::model::SequenceModel;
use super::training_run::{ProgressRow, TrainingEnd, TrainingRun, TrainingSettings};

/// Report of all training runs of a command.
pub(crate) struct Report<'a> {
    /// Settings of all runs.
    pub(crate) settings: &'a TrainingSettings,
    /// Each network with its trainings, one per seed.
    pub(crate) trained: Vec<(&'a SequenceModel, Vec<TrainingRun>)>,
}

const HEADER: [&str; 11] = [
    "model",
    "gradient",
    "unroll",
    "seeds",
    "accuracy",
    "whole episodes",
    "chance",
    "frames",
    "seconds",
    "parameters",
    "ended",
];

impl Report<'_> {
    /// Draws accuracy over frames as `accuracy.png` and `accuracy.svg`: one color per model, a pale
    /// line for each training and a full one for their mean.
    pub(crate) fn draw(&self, folder: &Path) -> Result<[PathBuf; 2]> {
        let mut series = Vec::new();
        for (i, (model, runs)) in self.trained.iter().enumerate() {
            let label = Some(match runs.len() {
                1 => model.name.clone(),
                seeds => format!("{}: mean and range of {seeds} seeds", model.name),
            });
            series.push(Series { label, index: i, ..over_seeds(runs) });
        }
        let panel = Panel {
            title: String::new(),
            x_name: "frames".into(),
            x: XAxis::Linear,
            y_name: "accuracy".into(),
            range: Some((0.0, 1.0)),
            series,
            references: vec![ReferenceLine {
                label: "chance".into(),
                y: self.settings.task.chance(),
            }],
        };
        let title = format!("{}, unrolls of {}", self.settings.task.name(), self.settings.unroll);
        let chart = Chart { title, columns: 1, panels: vec![panel], notes: Vec::new() };
        chart::draw(&chart, &folder.join("accuracy"))
    }

    fn cells(&self, model: &SequenceModel, runs: &[TrainingRun]) -> [String; 11] {
        let each = |cell: &dyn Fn(&TrainingRun) -> String| {
            runs.iter().map(cell).collect::<Vec<_>>().join(" ")
        };
        let last = |run: &TrainingRun, number: fn(&ProgressRow) -> f64| {
            run.rows.last().map(number).filter(|number| !number.is_nan())
        };
        let share = |share: Option<f64>| share.map_or("–".into(), |share| format!("{share:.3}"));
        let mean = |number: fn(&ProgressRow) -> f64| {
            let sum = runs.iter().filter_map(|run| last(run, number)).sum::<f64>();
            sum / runs.len() as f64
        };
        let whole = self.settings.unroll == self.settings.task.episode_frames();
        [
            model.name.clone(),
            model.gradient(whole).into(),
            self.settings.unroll.to_string(),
            each(&|run| run.seed.to_string()),
            each(&|run| share(last(run, |row| row.accuracy))),
            each(&|run| share(last(run, |row| row.episode_accuracy))),
            format!("{:.3}", self.settings.task.chance()),
            number(mean(|row| row.frames as f64)),
            format!("{:.0}", mean(|row| row.seconds)),
            runs.first().map_or(0, |run| run.parameters).to_string(),
            each(&|run| run.end.to_string()),
        ]
    }
}

/// The mean accuracy of trainings whose rows fall on the same frames, and the lowest and highest of
/// them. One that has ended before others counts on with its last row.
fn over_seeds(runs: &[TrainingRun]) -> Series {
    let Some(longest) = runs.iter().max_by_key(|run| run.rows.len()) else {
        return Series::default();
    };
    let at = |(i, row): (usize, &ProgressRow)| {
        let rows = runs.iter().filter_map(|run| run.rows.get(i).or(run.rows.last()));
        let accuracies: Vec<f64> = rows.map(|row| row.accuracy).collect();
        let x = row.frames as f64;
        let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
        let low = accuracies.iter().copied().fold(f64::INFINITY, f64::min);
        let high = accuracies.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        ((x, mean), (x, low, high))
    };
    let (points, spread) = longest.rows.iter().enumerate().map(at).unzip();
    Series { points, spread, ..Series::default() }
}

/// A table whose accuracies are those of the last rows, in the order of the seeds, and whose frames
/// and seconds are means over seeds.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = vec![HEADER.map(String::from)];
        table.extend(self.trained.iter().map(|(model, runs)| self.cells(model, runs)));
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..HEADER.len()).filter_map(width).collect();
        for row in &table {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for TrainingEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrainingEnd::Reached => "target",
            TrainingEnd::Budget => "budget",
            TrainingEnd::Diverged => "diverged",
            TrainingEnd::Stopped => "stopped",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engram_policy::Device;

    use super::super::recall::RecallTask;
    use super::super::trainer::Steps;
    use super::*;

    fn run(seed: u64, accuracies: &[f64], end: TrainingEnd) -> TrainingRun {
        let row = |(i, &accuracy): (usize, &f64)| ProgressRow {
            frames: 1_000 * (i as u64 + 1),
            updates: i as u64,
            loss: 1.0,
            accuracy,
            episode_accuracy: f64::NAN,
            seconds: i as f64,
        };
        TrainingRun {
            seed,
            rows: accuracies.iter().enumerate().map(row).collect(),
            end,
            parameters: 9,
        }
    }

    #[test]
    fn the_table_names_seeds_in_order_and_the_chart_every_model_once() {
        let settings = TrainingSettings {
            task: Arc::new(RecallTask { delay: 8, choices: 4 }),
            unroll: 10,
            batch: 2,
            budget: 2_000,
            steps: Steps { learning_rate: 1e-3, max_grad_norm: 1.0 },
            target: None,
            device: Device::Cpu,
        };
        let config = "inputs = [\"observation\"]\n[torso]\nname = \"identity\"\n\
                      [memory]\nname = \"elstm\"\nhidden = 2\ngradient = \"tbptt\"\n\
                      forget_bias = 0.0\n[head]\nhidden = []\nactivation = \"relu\"\n\
                      [head.init]\nhidden = { name = \"fan_in\" }\npolicy = { name = \"fan_in\" }\n\
                      value = { name = \"fan_in\" }\naction_values = { name = \"fan_in\" }\n";
        let model = SequenceModel { name: "mine".into(), config: toml_config(config) };
        let runs =
            vec![run(1, &[0.25, 0.5], TrainingEnd::Budget), run(2, &[0.75], TrainingEnd::Diverged)];
        let report = Report { settings: &settings, trained: vec![(&model, runs)] };
        let table = report.to_string();
        assert_eq!(table.lines().count(), 2);
        let cells: Vec<&str> = table.lines().last().unwrap().split("  ").map(str::trim).collect();
        let cells: Vec<&str> = cells.into_iter().filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells[..5], ["mine", "bptt", "10", "1 2", "0.500 0.750"]);
        assert_eq!(cells[5..], ["– –", "0.250", "1.5k", "0", "9", "budget diverged"]);

        let folder = tempfile::tempdir().unwrap();
        let [png, svg] = report.draw(folder.path()).unwrap();
        assert!(png.exists());
        let svg = std::fs::read_to_string(svg).unwrap();
        assert_eq!(svg.matches("mine: mean and range of 2 seeds").count(), 1);
        assert!(svg.contains("chance") && svg.contains("accuracy") && svg.contains("frames"));
    }

    #[test]
    fn the_mean_counts_on_with_the_last_row_of_a_training_that_has_ended() {
        let runs =
            [run(1, &[0.2, 0.4, 0.6], TrainingEnd::Budget), run(2, &[1.0], TrainingEnd::Reached)];
        let Series { points, spread, .. } = over_seeds(&runs);
        let expected = [(1_000.0, 0.6), (2_000.0, 0.7), (3_000.0, 0.8)];
        let near = |(a, b): (&(f64, f64), &(f64, f64))| a.0 == b.0 && (a.1 - b.1).abs() < 1e-12;
        assert!(points.len() == 3 && points.iter().zip(&expected).all(near), "{points:?}");
        assert_eq!(spread[1], (2_000.0, 0.4, 1.0), "the lowest and the highest");
        let nothing = [run(1, &[], TrainingEnd::Stopped)];
        assert!(over_seeds(&[]).points.is_empty() && over_seeds(&nothing).points.is_empty());
    }

    fn toml_config(text: &str) -> engram_policy::PolicyConfig {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        engram_service::config::part(folder.path(), "seq", &path, &[]).unwrap().1
    }
}
