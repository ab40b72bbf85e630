//! Schedule of faults: what happens to a fleet, in order, as its seed says.

use engram_mdp::{Generator, Seed};
use rand::RngExt;

use crate::fleet::{ACTORS, SERVERS};

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// An actor is killed, and started again.
    KillActor(usize),
    /// An actor is stopped, and goes on after the next event.
    StopActor(usize),
    /// An inference server is killed, and started again.
    KillServer(usize),
    /// An inference server is stopped, and goes on after the next event.
    StopServer(usize),
    /// The learner is killed, and started again: it resumes from its checkpoint.
    KillLearner,
    /// Connections to one of the servers, or to the learner, break.
    Cut(Port),
    /// Bytes that are no protocol come in at a port.
    Garbage(Port, u64),
    /// Strangers connect, and say nothing until after the next event.
    Flood(Port, usize),
}

/// Port of the learner or of an inference server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Port {
    /// The learner's.
    Learner,
    /// A server's.
    Server(usize),
}

/// Events of a seed. Each schedule kills the learner once, wherever that is.
pub(crate) fn schedule(seed: Seed, events: usize) -> Vec<Event> {
    let mut generator = seed.derive("schedule", 0).generator();
    let mut schedule: Vec<Event> = (0..events).map(|_| event(&mut generator)).collect();
    let at = generator.random_range(0..events);
    schedule[at] = Event::KillLearner;
    schedule
}

fn event(generator: &mut Generator) -> Event {
    let actor = generator.random_range(0..ACTORS);
    let server = generator.random_range(0..SERVERS);
    let port = if generator.random() { Port::Learner } else { Port::Server(server) };
    match generator.random_range(0..10) {
        0 | 1 => Event::KillActor(actor),
        2 => Event::StopActor(actor),
        3 | 4 => Event::KillServer(server),
        5 => Event::StopServer(server),
        6 | 7 => Event::Cut(port),
        8 => Event::Garbage(port, generator.random()),
        _ => Event::Flood(port, generator.random_range(10..300)),
    }
}

/// Bytes that a port may hear: noise, noise after the greeting of HTTP/2, frames of nonsense, or
/// another protocol.
pub(crate) fn garbage(seed: u64) -> Vec<u8> {
    let mut generator = Seed::new(seed).generator();
    let greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let length = generator.random_range(1..4_096);
    let noise: Vec<u8> = (0..length).map(|_| generator.random()).collect();
    match generator.random_range(0..4) {
        0 => noise,
        1 => [&greeting[..], &noise].concat(),
        2 => {
            let frame =
                |kind: u8| [&[0, 0, 4, kind, 0, 0, 0, 0, 1][..], &noise[..1], &[0; 3]].concat();
            [&greeting[..], &(0..=255).flat_map(frame).collect::<Vec<u8>>()].concat()
        }
        _ => b"GET / HTTP/1.1\r\nHost: engram\r\n\r\n".to_vec(),
    }
}
