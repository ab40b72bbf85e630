//! A network within this process, on simulated time: what the hosts say to one another takes its
//! time, is cut, or does not arrive.
//!
//! Every link leads from one actor to one server. Its connections are byte streams, as TCP's: in
//! order within each, and in any order between two of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use engram_mdp::{Generator, Seed};
use engram_service::{Address, Listener};
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_stream::StreamExt;

/// Time that bytes take, from the least to the most.
const LATENCY: (u64, u64) = (5, 60);

/// Address of a server, if it is up.
pub(crate) type Place = Arc<Mutex<Option<Address>>>;

/// Way from an actor to a server.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    address: Address,
    /// True while bytes pass from the actor to the server, and back.
    passes: [Arc<watch::Sender<bool>>; 2],
    /// Counts the times that its connections were cut.
    cuts: Arc<watch::Sender<u64>>,
}

impl Link {
    /// A link that leads to whatever serves at `place` when somebody dials.
    pub(crate) fn new(place: Place, seed: Seed) -> Self {
        let listener = Listener::memory();
        let link = Link {
            address: listener.address().clone(),
            passes: [true, true].map(|passes| Arc::new(watch::Sender::new(passes))),
            cuts: Arc::default(),
        };
        tokio::spawn(link.clone().carry(listener, place, seed));
        link
    }

    /// The address that the actor dials.
    pub(crate) fn address(&self) -> Address {
        self.address.clone()
    }

    /// Breaks all connections.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Bytes wait on the way to the server, on the way back, or on both; nobody hears of it.
    pub(crate) fn partition(&self, to_server: bool, to_actor: bool) {
        self.passes[0].send_replace(!to_server);
        self.passes[1].send_replace(!to_actor);
    }

    /// Everything that has waited arrives.
    pub(crate) fn heal(&self) {
        self.partition(false, false);
    }

    async fn carry(self, listener: Listener, place: Place, seed: Seed) {
        let mut incoming = listener.incoming();
        for number in 0.. {
            let Some(Ok(actor)) = incoming.next().await else { return };
            let server = place.lock().unwrap().clone();
            let Some(Address::Memory(pipe)) = server else { continue };
            let Ok(server) = pipe.dial().await else { continue };
            let (actor, server) = (tokio::io::split(actor), tokio::io::split(server));
            let random = [0, 1].map(|way| seed.derive("connection", 2 * number + way).generator());
            let [to_server, to_actor] = random;
            let [there, back] = self.passes.each_ref().map(|passes| passes.subscribe());
            let mut cuts = self.cuts.subscribe();
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    _ = cuts.changed() => {}
                    _ = async {
                        tokio::join!(
                            pump(actor.0, server.1, there, to_server),
                            pump(server.0, actor.1, back, to_actor)
                        )
                    } => {}
                }
            });
        }
    }
}

/// Passes bytes on in one direction until one end closes.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut passes: watch::Receiver<bool>,
    mut random: Generator,
) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        sleep(Duration::from_millis(random.random_range(LATENCY.0..=LATENCY.1))).await;
        if passes.wait_for(|passes| *passes).await.is_err()
            || to.write_all(&bytes[..count]).await.is_err()
        {
            break;
        }
    }
    let _ = to.shutdown().await;
}
