//! Question that a comparison answers, from flags or from a sweep's file.

use clap::{Args, ValueEnum};
use serde::Deserialize;

/// Question about runs. In a sweep's file these are the keys of `[plot]`.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Question {
    /// Settings that are compared within a panel, as in seq or run.unroll_length [default: what
    /// differs beside the environment's settings]
    #[arg(long, value_name = "KEY,KEY..", value_delimiter = ',')]
    pub hue: Vec<String>,
    /// Settings that make panels [default: those of the environment that differ]
    #[arg(long, value_name = "KEY,KEY..", value_delimiter = ',')]
    pub panel: Vec<String>,
    /// The x axis of the aggregate plot [default: the only number of the environment that differs,
    /// or the only other one]
    #[arg(long, value_name = "KEY")]
    pub x: Option<String>,
    /// Score of an episode [default: success where all environments can tell]
    #[arg(long, value_enum)]
    pub measure: Option<Measure>,
    /// Episodes of training or greedy ones in between [default: evaluation where all runs have it]
    #[arg(long, value_enum)]
    pub source: Option<EpisodeSource>,
    /// Checkpoint whose greedy episodes at the end are in the table [default: newest]
    #[arg(long, value_enum)]
    pub checkpoint: Option<CheckpointChoice>,
    /// Score that counts as having learned [default: 0.95 of the best, where that is known]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// Average each curve over so many rows [default: 1]
    #[arg(long, value_name = "N")]
    pub smooth: Option<usize>,
    /// Title above the charts [default: the environment's name]
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
}

/// Choice of a run's checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointChoice {
    /// The newest one: what the run has learned.
    #[default]
    Newest,
    /// The one with the best evaluation while training.
    Best,
}

/// Score of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// Its return.
    Return,
    /// 1 if it was solved, else 0.
    Success,
}

/// Episodes that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpisodeSource {
    /// Those of training, with exploration: progress.csv.
    Training,
    /// Greedy ones in between: evaluations.csv.
    Evaluation,
}
