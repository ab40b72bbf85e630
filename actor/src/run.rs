//! The whole life of an actor.

use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use engram_envs::VectorEnv;
use engram_mdp::{Episode, Seed};
use engram_service::threads::spawn_named;
use engram_service::{Address, Backoff, Shutdown};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::config::{ActorConfig, Purpose};
use crate::error::ActorError;
use crate::experience::{Experience, INBOX, Terms};
use crate::group::{Group, Leavings, Record};
use crate::identity::Identity;
use crate::inference::Inference;
use crate::metrics::{self, Busy, Tally};
use crate::peer::Peer;
use crate::quota::Quota;
use crate::recorder::Recorder;
use crate::report::{Reporter, Unreported};

/// What an actor leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub struct ActorSummary {
    /// Why it left.
    pub reason: Leave,
    /// The run it worked for, if it ever heard of one.
    pub run_id: Option<String>,
    /// Decisions that its worlds acted upon.
    pub env_steps: u64,
    /// Episodes that ended, the interrupted ones not counted.
    pub episodes_ended: u64,
    /// Times that a group lost its policy and was reset.
    pub interruptions: u64,
    /// Time spent stepping worlds, over all groups.
    pub stepping: Duration,
    /// Time that groups waited for actions.
    pub waiting_on_inference: Duration,
    /// Time that groups waited for the learner to take trajectories.
    pub waiting_on_learner: Duration,
    /// The episodes of an evaluation, by environment.
    pub episodes: Vec<Episode>,
}

/// Why an actor left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It was told to.
    Shutdown,
    /// The learner said that the run has had its budget.
    Finished,
    /// It has played all episodes of its evaluation.
    Evaluated,
}

/// Lives the life of an actor: until it is told to end, the learner wants nothing more, or the
/// evaluation is complete. Everything happens in tasks of the current runtime, which should be a
/// single thread, the actor's own: see [`spawn`].
pub async fn run(config: ActorConfig, shutdown: Shutdown) -> Result<ActorSummary, ActorError> {
    config.validate()?;
    metrics::describe();
    let leave = Shutdown::new();
    let mut actor = start(&config, &leave);
    let ended = tokio::select! {
        () = shutdown.triggered() => Ok(Leave::Shutdown),
        ended = actor.ended() => ended,
    };
    leave.trigger();
    let left = actor.leave().await;
    // What ended it comes before what went wrong while it left.
    let reason = ended?;
    let (tally, mut episodes) = left?;
    episodes.sort_by_key(|episode| episode.env_index);
    Ok(ActorSummary {
        reason,
        run_id: actor.identity.run_id().map(Into::into),
        env_steps: tally.env_steps,
        episodes_ended: tally.episodes,
        interruptions: tally.interruptions,
        stepping: tally.stepping,
        waiting_on_inference: tally.waiting_on_inference,
        waiting_on_learner: tally.waiting_on_learner,
        episodes,
    })
}

/// Runs an actor on a thread of its own.
pub fn spawn(
    config: ActorConfig,
    shutdown: Shutdown,
) -> JoinHandle<Result<ActorSummary, ActorError>> {
    spawn_named(format!("actor-{}", config.actor), move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(config, shutdown))
    })
}

/// Steps between two tellings of what an evaluation does; training tells once per unroll.
const EVALUATION_TELLS_EVERY: usize = 64;

type Groups = JoinSet<Result<Leavings, ActorError>>;
type Streams = JoinSet<Result<(), ActorError>>;

/// The tasks of an actor.
struct Actor {
    identity: Arc<Identity>,
    groups: Groups,
    /// The streams to the learner; none in an evaluation.
    streams: Streams,
    left: Vec<Leavings>,
}

impl Actor {
    /// Why it is over: the learner wants nothing more, all groups have met their quota, or a task
    /// failed.
    async fn ended(&mut self) -> Result<Leave, ActorError> {
        loop {
            tokio::select! {
                // Until it is told to leave, only the stream of trajectories ends without an error.
                Some(stream) = self.streams.join_next() => {
                    joined(stream)?;
                    return Ok(Leave::Finished);
                }
                Some(group) = self.groups.join_next() => self.left.push(joined(group)?),
                else => return Ok(Leave::Evaluated),
            }
        }
    }

    /// Joins all tasks, which have been told to leave.
    async fn leave(&mut self) -> Result<(Tally, Vec<Episode>), ActorError> {
        while let Some(group) = self.groups.join_next().await {
            self.left.push(joined(group)?);
        }
        while let Some(stream) = self.streams.join_next().await {
            joined(stream)?;
        }
        let mut tally = Tally::default();
        let mut episodes = Vec::new();
        for left in self.left.drain(..) {
            tally.add(&left.tally);
            episodes.extend(left.episodes);
        }
        Ok((tally, episodes))
    }
}

/// Starts all tasks.
fn start(config: &ActorConfig, leave: &Shutdown) -> Actor {
    let (purpose, name) = match config.purpose {
        Purpose::Train { .. } => (engram_proto::Purpose::Train, "actor"),
        Purpose::Evaluate { .. } => (engram_proto::Purpose::Evaluate, "evaluator"),
    };
    let seed = config.seed.derive(name, config.actor.into());
    let identity = Arc::new(Identity::new(
        config.actor,
        config.generation,
        config.env.spec(),
        purpose,
        config.run_id.clone(),
    ));
    let start = Start { config, seed, identity, leave };
    let (groups, streams) = match &config.purpose {
        Purpose::Train { learner, unroll_length, max_unacknowledged, stagger_steps: _ } => {
            start.training(learner, *unroll_length, *max_unacknowledged)
        }
        Purpose::Evaluate { episodes } => (start.evaluation(*episodes), JoinSet::new()),
    };
    Actor { identity: start.identity, groups, streams, left: Vec::new() }
}

/// What the tasks of an actor are made from.
struct Start<'a> {
    config: &'a ActorConfig,
    /// Everything random in the actor is derived from it.
    seed: Seed,
    identity: Arc<Identity>,
    leave: &'a Shutdown,
}

impl Start<'_> {
    fn training(
        &self,
        learner: &Address,
        unroll_length: usize,
        max_unacknowledged: usize,
    ) -> (Groups, Streams) {
        let (config, spec) = (self.config, &self.identity.spec);
        let (outbox, inbox) = mpsc::channel(INBOX);
        let unreported = Arc::new(Unreported::default());
        let groups = self.groups(config.envs, unroll_length, |env_indices| Record::Learn {
            recorder: Recorder::new(config.actor, env_indices, spec, unroll_length),
            outbox: outbox.clone(),
            episodes: unreported.clone(),
        });

        let mut streams = JoinSet::new();
        let peer = |name| Peer::new("learner", vec![learner.clone()], 0, self.backoff(name, 0));
        let terms = Terms {
            env_indices: 0..config.envs,
            unroll_length,
            max_unacknowledged,
            answer_within: config.patience.answer,
        };
        let identity = self.identity.clone();
        let experience = Experience::new(peer("experience"), identity.clone(), terms, inbox);
        streams.spawn(experience.run(self.leave.clone()));
        let (peer, patience) = (peer("report"), config.patience);
        let reporter = Reporter { peer, identity, unreported, patience };
        streams.spawn(reporter.run(self.leave.clone()));
        (groups, streams)
    }

    fn evaluation(&self, episodes: u32) -> Groups {
        // An environment that owes no episode would only be in the way.
        let envs = self.config.envs.min(episodes);
        self.groups(envs, EVALUATION_TELLS_EVERY, |env_indices| Record::Evaluate {
            quota: Quota::new(env_indices, envs, episodes),
        })
    }

    /// Two groups that take turns, or one where there is one environment.
    fn groups(
        &self,
        envs: u32,
        tell_every: usize,
        record: impl Fn(Range<u32>) -> Record,
    ) -> Groups {
        let config = self.config;
        let half = envs.div_ceil(2);
        let busy = Arc::new(Busy::new());
        let mut groups = JoinSet::new();
        for (index, env_indices) in [0..half, half..envs].into_iter().enumerate() {
            if env_indices.is_empty() {
                continue;
            }
            // The groups of all actors spread over the servers.
            let turn = u64::from(config.actor) + index as u64;
            let backoff = self.backoff("inference", index as u64);
            let peer = Peer::new("inference server", config.inference.clone(), turn, backoff);
            let (identity, within) = (self.identity.clone(), config.patience.answer);
            let inference = Inference::new(peer, identity, env_indices.clone(), within);
            let stagger_steps = match config.purpose {
                Purpose::Train { stagger_steps, .. } => stagger_steps,
                Purpose::Evaluate { .. } => 0,
            };
            let worlds = VectorEnv::new(&config.env, env_indices.clone(), self.seed)
                .staggered(stagger_steps, self.seed);
            let group =
                Group::new(worlds, inference, record(env_indices), tell_every, busy.clone());
            groups.spawn(group.run(self.leave.clone()));
        }
        groups
    }

    fn backoff(&self, name: &str, index: u64) -> Backoff {
        Backoff::new(self.seed.derive(name, index).number())
    }
}

/// What a task returned; its panic goes on here.
fn joined<T>(task: Result<Result<T, ActorError>, JoinError>) -> Result<T, ActorError> {
    match task {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
