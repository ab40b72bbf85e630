//! Trajectories on their way from the streams to the batch thread.
//!
//! The queue is bounded. When it is full a push waits for a place, its acknowledgement with it,
//! and so the actor: that is how a slow learner slows its actors down.

use engram_mdp::Trajectory;
use tokio::sync::mpsc;

/// A trajectory that was accepted into its stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// The trajectory.
    pub trajectory: Trajectory,
    /// The incarnation of the actor that sent it.
    pub generation: u64,
}

/// The end that streams put trajectories in.
#[derive(Clone, Debug)]
pub struct Intake(mpsc::Sender<Arrival>);

/// Room for one trajectory, held until it is filled or dropped.
#[derive(Debug)]
pub struct Place<'a>(mpsc::Permit<'a, Arrival>);

/// The end that the batch thread takes them from, in the order in which they were put in.
#[derive(Debug)]
pub struct Arrivals(mpsc::Receiver<Arrival>);

/// A queue of at most `trajectories`.
pub fn bounded(trajectories: usize) -> (Intake, Arrivals) {
    let (sender, receiver) = mpsc::channel(trajectories);
    (Intake(sender), Arrivals(receiver))
}

impl Intake {
    /// Waits for a place. `None` once nobody takes trajectories any more.
    pub async fn place(&self) -> Option<Place<'_>> {
        self.0.reserve().await.ok().map(Place)
    }
}

impl Place<'_> {
    /// Fills the place.
    pub fn put(self, arrival: Arrival) {
        self.0.send(arrival);
    }
}

impl Arrivals {
    /// Waits for at least one trajectory and takes at most `most` into `taken`. Returns how many:
    /// none only once every intake is gone and the queue is empty.
    pub async fn take(&mut self, taken: &mut Vec<Arrival>, most: usize) -> usize {
        self.0.recv_many(taken, most).await
    }

    /// The next trajectory, if one waits.
    pub fn next_now(&mut self) -> Option<Arrival> {
        self.0.try_recv().ok()
    }

    /// Trajectories that wait.
    pub fn depth(&self) -> usize {
        self.0.len()
    }
}
