//! Status of a run at a glance, from two snapshots of its metrics.
//!
//! The shares of time at work and what limits a run are those of `deploy/prometheus/rules.yml`.

use super::bottleneck::Bottleneck;
use super::samples::{Between, Page, Snapshot};

/// Status of a run. Values that no process shows are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RunStatus {
    /// Its name, and its environment, algorithm and sequence model.
    pub(crate) run: Option<(String, String)>,
    pub(crate) env_steps: Option<f64>,
    pub(crate) budget: Option<f64>,
    pub(crate) episode_return: Option<f64>,
    pub(crate) success: Option<f64>,
    pub(crate) rates: Rates,
    pub(crate) work: BusyShares,
    pub(crate) bottleneck: Option<Bottleneck>,
    pub(crate) actors: Option<f64>,
    pub(crate) groups: Option<f64>,
    pub(crate) slots: Option<f64>,
    pub(crate) queue_depth: Option<f64>,
    pub(crate) unacknowledged: Option<f64>,
    pub(crate) inference: InferenceStats,
    pub(crate) policy: PolicyVersions,
    pub(crate) replay: Option<ReplayStats>,
    pub(crate) checkpoint_age: Option<f64>,
    pub(crate) checkpoint_interval: Option<f64>,
    /// Troubles since the processes began.
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) processes: Vec<ProcessStatus>,
    /// Addresses that did not answer, and the error of each.
    pub(crate) silent: Vec<(String, String)>,
}

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) acted: Option<f64>,
    pub(crate) learned: Option<f64>,
    pub(crate) updates: Option<f64>,
    pub(crate) published: Option<f64>,
    pub(crate) episodes: Option<f64>,
}

/// Shares of time at work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BusyShares {
    pub(crate) learner: Option<f64>,
    pub(crate) inference: Option<f64>,
    pub(crate) actors: Option<f64>,
    /// Share of time for which the rate limiter holds actors back.
    pub(crate) held: Option<f64>,
    /// Share of the time of groups for which they wait for the learner.
    pub(crate) waiting: Option<f64>,
}

/// Batches, and how long requests take: the median and 99 of 100, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct InferenceStats {
    pub(crate) batch_size: Option<f64>,
    pub(crate) queue_seconds: Option<(f64, f64)>,
    pub(crate) forward_seconds: Option<(f64, f64)>,
}

/// Versions of the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PolicyVersions {
    pub(crate) published: Option<f64>,
    pub(crate) acting: Option<f64>,
    pub(crate) mean_lag: Option<f64>,
    pub(crate) lag_95: Option<f64>,
}

/// Size of the replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ReplayStats {
    pub(crate) episodes: f64,
    pub(crate) env_steps: f64,
    pub(crate) bytes: f64,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) what: String,
    /// Number of occurrences.
    pub(crate) times: f64,
    /// True if it occurred between the two moments.
    pub(crate) is_new: bool,
}

/// One process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProcessStatus {
    pub(crate) role: &'static str,
    pub(crate) at: String,
    pub(crate) resident_bytes: Option<f64>,
    pub(crate) cores: Option<f64>,
    pub(crate) threads: Option<f64>,
}

/// Phases of an update that are the learner's own time: assembling goes on beside them.
const PHASES: [&str; 5] = ["forward", "backward", "optimizer", "publish", "checkpoint"];

/// Troubles: name, metric, and the label with the detail.
const TROUBLES: [(&str, &str, Option<&str>); 11] = [
    ("trajectories dropped", "engram_trajectories_dropped_total", Some("reason")),
    ("updates not finite", "engram_non_finite_updates_total", None),
    ("checkpoints failed", "engram_checkpoint_failures_total", None),
    ("weights refused", "engram_weights_refused_total", None),
    ("connections refused", "engram_connections_refused_total", Some("reason")),
    ("reconnects to the", "engram_actor_reconnects_total", Some("peer")),
    ("groups interrupted", "engram_actor_interruptions_total", None),
    ("episodes broken", "engram_actor_broken_episodes_total", None),
    ("gaps in streams", "engram_stream_gaps_total", None),
    ("streams begun anew", "engram_stream_restarts_total", None),
    ("episodes unreported", "engram_actor_episodes_unreported_total", None),
];

impl RunStatus {
    /// The status at the later of two moments.
    pub(crate) fn new(between: Between<'_>) -> RunStatus {
        let now = between.now;
        let work = BusyShares::new(between);
        let written = now.max("engram_checkpoint_last_success_timestamp_seconds", None);
        RunStatus {
            run: run(now),
            env_steps: now.max("engram_run_env_steps", None),
            budget: now.max("engram_run_budget_env_steps", None),
            episode_return: now.max("engram_learner_episode_return", None),
            success: now.max("engram_learner_episode_success", None),
            rates: Rates::new(between),
            work,
            bottleneck: work.bottleneck(),
            actors: now.sum("engram_actors"),
            groups: now.sum("engram_inference_streams"),
            slots: now.sum("engram_inference_slots"),
            queue_depth: now.max("engram_queue_depth", None),
            unacknowledged: now.sum("engram_actor_unacknowledged"),
            inference: InferenceStats::new(between),
            policy: PolicyVersions::new(between),
            replay: replay(now),
            checkpoint_age: written.filter(|at| *at > 0.0).map(|at| (now.seconds - at).max(0.0)),
            checkpoint_interval: now.max("engram_checkpoint_interval_seconds", None),
            troubles: troubles(between),
            processes: now.pages.iter().map(|page| ProcessStatus::new(page, between)).collect(),
            silent: now.silent.clone(),
        }
    }
}

impl Rates {
    fn new(between: Between<'_>) -> Self {
        let rate = |name| between.rate(name, None);
        Rates {
            acted: rate("engram_env_steps_total"),
            learned: rate("engram_learner_env_steps_total"),
            updates: rate("engram_learner_updates_total"),
            published: rate("engram_weights_published_total"),
            episodes: rate("engram_learner_episodes_total"),
        }
    }
}

impl BusyShares {
    fn new(between: Between<'_>) -> Self {
        let update = "engram_learner_update_seconds_sum";
        let phases = PHASES.map(|phase| between.rate(update, Some(("phase", phase))));
        let phases = phases.into_iter().flatten().reduce(|a, b| a + b);
        let share = |work: Option<f64>, workers: f64| {
            work.filter(|_| workers > 0.0).map(|work| work / workers)
        };
        let learners = between.now.processes("engram_actors") as f64;
        let servers = between.now.processes("engram_inference_streams") as f64;
        let actors = between.now.sum("engram_actors").unwrap_or(0.0);
        let forward = between.rate("engram_inference_forward_seconds_sum", None);
        let groups = between.now.sum("engram_inference_streams").unwrap_or(0.0);
        let wait = "engram_actor_wait_seconds_sum";
        let limiter = "engram_rate_limiter_wait_seconds_total";
        BusyShares {
            learner: share(phases, learners),
            inference: share(forward, servers),
            actors: share(between.rate("engram_actor_busy_seconds_total", None), actors),
            held: between.rate(limiter, Some(("side", "insertions"))),
            waiting: share(between.rate(wait, Some(("on", "learner"))), groups),
        }
    }

    /// A learner at work for less than half of its time waits: for whoever has less rest, unless
    /// actors wait for it meanwhile, and longer than these work.
    fn bottleneck(&self) -> Option<Bottleneck> {
        Some(match (self.learner?, self.inference, self.actors) {
            (..0.005, _, _) => Bottleneck::Nothing,
            _ if self.held.is_some_and(|share| share > 0.5) => Bottleneck::RateLimiter,
            (0.5.., _, _) => Bottleneck::Learner,
            (_, inference, actors) => {
                let (inference, actors) = (inference?, actors?);
                match self.waiting {
                    Some(share) if share > inference.max(actors) => Bottleneck::WaitForLearner,
                    _ if inference >= actors => Bottleneck::Inference,
                    _ => Bottleneck::Actors,
                }
            }
        })
    }
}

impl InferenceStats {
    fn new(between: Between<'_>) -> Self {
        let both = |name| Some((between.quantile(name, 0.5)?, between.quantile(name, 0.99)?));
        InferenceStats {
            batch_size: between.mean("engram_inference_batch_size"),
            queue_seconds: both("engram_inference_queue_seconds"),
            forward_seconds: both("engram_inference_forward_seconds"),
        }
    }
}

impl PolicyVersions {
    fn new(between: Between<'_>) -> Self {
        let version = |role| between.now.max("engram_policy_version", Some(("role", role)));
        PolicyVersions {
            published: version("learner"),
            acting: version("inference"),
            mean_lag: between.mean("engram_policy_lag"),
            lag_95: between.quantile("engram_policy_lag", 0.95),
        }
    }
}

impl ProcessStatus {
    fn new(page: &Page, between: Between<'_>) -> Self {
        let of = |snapshot: &Snapshot, name: &str| {
            let mut samples = snapshot.all(name).filter(|(from, _)| *from == page.from);
            samples.next().map(|(_, sample)| sample.value)
        };
        let (before, now) = (between.before, between.now);
        let cpu = "process_cpu_seconds_total";
        let spent = of(now, cpu).zip(of(before, cpu)).map(|(now, before)| now - before);
        let seconds = now.seconds - before.seconds;
        ProcessStatus {
            role: role(page),
            at: page.from.clone(),
            resident_bytes: of(now, "process_resident_memory_bytes"),
            cores: spent.filter(|spent| *spent >= 0.0 && seconds > 0.0).map(|s| s / seconds),
            threads: of(now, "process_threads"),
        }
    }
}

fn run(now: &Snapshot) -> Option<(String, String)> {
    let (_, info) = now.all("engram_run_info").find(|(_, sample)| sample.value == 1.0)?;
    let part = |label| info.label(label).unwrap_or("?");
    let parts = format!("{}, {}, {}", part("env"), part("rl"), part("seq"));
    Some((part("run").into(), parts))
}

fn replay(now: &Snapshot) -> Option<ReplayStats> {
    let replay = ReplayStats {
        episodes: now.max("engram_replay_episodes", None)?,
        env_steps: now.max("engram_replay_env_steps", None)?,
        bytes: now.max("engram_replay_bytes", None)?,
    };
    // On-policy it is there too, and empty.
    (replay.bytes > 0.0).then_some(replay)
}

fn troubles(between: Between<'_>) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = Vec::new();
    for (what, name, label) in TROUBLES {
        for (_, sample) in between.now.all(name).filter(|(_, sample)| sample.value > 0.0) {
            let with = label.and_then(|label| Some((label, sample.label(label)?)));
            let what = with.map_or(what.into(), |(_, detail)| format!("{what} {detail}"));
            match troubles.iter_mut().find(|known| known.what == what) {
                Some(known) => known.times += sample.value,
                None => {
                    let is_new = between.increase(name, with).is_some_and(|times| times > 0.0);
                    troubles.push(Trouble { what, times: sample.value, is_new });
                }
            }
        }
    }
    troubles
}

/// Role of a process, by the metrics that only it shows.
fn role(page: &Page) -> &'static str {
    let shows = |name: &str| page.samples.iter().any(|sample| sample.name == name);
    match ["engram_actors", "engram_inference_streams", "engram_env_steps_total"].map(shows) {
        [true, false, false] => "learner",
        [false, true, false] => "inference server",
        [false, false, true] => "actor",
        [false, false, false] => "process",
        _ => "all in one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work per ten seconds: of the learner, of one of two model threads, of all four actors.
    fn limited(learner: f64, inference: f64, actors: f64, held: f64) -> RunStatus {
        waiting(learner, inference, actors, held, 0.0)
    }

    /// The same with the time that all eight groups wait for the learner.
    fn waiting(learner: f64, inference: f64, actors: f64, held: f64, wait: f64) -> RunStatus {
        let pages = |share: f64| {
            let learner = format!(
                "engram_actors 4\n\
                 engram_learner_update_seconds_sum{{phase=\"assemble\"}} {}\n\
                 engram_learner_update_seconds_sum{{phase=\"forward\"}} {}\n\
                 engram_rate_limiter_wait_seconds_total{{side=\"insertions\"}} {}\n",
                share * 9.0,
                share * learner,
                share * held,
            );
            let server = format!(
                "engram_inference_streams 4\nengram_inference_forward_seconds_sum {}\n",
                share * inference
            );
            let idle = "engram_inference_streams 4\nengram_inference_forward_seconds_sum 0\n";
            let actor = format!(
                "engram_actor_busy_seconds_total {}\n\
                 engram_actor_wait_seconds_sum{{on=\"learner\"}} {}\n\
                 engram_actor_wait_seconds_sum{{on=\"inference\"}} {}\n",
                share * actors,
                share * wait,
                share * 80.0,
            );
            [("l", &*learner), ("i", &server), ("j", idle), ("a", &actor)]
                .map(|(from, text)| Page::parse(from, text).unwrap())
                .to_vec()
        };
        let before = Snapshot { seconds: 100.0, pages: pages(1.0), silent: Vec::new() };
        let now = Snapshot { seconds: 110.0, pages: pages(2.0), silent: Vec::new() };
        RunStatus::new(Between { before: &before, now: &now })
    }

    #[test]
    fn who_has_the_least_rest_limits_a_run_whose_learner_waits() {
        let status = limited(4.0, 2.0, 36.0, 0.0);
        assert_eq!(status.work.learner, Some(0.4));
        assert_eq!(status.work.inference, Some(0.1), "of two servers");
        assert_eq!(status.work.actors, Some(0.9));
        assert_eq!(status.bottleneck, Some(Bottleneck::Actors));
        assert_eq!(limited(4.0, 18.0, 20.0, 0.0).bottleneck, Some(Bottleneck::Inference));
        assert_eq!(limited(8.0, 18.0, 36.0, 0.0).bottleneck, Some(Bottleneck::Learner));
        assert_eq!(limited(8.0, 2.0, 2.0, 9.0).bottleneck, Some(Bottleneck::RateLimiter));
        assert_eq!(limited(0.0, 0.0, 0.0, 0.0).bottleneck, Some(Bottleneck::Nothing));
    }

    /// In turns, with a policy lag of 0, actors wait while the learner learns: that was once called
    /// slowness of the actors, and the advice was to add some.
    #[test]
    fn groups_that_wait_for_the_learner_longer_than_others_work_are_named() {
        let status = waiting(4.0, 2.0, 12.0, 0.0, 32.0);
        assert_eq!(status.work.waiting, Some(0.4));
        assert_eq!(status.bottleneck, Some(Bottleneck::WaitForLearner));
        assert_eq!(waiting(4.0, 2.0, 20.0, 0.0, 32.0).bottleneck, Some(Bottleneck::Actors));
        assert_eq!(waiting(4.0, 12.0, 2.0, 0.0, 32.0).bottleneck, Some(Bottleneck::Inference));
        assert_eq!(waiting(6.0, 2.0, 12.0, 0.0, 32.0).bottleneck, Some(Bottleneck::Learner));
    }

    #[test]
    fn trouble_is_added_up_over_processes_by_its_reason() {
        let snapshot = |first: u32, second: u32| {
            let page = |from: &str, times: u32| {
                let text = format!(
                    "engram_actor_reconnects_total{{peer=\"learner\"}} {times}\n\
                     engram_actor_reconnects_total{{peer=\"inference server\"}} 0\n\
                     engram_stream_gaps_total 1\n"
                );
                Page::parse(from, &text).unwrap()
            };
            Snapshot { pages: vec![page("a", first), page("b", second)], ..Snapshot::default() }
        };
        let (before, now) = (snapshot(2, 2), snapshot(2, 3));
        let found = troubles(Between { before: &before, now: &now });
        let trouble = |what: &str, times, is_new| Trouble { what: what.into(), times, is_new };
        let expected = [
            trouble("reconnects to the learner", 5.0, true),
            trouble("gaps in streams", 2.0, false),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_process_is_known_by_what_it_shows() {
        let role = |text| role(&Page::parse("a", text).unwrap());
        assert_eq!(role("engram_actors 1\n"), "learner");
        assert_eq!(role("engram_inference_streams 1\n"), "inference server");
        assert_eq!(role("engram_env_steps_total 1\n"), "actor");
        assert_eq!(role("engram_actors 1\nengram_inference_streams 1\n"), "all in one");
    }
}
