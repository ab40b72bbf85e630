//! gRPC over a [`Listener`] and to an [`Address`], with the same transport settings at both ends.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tower::service_fn;

use super::{Address, Connection, Listener, NetError};
use crate::shutdown::Shutdown;

/// Bytes of one stream that may be on their way unread: a dozen of the largest trajectories.
const STREAM_WINDOW: u32 = 16 << 20;

/// Bytes of one connection that may be on their way unread. More than one stream's share, so that
/// a stream that is made to wait does not hold up its neighbors.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// The largest HTTP/2 frame. The protocol's 16 KiB cuts a trajectory into dozens.
const FRAME: u32 = 1 << 20;

/// Streams that one connection may open at once.
const STREAMS: u32 = 1024;

/// After so long without a word the other end is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// And has so long to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long dialing may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long open streams may take to end once a server shuts down.
const GRACE: Duration = Duration::from_secs(5);

/// A server with the transport settings that all of ours share.
pub fn server_builder() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// Serves until shutdown; then streams have a few seconds to end by themselves. Whatever is still
/// open when this future ends or is dropped is cut.
pub async fn serve(router: Router, listener: Listener, shutdown: Shutdown) -> Result<(), NetError> {
    let _cut = listener.cut_on_drop();
    let incoming = listener.incoming();
    let graceful = router.serve_with_incoming_shutdown(incoming, shutdown.triggered());
    let too_late = async {
        shutdown.triggered().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = graceful => Ok(served?),
        () = too_late => {
            tracing::warn!(seconds = GRACE.as_secs(), "streams did not end, and were cut");
            Ok(())
        }
    }
}

/// A channel to a peer, which is dialed at the first call and again after every loss. `peer` names
/// it in errors: `learner`, `inference server`.
pub fn connect(address: &Address, peer: &'static str) -> Channel {
    let authority = match address {
        Address::Tcp { .. } => Endpoint::from_shared(format!("http://{address}")).ok(),
        Address::Unix(_) | Address::Memory(_) => None,
    };
    let address = address.clone();
    authority
        .unwrap_or_else(|| Endpoint::from_static("http://localhost"))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(service_fn(move |_: Uri| {
            let address = address.clone();
            async move {
                let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in 5 s");
                let dialed = timeout(CONNECT_TIMEOUT, dial(&address)).await.map_err(slow);
                dialed
                    .and_then(|connection| connection)
                    .map(TokioIo::new)
                    .map_err(|source| NetError::Unreachable { peer, address, source })
            }
        }))
}

/// Awaits a peer's answer for no longer than `limit`. `peer` is a phrase, as in "the learner at
/// 10.0.0.1:5000", and `doing` another, as in "registering".
pub async fn answer<T>(
    peer: impl Display,
    doing: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, NetError> {
    match timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => {
            Err(NetError::Refused { peer: peer.to_string(), doing, status: Box::new(status) })
        }
        Err(_) => Err(NetError::Silent { peer: peer.to_string(), doing, limit }),
    }
}

async fn dial(address: &Address) -> io::Result<Connection> {
    let peer = address.to_string();
    match address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Ok(Connection::new(stream, peer))
        }
        Address::Unix(path) => Ok(Connection::new(UnixStream::connect(path).await?, peer)),
        Address::Memory(pipe) => Ok(Connection::new(pipe.dial().await?, peer)),
    }
}
