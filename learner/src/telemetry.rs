//! Telemetry: numbers of a run, for people and graphs.
//!
//! [`metrics`] go to Prometheus, told apart by [`metric_labels`]; rows of [`progress_log`] and [`tensorboard`] to the run's folder.
//! [`interval_stats`], [`time_profile`], [`episodes`] and [`counters`] add up their numbers, out of
//! [`update_stats`], [`carry_table_stats`] and [`replay_size`]. [`ranks`] are of what a memory says.

pub mod carry_table_stats;

pub mod counters;

pub mod episodes;

pub mod interval_stats;

pub mod metric_labels;

pub mod metrics;

pub mod progress_log;

pub mod ranks;

pub mod replay_size;

pub mod tensorboard;

pub mod time_profile;

pub mod update_stats;
