//! The loop of an actor: observe, ask, decide, record, step.
//!
//! Two groups of environments run it as two tasks on one thread. While one group's request is
//! under way the other group steps its worlds, so that neither the thread nor the inference server
//! waits for the other.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use engram_envs::VectorEnv;
use engram_mdp::{Episode, Finish};
use engram_proto::v1;
use engram_service::Shutdown;
use tokio::sync::mpsc;

use crate::error::ActorError;
use crate::experience::messages;
use crate::inference::{Answer, Inference, Policy};
use crate::metrics::{Busy, GroupMeters, Tally};
use crate::peer::End;
use crate::quota::Quota;
use crate::recorder::Recorder;
use crate::report::Unreported;

/// Some of an actor's environments, and what becomes of what they see.
pub(crate) struct Group {
    worlds: VectorEnv,
    inference: Inference,
    record: Record,
    meters: GroupMeters,
    /// Steps between two tellings of what was done: those of an unroll.
    tell_every: usize,
    untold: usize,
    /// What was done since it was last told.
    tally: Tally,
    /// What was done before.
    told: Tally,
}

/// What becomes of what a group sees.
pub(crate) enum Record {
    /// Trajectories go to the learner, episodes into its reports.
    Learn {
        recorder: Recorder,
        /// Full: the worlds wait.
        outbox: mpsc::Sender<v1::Trajectories>,
        episodes: Arc<Unreported>,
    },
    /// Episodes are counted.
    Evaluate { quota: Quota },
}

/// What a group leaves.
pub(crate) struct Leavings {
    pub(crate) tally: Tally,
    /// The episodes of an evaluation.
    pub(crate) episodes: Vec<Episode>,
}

impl Group {
    pub(crate) fn new(
        worlds: VectorEnv,
        inference: Inference,
        record: Record,
        tell_every: usize,
        busy: Arc<Busy>,
    ) -> Self {
        let meters = GroupMeters::new(worlds.spec().action_repeat, busy);
        let (tally, told) = (Tally::default(), Tally::default());
        Group { worlds, inference, record, meters, tell_every, untold: 0, tally, told }
    }

    /// Plays until nothing more is wanted, or until `leave` is triggered.
    pub(crate) async fn run(mut self, leave: Shutdown) -> Result<Leavings, ActorError> {
        tokio::select! {
            biased;
            () = leave.triggered() => {}
            played = self.live() => played?,
        }
        self.tell();
        let episodes = match self.record {
            Record::Learn { .. } => Vec::new(),
            Record::Evaluate { quota } => quota.into_episodes(),
        };
        Ok(Leavings { tally: self.told, episodes })
    }

    /// Plays with one policy after the other.
    async fn live(&mut self) -> Result<(), ActorError> {
        loop {
            let start = Instant::now();
            let mut policy = self.inference.connect().await?;
            self.tally.waiting_on_inference += start.elapsed();
            let reason = match self.play(&mut policy).await {
                Err(End::Over) => return Ok(()),
                Err(End::Fatal(error)) => return Err(error),
                Err(End::Lost(reason)) => reason,
                Ok(never) => match never {},
            };
            drop(policy);
            self.interrupt();
            self.inference.retreat(&reason).await;
        }
    }

    /// The loop. It ends when the policy is lost, or nothing more is wanted.
    async fn play(&mut self, policy: &mut Policy) -> Result<Infallible, End> {
        loop {
            self.observe().await?;
            let answer = self.ask(policy).await?;
            self.decide(&answer);
            // Stepping holds the thread: whatever the other group wants to send goes first.
            tokio::task::yield_now().await;
            self.step(&answer);
            if let Record::Evaluate { quota } = &self.record
                && quota.is_met()
            {
                return Err(End::Over);
            }
        }
    }

    /// Records what the worlds show. What that completes goes to the learner, once it has room.
    async fn observe(&mut self) -> Result<(), End> {
        let Record::Learn { recorder, outbox, .. } = &mut self.record else { return Ok(()) };
        let complete = recorder.frames(self.worlds.frames());
        if complete.is_empty() {
            return Ok(());
        }
        let messages = messages(&complete).map_err(End::Fatal)?;
        let start = Instant::now();
        for message in messages {
            // A closed outbox means that the learner wants nothing more.
            outbox.send(message).await.map_err(|_| End::Over)?;
        }
        self.tally.waiting_on_learner += start.elapsed();
        Ok(())
    }

    async fn ask(&mut self, policy: &mut Policy) -> Result<Answer, End> {
        let unroll_start = match &self.record {
            Record::Learn { recorder, .. } => recorder.at_unroll_start(),
            Record::Evaluate { .. } => false,
        };
        let start = Instant::now();
        let answer = policy.ask(self.worlds.frames(), unroll_start).await;
        self.tally.waiting_on_inference += start.elapsed();
        if answer.is_ok() {
            self.inference.served();
        }
        answer
    }

    fn decide(&mut self, answer: &Answer) {
        let frames = self.worlds.frames();
        if let Record::Learn { recorder, .. } = &mut self.record {
            recorder.decisions(frames, answer);
        }
        let deciding = frames.step_types.iter().filter(|step_type| !step_type.is_last());
        self.tally.env_steps += deciding.count() as u64;
    }

    fn step(&mut self, answer: &Answer) {
        let start = Instant::now();
        let ended = self.worlds.step(&answer.actions);
        self.tally.stepping += start.elapsed();
        keep(ended, &mut self.record, &mut self.tally, &self.meters);
        self.untold += 1;
        if self.untold == self.tell_every {
            self.tell();
        }
    }

    /// The policy was lost, and with it what it remembered: the episodes in progress cannot go on.
    fn interrupt(&mut self) {
        self.tally.interruptions += 1;
        let cut = self.worlds.interrupt();
        keep(cut, &mut self.record, &mut self.tally, &self.meters);
        if let Record::Learn { recorder, .. } = &mut self.record {
            recorder.interrupt();
        }
    }

    fn tell(&mut self) {
        self.meters.tell(&self.tally);
        self.told.add(&std::mem::take(&mut self.tally));
        self.untold = 0;
    }
}

/// Tells of episodes that were left.
fn keep(left: &[Episode], record: &mut Record, tally: &mut Tally, meters: &GroupMeters) {
    if left.is_empty() {
        return;
    }
    for episode in left.iter().filter(|episode| episode.finish != Finish::Interrupted) {
        tally.episodes += 1;
        meters.tell_episode(episode);
    }
    match record {
        Record::Learn { episodes, .. } => episodes.add(left),
        Record::Evaluate { quota } => left.iter().for_each(|episode| quota.count(episode)),
    }
}
