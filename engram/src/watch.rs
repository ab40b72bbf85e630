//! A run while it goes on, seen from outside.
//!
//! [`samples`] reads pages of metrics, [`prometheus`] asks a Prometheus; [`glance`] makes of them
//! what one wants to know of a run; the command [`top`] shows that in a terminal.

pub(crate) mod samples;

mod prometheus;

mod glance;

pub(crate) mod top;
