//! Weights to many inference servers: what sending them costs the learner's updates.
//!
//! The real learner trains a wide network from a replay, and publishes after every update. One real
//! inference server and one real actor keep it going. This process subscribes many times more, as so
//! many inference servers would, over one network link whose rate they share; in turns it does and does not.
//!
//! All but the learner would run on other machines, and do so in part: they get the processor time that it
//! leaves. What the kernel does for their connections comes out of the learner's time nevertheless.

mod receiver;

use std::time::Instant;

use anyhow::{Result, ensure};
use engram_analysis::statistics::median;
use engram_service::Shutdown;
use receiver::Receivers;

use super::programs::{Fleet, Role, Transport};
use crate::compute::Compute;
use crate::experiment::Experiment;

/// Keys that are set in the experiment, before those of the command line: 25 million weights, of
/// which every update makes a version.
pub(super) const SET: [&str; 7] = [
    "seq.torso.hidden=[5000, 5000]",
    "rl.publish_updates=1",
    "rl.batch_size=8",
    "rl.rate_limiter.updates_per_env_step=4.0",
    "rl.rate_limiter.slack_env_steps=1000",
    "run.envs_per_actor=1",
    "run.checkpoint_seconds=86400.0",
];

/// Numbers of subscribers where none are given.
pub(super) const SERVERS: [u32; 2] = [4, 16];

/// Settings of the measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct BroadcastSettings<'a> {
    /// Numbers of subscribers.
    pub(super) servers: &'a [u32],
    /// The link that all subscribers share, in Gbit/s.
    pub(super) link: f64,
    pub(super) rounds: u32,
    /// Of each measurement.
    pub(super) seconds: f64,
}

/// Numbers of the learner at one moment.
#[derive(Clone, Copy, Debug)]
struct BroadcastMoment {
    time: Instant,
    updates: f64,
    versions: f64,
    publishing: f64,
    processor: f64,
}

/// Rates between two moments.
#[derive(Clone, Copy, Debug)]
struct BroadcastRates {
    updates: f64,
    versions: f64,
    /// Share of its time that the thread that learns gives to publishing.
    publishing: f64,
    /// Cores that the learner's process keeps busy.
    processor: f64,
}

/// Measures with every number of subscribers and without, in turns, and prints a table.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(
    experiment: &Experiment,
    BroadcastSettings { servers, link, rounds, seconds }: BroadcastSettings<'_>,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<()> {
    ensure!(link > 0.0, "--link is {link}; say how many Gbit/s, as in 2.5");
    let mut fleet = Fleet::start(experiment, Transport::Tcp, 1, compute, shutdown)?;
    fleet.prefer_learner()?;
    let updates = |fleet: &Fleet| fleet.metric(Role::Learner, "engram_learner_updates_total");
    fleet.wait("updates", |fleet| Ok(updates(fleet) > 0.0))?;
    let page = fleet.page(Role::Learner);
    let size = page.sum("engram_weights_bytes_total") / page.sum("engram_weights_published_total");
    println!(
        "weights of {:.0} MB, a link of {link} Gbit/s; medians of {rounds} rounds, of {seconds} s each\n",
        size / 1e6,
    );
    println!(
        "{:>8} {:>10} {:>11} {:>9} {:>11} {:>9} {:>9}",
        "servers", "updates/s", "versions/s", "MB/s sent", "publishing", "learner's", "updates,"
    );
    println!(
        "{:>8} {:>10} {:>11} {:>9} {:>11} {:>9} {:>9}",
        "", "", "", "", "of thread", "cores", "ratio"
    );
    for &count in servers {
        let rate = link * 1e9 / 8.0 / f64::from(count);
        let (mut alone, mut beside, mut ratios, mut sent) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rounds {
            let without = rates(&mut fleet, seconds)?;
            let mut subscribers = Receivers::start(count, &fleet.address(Role::Learner)?, rate)?;
            let first = subscribers.received();
            fleet.wait("weights", |_| Ok(subscribers.received() > first))?;
            let before = subscribers.received();
            let with = rates(&mut fleet, seconds)?;
            sent.push((subscribers.received() - before) as f64 / seconds / 1e6);
            subscribers.check()?;
            ratios.push(with.updates / without.updates);
            alone.push(without);
            beside.push(with);
        }
        row(0, &alone, 0.0, 1.0);
        row(count, &beside, middle(&sent), middle(&ratios));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is a row of the command's answer")]
fn row(servers: u32, rates: &[BroadcastRates], sent: f64, ratio: f64) {
    let of = |what: fn(&BroadcastRates) -> f64| middle(&rates.iter().map(what).collect::<Vec<_>>());
    println!(
        "{servers:>8} {:>10.2} {:>11.2} {sent:>9.0} {:>10.1}% {:>9.2} {ratio:>9.2}",
        of(|rates| rates.updates),
        of(|rates| rates.versions),
        100.0 * of(|rates| rates.publishing),
        of(|rates| rates.processor),
    );
}

fn middle(values: &[f64]) -> f64 {
    median(values).expect("there is at least one round")
}

fn rates(fleet: &mut Fleet, seconds: f64) -> Result<BroadcastRates> {
    let from = moment(fleet);
    fleet.run_for(seconds)?;
    let to = moment(fleet);
    let time = (to.time - from.time).as_secs_f64();
    Ok(BroadcastRates {
        updates: (to.updates - from.updates) / time,
        versions: (to.versions - from.versions) / time,
        publishing: (to.publishing - from.publishing) / time,
        processor: (to.processor - from.processor) / time,
    })
}

fn moment(fleet: &Fleet) -> BroadcastMoment {
    let page = fleet.page(Role::Learner);
    let publishing = page.samples.iter().filter(|sample| {
        sample.name == "engram_learner_update_seconds_sum"
            && sample.label("phase") == Some("publish")
    });
    BroadcastMoment {
        time: Instant::now(),
        updates: page.sum("engram_learner_updates_total"),
        versions: page.sum("engram_weights_published_total"),
        publishing: publishing.map(|sample| sample.value).sum(),
        processor: page.sum("process_cpu_seconds_total"),
    }
}
