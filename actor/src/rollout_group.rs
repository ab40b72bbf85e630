//! Rollout group: the loop of an actor. Observe, ask, decide, record, step.
//!
//! Two groups of environments run it as two tasks on one thread. While one group's request is under
//! way the other group steps its environments, so that neither the thread nor the inference server
//! waits for the other.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use engram_envs::VectorEnv;
use engram_mdp::{Episode, Finish};
use engram_proto::v1;
use engram_service::Shutdown;
use tokio::sync::{mpsc, oneshot};

use crate::episode_quota::EpisodeQuota;
use crate::episode_reporter::EpisodeBuffer;
use crate::error::ActorError;
use crate::inference_stream::{InferenceConnector, InferenceStream, PolicyAnswer};
use crate::metrics::{BusyTime, GroupMetrics, RolloutStats};
use crate::reconnecting_peer::Disconnect;
use crate::recorder::Recorder;
use crate::trajectory_sender::{Outgoing, messages};

/// A group of an actor's environments, the policy that acts in them, and the sink of their data.
pub(crate) struct RolloutGroup {
    /// Nothing while a thread of their own steps them.
    environments: Option<VectorEnv>,
    inference: InferenceConnector,
    sink: RolloutSink,
    metrics: GroupMetrics,
    /// Steps between two reports of statistics: those of an unroll.
    report_every: usize,
    pending_steps: usize,
    /// Statistics since the last report.
    stats: RolloutStats,
    /// Statistics up to the last report.
    reported: RolloutStats,
}

/// Rollout sink: the destination of a group's frames and episodes.
pub(crate) enum RolloutSink {
    /// Trajectories go to the learner, episodes into its reports.
    Learn {
        recorder: Recorder,
        /// Full: the environments wait.
        outbox: mpsc::Sender<Outgoing>,
        /// The number of the group's first environment.
        first_env_index: u32,
        /// Weights with which the unroll in progress may begin, once the learner has granted it.
        grant: Option<u64>,
        episodes: Arc<EpisodeBuffer>,
    },
    /// Episodes are counted.
    Evaluate { quota: EpisodeQuota },
}

/// Summary of a group that has ended.
#[derive(Default)]
pub(crate) struct GroupSummary {
    pub(crate) stats: RolloutStats,
    /// The episodes of an evaluation.
    pub(crate) episodes: Vec<Episode>,
}

impl RolloutGroup {
    pub(crate) fn new(
        environments: VectorEnv,
        inference: InferenceConnector,
        sink: RolloutSink,
        report_every: usize,
        busy: Arc<BusyTime>,
    ) -> Self {
        let metrics = GroupMetrics::new(environments.spec().action_repeat, busy);
        let (stats, reported) = (RolloutStats::default(), RolloutStats::default());
        RolloutGroup {
            environments: Some(environments),
            inference,
            sink,
            metrics,
            report_every,
            pending_steps: 0,
            stats,
            reported,
        }
    }

    /// Plays until nothing more is wanted, or until `leave` is triggered.
    pub(crate) async fn run(mut self, leave: Shutdown) -> Result<GroupSummary, ActorError> {
        tokio::select! {
            biased;
            () = leave.triggered() => {}
            played = self.play_all() => played?,
        }
        self.report();
        let episodes = match self.sink {
            RolloutSink::Learn { .. } => Vec::new(),
            RolloutSink::Evaluate { quota } => quota.into_episodes(),
        };
        Ok(GroupSummary { stats: self.reported, episodes })
    }

    /// Plays with one policy after the other.
    async fn play_all(&mut self) -> Result<(), ActorError> {
        loop {
            let start = Instant::now();
            let mut policy = self.inference.connect().await?;
            self.stats.waiting_on_inference += start.elapsed();
            let reason = match self.play(&mut policy).await {
                Err(Disconnect::Finished) => return Ok(()),
                Err(Disconnect::Fatal(error)) => return Err(error),
                Err(Disconnect::Lost(reason)) => reason,
                Ok(never) => match never {},
            };
            drop(policy);
            self.interrupt();
            self.inference.back_off(&reason).await;
        }
    }

    /// The loop. It ends when the policy is lost, or nothing more is wanted.
    async fn play(&mut self, policy: &mut InferenceStream) -> Result<Infallible, Disconnect> {
        loop {
            if let Some(error) = self.environments().failure() {
                return Err(Disconnect::Fatal(error.clone().into()));
            }
            self.observe(policy).await?;
            self.begin_unroll(policy).await?;
            let answer = self.ask(policy).await?;
            self.decide(&answer);
            // Stepping holds the thread: whatever the other group wants to send goes first.
            tokio::task::yield_now().await;
            self.step(policy, answer).await;
            if let RolloutSink::Evaluate { quota } = &self.sink
                && quota.is_met()
            {
                return Err(Disconnect::Finished);
            }
        }
    }

    /// Records the current frames. Trajectories that this completes go to the learner, once it has
    /// room; however long that takes, the policy keeps its memory.
    async fn observe(&mut self, policy: &InferenceStream) -> Result<(), Disconnect> {
        let RolloutSink::Learn { recorder, outbox, grant, .. } = &mut self.sink else {
            return Ok(());
        };
        let complete = recorder.frames(present(&self.environments).frames());
        if complete.is_empty() {
            return Ok(());
        }
        let messages = messages(&complete).map_err(Disconnect::Fatal)?;
        let start = Instant::now();
        for message in messages {
            // A closed outbox means that the learner wants nothing more.
            let sent = policy.keep_during(outbox.send(Outgoing::Trajectories(message))).await;
            sent.map_err(|_| Disconnect::Finished)?;
        }
        *grant = None;
        self.stats.waiting_on_learner += start.elapsed();
        Ok(())
    }

    /// Waits for the learner's grant before the first decision of an unroll. One that was
    /// interrupted keeps its grant.
    async fn begin_unroll(&mut self, policy: &InferenceStream) -> Result<(), Disconnect> {
        let environments = self.environments().frames().rows() as u32;
        let RolloutSink::Learn { outbox, first_env_index, grant, .. } = &mut self.sink else {
            return Ok(());
        };
        if grant.is_some() {
            return Ok(());
        }
        let start = Instant::now();
        let (reply, granted) = oneshot::channel();
        let request = v1::BeginUnroll { first_env_index: *first_env_index, environments };
        let sent = policy.keep_during(outbox.send(Outgoing::BeginUnroll(request, reply))).await;
        sent.map_err(|_| Disconnect::Finished)?;
        let granted = policy.keep_during(granted).await;
        *grant = Some(granted.map_err(|_| Disconnect::Finished)?);
        self.stats.waiting_on_learner += start.elapsed();
        Ok(())
    }

    async fn ask(&mut self, policy: &mut InferenceStream) -> Result<PolicyAnswer, Disconnect> {
        let (unroll_start, min_policy_version) = match &self.sink {
            RolloutSink::Learn { recorder, grant, .. } if recorder.at_unroll_start() => {
                (true, grant.unwrap_or(0))
            }
            _ => (false, 0),
        };
        let start = Instant::now();
        let answer = policy.ask(self.environments().frames(), unroll_start, min_policy_version);
        let answer = answer.await;
        self.stats.waiting_on_inference += start.elapsed();
        if answer.is_ok() {
            self.inference.served();
        }
        answer
    }

    fn decide(&mut self, answer: &PolicyAnswer) {
        let frames = present(&self.environments).frames();
        if let RolloutSink::Learn { recorder, .. } = &mut self.sink {
            recorder.decisions(frames, answer);
        }
        let deciding = frames.step_types.iter().filter(|step_type| !step_type.is_last());
        self.stats.env_steps += deciding.count() as u64;
    }

    /// Steps the environments. Those that a server steps do so on a thread of their own, however
    /// long it takes: connections live meanwhile, and the policy keeps its memory.
    async fn step(&mut self, policy: &InferenceStream, answer: PolicyAnswer) {
        let start = Instant::now();
        let before = self.environments().mishaps();
        let served = self.environments().is_served();
        let mut environments = self.environments.take().expect("nobody else steps them");
        let step = move || {
            let ended = environments.step(&answer.actions).to_vec();
            (environments, ended)
        };
        let (environments, ended) = match served {
            true => {
                let stepped = policy.keep_during(tokio::task::spawn_blocking(step)).await;
                stepped.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
            }
            false => step(),
        };
        self.environments = Some(environments);
        self.stats.stepping += start.elapsed();
        report_episodes(&ended, &mut self.sink, &mut self.stats, &self.metrics);
        let now = self.environments().mishaps();
        self.stats.clipped_actions += now.clipped_actions - before.clipped_actions;
        self.stats.broken_episodes += now.broken_episodes - before.broken_episodes;
        self.pending_steps += 1;
        if self.pending_steps == self.report_every {
            self.report();
        }
    }

    /// The policy was lost, and with it its memory: the episodes in progress cannot go on.
    fn interrupt(&mut self) {
        self.stats.interruptions += 1;
        let cut = self.environments.as_mut().expect("nobody steps them").interrupt();
        report_episodes(cut, &mut self.sink, &mut self.stats, &self.metrics);
        if let RolloutSink::Learn { recorder, .. } = &mut self.sink {
            recorder.interrupt();
        }
    }

    fn environments(&self) -> &VectorEnv {
        present(&self.environments)
    }

    fn report(&mut self) {
        self.metrics.report(&self.stats);
        self.reported.add(&std::mem::take(&mut self.stats));
        self.pending_steps = 0;
    }
}

/// Environments that nobody steps just now.
fn present(environments: &Option<VectorEnv>) -> &VectorEnv {
    environments.as_ref().expect("stepping has ended")
}

/// Reports episodes that have ended or were interrupted.
fn report_episodes(
    left: &[Episode],
    sink: &mut RolloutSink,
    stats: &mut RolloutStats,
    metrics: &GroupMetrics,
) {
    if left.is_empty() {
        return;
    }
    for episode in left.iter().filter(|episode| episode.finish != Finish::Interrupted) {
        stats.episodes += 1;
        metrics.report_episode(episode);
    }
    match sink {
        RolloutSink::Learn { episodes, .. } => episodes.add(left),
        RolloutSink::Evaluate { quota } => left.iter().for_each(|episode| quota.count(episode)),
    }
}
