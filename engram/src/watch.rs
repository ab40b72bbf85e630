//! A run while it goes on, seen from outside.
//!
//! [`samples`] reads pages of metrics, [`prometheus`] asks a Prometheus; [`glance`] makes of them
//! what one wants to know of a run. The commands are [`top`], which shows that in a terminal, and
//! [`dashboard`], which draws Grafana's dashboard as a picture.

pub(crate) mod samples;

mod prometheus;

mod glance;

pub(crate) mod top;

pub(crate) mod dashboard;
