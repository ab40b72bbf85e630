//! The whole life of an actor.

use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use engram_envs::VectorEnv;
use engram_mdp::{Episode, Seed};
use engram_service::threads::spawn_named;
use engram_service::{Address, Backoff, Shutdown};
use tokio::sync::{SetOnce, mpsc};
use tokio::task::{JoinError, JoinSet};

use crate::actor_identity::{ActorIdentity, Incarnation};
use crate::config::{ActorConfig, ActorMode, generation_now};
use crate::episode_quota::EpisodeQuota;
use crate::episode_reporter::{EpisodeBuffer, EpisodeReporter};
use crate::error::ActorError;
use crate::inference_stream::InferenceConnector;
use crate::metrics::{self, BusyTime, RolloutStats};
use crate::reconnecting_peer::ReconnectingPeer;
use crate::recorder::Recorder;
use crate::rollout_group::{GroupSummary, RolloutGroup, RolloutSink};
use crate::trajectory_sender::{INBOX, SenderSettings, TrajectorySender};

/// Summary of an actor that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ActorSummary {
    /// Reason of its end.
    pub reason: ExitReason,
    /// The run it worked for, if it ever heard of one.
    pub run_id: Option<String>,
    /// Decisions that its environments acted upon.
    pub env_steps: u64,
    /// Episodes that ended, the interrupted ones not counted.
    pub episodes_ended: u64,
    /// Times that a group lost its policy and was reset.
    pub interruptions: u64,
    /// Time spent stepping environments, over all groups.
    pub stepping: Duration,
    /// Time that groups waited for actions.
    pub waiting_on_inference: Duration,
    /// Time that groups waited for the learner to take trajectories.
    pub waiting_on_learner: Duration,
    /// The episodes of an evaluation, by environment.
    pub episodes: Vec<Episode>,
}

/// Reason of an actor's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// Its shutdown was triggered.
    Shutdown,
    /// The learner said that the run has had its budget.
    Finished,
    /// It has played all episodes of its evaluation.
    Evaluated,
}

/// Runs an actor until its shutdown, until the learner wants nothing more, or until the
/// evaluation is complete. Everything happens in tasks of the current runtime, which should be a
/// single thread, the actor's own: see [`spawn`].
pub async fn run(config: ActorConfig, shutdown: Shutdown) -> Result<ActorSummary, ActorError> {
    config.validate()?;
    metrics::describe();
    let leave = Shutdown::new();
    let mut actor = start(&config, &leave);
    let ended = tokio::select! {
        biased;
        () = shutdown.triggered() => Ok(ExitReason::Shutdown),
        ended = actor.ended() => ended,
    };
    leave.trigger();
    let left = actor.leave().await;
    // The reason of the end comes before errors of the shutdown.
    let reason = ended?;
    let (stats, mut episodes) = left?;
    episodes.sort_by_key(|episode| episode.env_index);
    Ok(ActorSummary {
        reason,
        run_id: actor.identity.run_id().map(Into::into),
        env_steps: stats.env_steps,
        episodes_ended: stats.episodes,
        interruptions: stats.interruptions,
        stepping: stats.stepping,
        waiting_on_inference: stats.waiting_on_inference,
        waiting_on_learner: stats.waiting_on_learner,
        episodes,
    })
}

/// Runs an actor on a thread of its own.
pub fn spawn(
    config: ActorConfig,
    shutdown: Shutdown,
) -> JoinHandle<Result<ActorSummary, ActorError>> {
    let name = config.actor.map_or("actor".into(), |number| format!("actor-{number}"));
    spawn_named(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(config, shutdown))
    })
}

/// Steps between two reports of an evaluation's statistics; training reports once per unroll.
const EVALUATION_REPORT_EVERY: usize = 64;

type GroupTasks = JoinSet<Result<GroupSummary, ActorError>>;
type StreamTasks = JoinSet<Result<(), ActorError>>;

/// The tasks of an actor.
struct ActorTasks {
    identity: Arc<ActorIdentity>,
    groups: GroupTasks,
    /// The streams to the learner; none in an evaluation.
    streams: StreamTasks,
    left: Vec<GroupSummary>,
}

impl ActorTasks {
    /// Waits for the end: the learner wants nothing more, all groups have met their quota, or a
    /// task failed.
    async fn ended(&mut self) -> Result<ExitReason, ActorError> {
        loop {
            tokio::select! {
                biased;
                // Before shutdown only the stream of trajectories ends without an error.
                Some(stream) = self.streams.join_next() => {
                    joined(stream)?;
                    return Ok(ExitReason::Finished);
                }
                Some(group) = self.groups.join_next() => self.left.push(joined(group)?),
                else => return Ok(ExitReason::Evaluated),
            }
        }
    }

    /// Joins all tasks, after `leave` was triggered.
    async fn leave(&mut self) -> Result<(RolloutStats, Vec<Episode>), ActorError> {
        while let Some(group) = self.groups.join_next().await {
            self.left.push(joined(group)?);
        }
        while let Some(stream) = self.streams.join_next().await {
            joined(stream)?;
        }
        let mut stats = RolloutStats::default();
        let mut episodes = Vec::new();
        for left in self.left.drain(..) {
            stats.add(&left.stats);
            episodes.extend(left.episodes);
        }
        Ok((stats, episodes))
    }
}

/// Starts all tasks.
fn start(config: &ActorConfig, leave: &Shutdown) -> ActorTasks {
    let (spec, run_id) = (config.env.spec(), config.run_id.clone());
    let (identity, name) = match config.mode {
        ActorMode::Train { .. } => {
            let identity = ActorIdentity::training(config.actor, config.instance, spec, run_id);
            (identity, "actor")
        }
        ActorMode::Evaluate { actions, .. } => {
            let actor = config.actor.unwrap_or((config.instance >> 32) as u32);
            let own = Incarnation { actor, generation: generation_now() };
            (ActorIdentity::evaluating(own, actions, spec, run_id), "evaluator")
        }
    };
    let number = config.actor.map_or(config.instance, u64::from);
    let seed = config.seed.derive(name, number);
    let start = ActorBuilder { config, seed, identity: Arc::new(identity), leave };
    let (groups, streams) = match &config.mode {
        ActorMode::Train { learner, unroll_length, max_unacknowledged, stagger_steps: _ } => {
            start.training(learner, *unroll_length, *max_unacknowledged)
        }
        ActorMode::Evaluate { episodes, .. } => (start.evaluation(*episodes), JoinSet::new()),
    };
    ActorTasks { identity: start.identity, groups, streams, left: Vec::new() }
}

/// Builder of an actor's tasks.
struct ActorBuilder<'a> {
    config: &'a ActorConfig,
    /// Seed of an evaluation, and of waits between attempts.
    seed: Seed,
    identity: Arc<ActorIdentity>,
    leave: &'a Shutdown,
}

impl ActorBuilder<'_> {
    fn training(
        &self,
        learner: &Address,
        unroll_length: usize,
        max_unacknowledged: usize,
    ) -> (GroupTasks, StreamTasks) {
        let (config, spec) = (self.config, &self.identity.spec);
        let (outbox, inbox) = mpsc::channel(INBOX);
        let buffer = Arc::new(EpisodeBuffer::default());
        let seed = Arc::new(SetOnce::new());
        let record = |env_indices: Range<u32>| RolloutSink::Learn {
            first_env_index: env_indices.start,
            grant: None,
            recorder: Recorder::new(env_indices, spec, unroll_length),
            outbox: outbox.clone(),
            episodes: buffer.clone(),
        };
        let groups = self.groups(config.envs, unroll_length, &seed, record);

        let mut streams = JoinSet::new();
        let peer = |name| {
            ReconnectingPeer::new("learner", vec![learner.clone()], 0, self.backoff(name, 0))
        };
        let settings = SenderSettings {
            env_indices: 0..config.envs,
            unroll_length,
            max_unacknowledged,
            answer_within: config.timeouts.answer,
        };
        let identity = self.identity.clone();
        let sender =
            TrajectorySender::new(peer("experience"), identity.clone(), settings, inbox, seed);
        streams.spawn(sender.run(self.leave.clone()));
        let (peer, timeouts) = (peer("report"), config.timeouts);
        let reporter = EpisodeReporter { peer, identity, buffer, timeouts };
        streams.spawn(reporter.run(self.leave.clone()));
        (groups, streams)
    }

    fn evaluation(&self, episodes: u32) -> GroupTasks {
        // An environment that owes no episode would only be in the way.
        let envs = self.config.envs.min(episodes);
        let record = |env_indices| RolloutSink::Evaluate {
            quota: EpisodeQuota::new(env_indices, envs, episodes),
        };
        let seed = Arc::new(SetOnce::new_with(Some(self.seed)));
        self.groups(envs, EVALUATION_REPORT_EVERY, &seed, record)
    }

    /// Two groups that take turns, or one where there is one environment. They begin when there is
    /// a seed.
    fn groups(
        &self,
        envs: u32,
        report_every: usize,
        seed: &Arc<SetOnce<Seed>>,
        record: impl Fn(Range<u32>) -> RolloutSink,
    ) -> GroupTasks {
        let config = self.config;
        let half = envs.div_ceil(2);
        let busy = Arc::new(BusyTime::new());
        let mut groups = JoinSet::new();
        for (index, env_indices) in [0..half, half..envs].into_iter().enumerate() {
            if env_indices.is_empty() {
                continue;
            }
            // The groups of all actors spread over the servers.
            let turn = config.actor.map_or(config.instance >> 1, u64::from) + index as u64;
            let backoff = self.backoff("inference", index as u64);
            let peer =
                ReconnectingPeer::new("inference server", config.inference.clone(), turn, backoff);
            let (identity, within) = (self.identity.clone(), config.timeouts.answer);
            let stagger_steps = match config.mode {
                ActorMode::Train { stagger_steps, .. } => stagger_steps,
                ActorMode::Evaluate { .. } => 0,
            };
            let (env, busy, sink) = (config.env.clone(), busy.clone(), record(env_indices.clone()));
            let group = move |seed: Seed| {
                let environments = VectorEnv::open(&env, env_indices.clone(), seed)?
                    .staggered(stagger_steps, seed);
                let draws = seed.derive("inference", index as u64);
                let inference = InferenceConnector::new(peer, identity, env_indices, within, draws);
                Ok(RolloutGroup::new(environments, inference, sink, report_every, busy))
            };
            groups.spawn(play(seed.clone(), group, self.leave.clone()));
        }
        groups
    }

    fn backoff(&self, name: &str, index: u64) -> Backoff {
        Backoff::new(self.seed.derive(name, index).number())
    }
}

/// Plays in the group that `group` makes of the actor's seed, once there is one. Without one there
/// is nothing to play: the learner wants nothing, or refuses the actor.
async fn play(
    seed: Arc<SetOnce<Seed>>,
    group: impl FnOnce(Seed) -> Result<RolloutGroup, ActorError>,
    leave: Shutdown,
) -> Result<GroupSummary, ActorError> {
    let seed = tokio::select! {
        biased;
        () = leave.triggered() => None,
        seed = seed.wait() => Some(*seed),
    };
    match seed {
        Some(seed) => group(seed)?.run(leave).await,
        None => Ok(GroupSummary::default()),
    }
}

/// Result of a task; its panic goes on here.
fn joined<T>(task: Result<Result<T, ActorError>, JoinError>) -> Result<T, ActorError> {
    match task {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
