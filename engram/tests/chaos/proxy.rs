//! Chaos proxy: TCP between two programs, with the faults of bad networks.
//!
//! What happens to a connection follows from the proxy's seed, the connection's number and the
//! bytes that have passed; only how long a pause lasts is up to the clock. A calm proxy passes
//! everything on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use engram_mdp::Seed;
use rand::RngExt;

/// The most bytes that are passed on at once.
const PIECE: usize = 16 << 10;

/// Direction in which bytes pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client to the server.
    Up,
    /// Back.
    Down,
}

/// Fault of a connection, once so many bytes have passed in the direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// None.
    Clear,
    /// Both directions end.
    Cut,
    /// The direction ends, the other one goes on.
    CutOneWay,
    /// Bytes in the direction are swallowed, and nobody hears of it.
    HalfOpen,
    /// Nothing passes for a while.
    Stall(Duration),
    /// Each piece is late.
    Delay(Duration),
    /// So many bytes pass at once, and then none for a moment.
    Throttle(usize),
}

/// Fault of one connection.
#[derive(Clone, Copy, Debug)]
struct Fate {
    fault: Fault,
    direction: Direction,
    after: u64,
}

/// The proxy; it ends when it is dropped.
pub(crate) struct ChaosProxy {
    address: String,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    seed: Seed,
    /// Address of the server now; empty while there is none.
    target: Mutex<String>,
    connections: AtomicU64,
    /// Both ends of each connection that is open, and its fault.
    open: Mutex<Vec<(u64, Fault, [TcpStream; 2])>>,
    calm: Mutex<bool>,
    calmed: Condvar,
    ended: AtomicBool,
}

impl ChaosProxy {
    /// A proxy without a target: its connections are closed at once.
    pub(crate) fn start(seed: Seed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address").to_string();
        let shared = Arc::new(Shared {
            seed,
            target: Mutex::default(),
            connections: AtomicU64::new(0),
            open: Mutex::default(),
            calm: Mutex::new(false),
            calmed: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let accepts = shared.clone();
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepts.ended.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    accepts.clone().connect(client);
                }
            }
        });
        ChaosProxy { address, shared, accepting: Some(accepting) }
    }

    /// Address that clients dial.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Connections from now on lead there.
    pub(crate) fn lead_to(&self, target: &str) {
        *lock(&self.shared.target) = target.into();
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Cuts all connections that are open.
    pub(crate) fn cut(&self) {
        self.shared.cut(|_| true);
    }

    /// Has no more faults; those connections end that have one.
    pub(crate) fn calm(&self) {
        *lock(&self.shared.calm) = true;
        self.shared.calmed.notify_all();
        self.shared.cut(|fault| fault != Fault::Clear);
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.calm();
        self.cut();
        // The accepting thread wakes up to see that it is over.
        let _ = TcpStream::connect(&self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn connect(self: Arc<Self>, client: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let target = lock(&self.target).clone();
        let Ok(server) = TcpStream::connect(target) else { return };
        let fate = match *lock(&self.calm) {
            true => Fate { fault: Fault::Clear, direction: Direction::Up, after: 0 },
            false => fate(self.seed, number),
        };
        // Pieces are small, and late only when they are meant to be.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let both = || Some([client.try_clone().ok()?, server.try_clone().ok()?]);
        let (Some(kept), Some(up), Some(down)) = (both(), both(), both()) else { return };
        lock(&self.open).push((number, fate.fault, kept));
        let ([from_client, to_server], [to_client, from_server]) = (up, down);
        let shared = self.clone();
        std::thread::spawn(move || {
            shared.pump(number, from_client, to_server, fate, Direction::Up)
        });
        std::thread::spawn(move || {
            self.pump(number, from_server, to_client, fate, Direction::Down);
        });
    }

    /// Passes on what comes in one direction, until it ends.
    fn pump(
        &self,
        number: u64,
        mut from: TcpStream,
        mut to: TcpStream,
        fate: Fate,
        direction: Direction,
    ) {
        let suffers = fate.direction == direction;
        let (mut passed, mut buffer, mut stalled) = (0, [0; PIECE], false);
        loop {
            let due = suffers && passed >= fate.after;
            let room = match fate.fault {
                Fault::Throttle(bytes) if due => bytes.min(PIECE),
                // A fault comes exactly where it is due.
                _ if suffers && !due => PIECE.min((fate.after - passed) as usize),
                _ => PIECE,
            };
            match fate.fault {
                Fault::Cut if due => return self.close(number),
                Fault::CutOneWay if due => break,
                Fault::Stall(pause) if due && !stalled => {
                    stalled = true;
                    self.pause(pause);
                }
                Fault::Delay(pause) if due => self.pause(pause),
                Fault::Throttle(_) if due => self.pause(Duration::from_millis(5)),
                _ => {}
            }
            let read = match from.read(&mut buffer[..room]) {
                Ok(0) => break,
                Ok(read) => read,
                Err(_) => return self.close(number),
            };
            let swallowed = fate.fault == Fault::HalfOpen && due;
            if !swallowed && to.write_all(&buffer[..read]).is_err() {
                return self.close(number);
            }
            passed += read as u64;
        }
        let _ = (from.shutdown(Shutdown::Read), to.shutdown(Shutdown::Write));
    }

    /// Waits, but not once the proxy is calm.
    fn pause(&self, pause: Duration) {
        let calm = lock(&self.calm);
        let waited = self.calmed.wait_timeout_while(calm, pause, |calm| !*calm);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn close(&self, number: u64) {
        lock(&self.open).retain(|(open, _, ends)| {
            if *open == number {
                ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
            }
            *open != number
        });
    }

    fn cut(&self, which: impl Fn(Fault) -> bool) {
        lock(&self.open).retain(|(_, fault, ends)| {
            let cut = which(*fault);
            if cut {
                ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
            }
            !cut
        });
    }
}

/// Fate of the connection of that number. Half of them are spared, so that a system which
/// tries again gets somewhere.
fn fate(seed: Seed, number: u64) -> Fate {
    let mut generator = seed.derive("connection", number).generator();
    let fault = match generator.random_range(0..16) {
        0 | 1 => Fault::Cut,
        2 => Fault::CutOneWay,
        3 => Fault::HalfOpen,
        4 => Fault::Stall(Duration::from_millis(generator.random_range(100..3_000))),
        5 | 6 => Fault::Delay(Duration::from_millis(generator.random_range(1..50))),
        7 => Fault::Throttle(generator.random_range(64..2_048)),
        _ => Fault::Clear,
    };
    let direction = if generator.random() { Direction::Up } else { Direction::Down };
    // From the first byte on, in a handshake, in a registration, or in the middle of the work.
    let after = 1_u64 << generator.random_range(0..20);
    Fate { fault, direction, after: after - 1 }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
