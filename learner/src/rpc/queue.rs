//! Trajectories on their way from the streams to the batch thread.
//!
//! The queue is bounded, by trajectories and by bytes. When it is full a push waits for a place, its
//! acknowledgement with it, and so the actor: that is how a slow learner slows its actors down.

use std::sync::Arc;

use engram_mdp::Trajectory;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::config::flags::ByteSize;

/// A trajectory that was accepted into its stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// The trajectory.
    pub trajectory: Trajectory,
    /// The incarnation of the actor that sent it.
    pub generation: u64,
}

/// Bytes that are counted as one.
const BLOCK: usize = 1 << 10;

/// The end that streams put trajectories in.
#[derive(Clone, Debug)]
pub struct Intake {
    queue: mpsc::Sender<Queued>,
    memory: Arc<Semaphore>,
    /// Blocks of an empty queue.
    blocks: u32,
}

/// Room for one trajectory, held until it is filled or dropped.
#[derive(Debug)]
pub struct Place<'a> {
    place: mpsc::Permit<'a, Queued>,
    memory: OwnedSemaphorePermit,
}

/// The end that the batch thread takes them from, in the order in which they were put in.
#[derive(Debug)]
pub struct Arrivals {
    queue: mpsc::Receiver<Queued>,
    taken: Vec<Queued>,
}

/// A trajectory, and the memory that it takes.
#[derive(Debug)]
struct Queued {
    arrival: Arrival,
    _memory: OwnedSemaphorePermit,
}

/// A queue of at most `trajectories`, which take at most `memory`. One that is larger than that
/// by itself waits until the queue is empty.
pub fn bounded(trajectories: usize, memory: ByteSize) -> (Intake, Arrivals) {
    let (sender, queue) = mpsc::channel(trajectories);
    let blocks = memory.bytes().div_ceil(BLOCK as u64).clamp(1, u64::from(u32::MAX)) as u32;
    let memory = Arc::new(Semaphore::new(blocks as usize));
    (Intake { queue: sender, memory, blocks }, Arrivals { queue, taken: Vec::new() })
}

impl Intake {
    /// Waits for a place for a trajectory of so many bytes. `None` once nobody takes trajectories
    /// any more.
    pub async fn place(&self, bytes: usize) -> Option<Place<'_>> {
        let blocks = bytes.div_ceil(BLOCK).min(self.blocks as usize) as u32;
        let place = self.queue.reserve().await.ok()?;
        let memory = tokio::select! {
            biased;
            memory = self.memory.clone().acquire_many_owned(blocks) => memory.ok()?,
            () = self.queue.closed() => return None,
        };
        Some(Place { place, memory })
    }
}

impl Place<'_> {
    /// Fills the place.
    pub fn put(self, arrival: Arrival) {
        self.place.send(Queued { arrival, _memory: self.memory });
    }
}

impl Arrivals {
    /// Waits for at least one trajectory and takes at most `most` into `taken`. Returns how many:
    /// none only once every intake is gone and the queue is empty.
    pub async fn take(&mut self, taken: &mut Vec<Arrival>, most: usize) -> usize {
        let count = self.queue.recv_many(&mut self.taken, most).await;
        taken.extend(self.taken.drain(..).map(|queued| queued.arrival));
        count
    }

    /// The next trajectory, if one waits.
    pub fn next_now(&mut self) -> Option<Arrival> {
        self.queue.try_recv().ok().map(|queued| queued.arrival)
    }

    /// Trajectories that wait.
    pub fn depth(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::fixtures::trajectory;

    #[tokio::test]
    async fn trajectories_wait_for_memory_as_for_a_place() {
        let (intake, mut arrivals) = bounded(4, ByteSize(3 << 10));
        let place = |bytes| intake.place(bytes).now_or_never();
        let arrival = || Arrival { trajectory: trajectory(0, 0), generation: 1 };
        place(2 << 10).unwrap().unwrap().put(arrival());
        assert!(place(2 << 10).is_none(), "four places, but no memory");
        place(1 << 10).unwrap().unwrap().put(arrival());
        assert!(arrivals.next_now().is_some());
        place(2 << 10).unwrap().unwrap().put(arrival());
        assert!(place(1 << 30).is_none());
        let mut taken = Vec::new();
        assert_eq!(arrivals.take(&mut taken, 9).await, 2);
        place(1 << 30).unwrap().unwrap().put(arrival());
        assert!(place(1).is_none(), "it takes all there is");
    }
}
