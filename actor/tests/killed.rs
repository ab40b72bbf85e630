//! Neighbors at Unix sockets are killed in the middle of everything, and replaced.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::thread::JoinHandle;

use engram_actor::{ExitReason, spawn};
use engram_service::{Address, Exposure, Listener, Shutdown};
use support::checks::check_stream;
use support::inference::{FakeInference, Fault};
use support::learner::{FakeLearner, Held, Mood};
use support::{config, counting};

const UNROLL_LENGTH: usize = 5;

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("engram-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn socket(&self, name: &str) -> Address {
        Address::Unix(self.0.join(name))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server with an event loop of its own, as a process would have.
struct Server {
    killed: Shutdown,
    thread: JoinHandle<()>,
}

impl Server {
    fn start<F>(address: &Address, serve: impl FnOnce(Listener) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        let killed = Shutdown::new();
        let (address, kill) = (address.clone(), killed.clone());
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = Listener::bind(&address, Exposure::Local).await.unwrap();
                tokio::select! {
                    () = serve(listener) => {}
                    () = kill.triggered() => {}
                }
            });
            // All connections are cut where they are.
            drop(runtime);
        });
        Server { killed, thread }
    }

    fn kill(self) {
        self.killed.trigger();
        self.thread.join().unwrap();
    }
}

/// Trajectories of the environment that has the fewest; all four must have some.
fn shortest(held: &Held) -> usize {
    if held.trajectories.len() < 4 {
        return 0;
    }
    held.trajectories.values().map(Vec::len).min().unwrap()
}

/// Trajectories of the environment that has the most.
fn longest(held: &Held) -> usize {
    held.trajectories.values().map(Vec::len).max().unwrap()
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_when_either_server_is_killed_and_replaced() {
    let directory = Directory::new("killed");
    let (inference, learner) = (directory.socket("inference"), directory.socket("learner"));
    // The actor is there first.
    let environment = counting(7);
    let actor = spawn(
        config(&environment, vec![inference.clone()], learner.clone(), UNROLL_LENGTH),
        Shutdown::new(),
    );

    let sink = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    let learn = |sink: &FakeLearner| {
        let sink = sink.clone();
        Server::start(&learner, |listener| sink.serve(listener, Shutdown::new()))
    };
    let act = |policy: &FakeInference| {
        let policy = policy.clone();
        Server::start(&inference, |listener| policy.serve(listener, Shutdown::new()))
    };
    let first_policy = FakeInference::new(1, Fault::None);
    let (first, first_learner) = (act(&first_policy), learn(&sink));
    sink.until(|held| shortest(held) >= 20).await;

    first.kill();
    let second_policy = FakeInference::new(2, Fault::None);
    let second = act(&second_policy);
    let before = longest(&sink.held());
    sink.until(|held| shortest(held) >= before + 20).await;

    first_learner.kill();
    let second_learner = learn(&sink);
    let before = longest(&sink.held());
    sink.until(|held| held.registrations.len() == 2 && shortest(held) >= before + 20).await;

    sink.mood(Mood::Finished);
    let summary = actor.join().unwrap().unwrap();
    second.kill();
    second_learner.kill();

    assert_eq!(summary.reason, ExitReason::Finished);
    assert_eq!(summary.interruptions, 2);
    let held = sink.held();
    assert_eq!(held.gaps, 0);
    // All four environments were interrupted once, when the first policy was killed. Where an
    // unroll was complete and the episode as well, that does not show.
    let interruptions: usize = held.trajectories.values().map(|t| check_stream(t)).sum();
    assert!(interruptions <= 4, "{interruptions}");
    assert!(second_policy.answers() > 0);
}
