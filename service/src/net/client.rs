//! Client: a channel to an [`Address`], with the credentials that go with it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::header::AUTHORIZATION;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Endpoint, Uri};
use tower::{Service, service_fn};

use super::channel::{
    CONNECTION_WINDOW, FRAME, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW,
};
use super::connection::CloseReason;
use super::resolver::first_reachable;
use super::{Address, ClientCredentials, Connection, NetError, Resolver, Token};

/// Time that dialing may take, the TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Channel to a server: every call on it shows the token, if there is one. Clones share a
/// connection.
#[derive(Clone, Debug)]
pub struct Channel {
    inner: tonic::transport::Channel,
    /// Token that calls show.
    token: Option<Token>,
    address: Address,
    peer: &'static str,
    close_reason: CloseReason,
}

/// Channel to a peer, which is dialed at the first call and again after every loss. `peer` names
/// it in errors: `learner`, `inference server`.
pub fn connect(address: &Address, peer: &'static str) -> Channel {
    connect_at(address, peer, 0)
}

/// The same, where several servers may share one name: the name is resolved whenever it is dialed,
/// and the first dial begins at address number `turn` (modulo their count), the next one at the
/// address after it. Those that follow are tried as well, within the same limit of time. Calls
/// stay on the connection on which they began.
pub fn connect_at(address: &Address, peer: &'static str, turn: u64) -> Channel {
    let (place, dialer) = Dialer::of(address, turn);
    let close_reason = CloseReason::default();
    let endpoint = match place {
        Address::Tcp { .. } => Endpoint::from_shared(format!("http://{place}")).ok(),
        _ => None,
    };
    let token = match place {
        Address::Tcp { .. } => dialer.credentials.token.clone(),
        // Sockets of this machine and pipes ask for no token.
        _ => None,
    };
    let dialer = Arc::new(dialer);
    let (target, heard) = (place.clone(), close_reason.clone());
    let inner = endpoint
        .unwrap_or_else(|| Endpoint::from_static("http://localhost"))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(service_fn(move |_: Uri| {
            let (address, dialer, heard) = (target.clone(), dialer.clone(), heard.clone());
            async move {
                let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in 5 s");
                let dialed = timeout(CONNECT_TIMEOUT, dialer.dial(&address)).await.map_err(slow);
                dialed
                    .and_then(|connection| connection)
                    .map(|connection| TokioIo::new(connection.keeping(heard)))
                    .map_err(|source| NetError::Unreachable { peer, address, source })
            }
        }));
    Channel { inner, token, address: place.clone(), peer, close_reason }
}

/// Dialer of one target.
pub(super) struct Dialer {
    resolver: Resolver,
    pub(super) credentials: ClientCredentials,
    /// Turn of the next dial.
    turn: AtomicU64,
}

impl Dialer {
    /// Dialer for an address, and the bare address. The first dial begins at server number `turn`
    /// behind it.
    pub(super) fn of(address: &Address, turn: u64) -> (&Address, Self) {
        let (place, credentials, resolver) = match address {
            Address::Target(target) => {
                (&target.address, target.credentials.clone(), target.resolver.clone())
            }
            bare => (bare, ClientCredentials::default(), Resolver::default()),
        };
        (place, Dialer { resolver, credentials, turn: AtomicU64::new(turn) })
    }

    pub(super) async fn dial(&self, address: &Address) -> io::Result<Connection> {
        let peer = address.to_string();
        match address {
            Address::Tcp { host, port } => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let addresses = self.resolver.addresses(host, *port, turn).await?;
                first_reachable(addresses, |at| {
                    connect_to(at, host.clone(), self.credentials.clone(), peer.clone())
                })
                .await
            }
            Address::Unix(path) => Ok(Connection::new(UnixStream::connect(path).await?, peer)),
            Address::Memory(pipe) => Ok(Connection::new(pipe.dial().await?, peer)),
            Address::Target(_) => {
                unreachable!("credentials are taken off before an address is dialed")
            }
        }
    }
}

/// A connection to one address of a host, the TLS handshake included.
async fn connect_to(
    at: SocketAddr,
    host: String,
    credentials: ClientCredentials,
    peer: String,
) -> io::Result<Connection> {
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    match &credentials.tls {
        Some(tls) => Ok(Connection::new(tls.connect(&host, stream).await?, peer)),
        None if credentials.token.is_some()
            && !at.ip().to_canonical().is_loopback()
            && !credentials.insecure =>
        {
            Err(io::Error::other("the token would travel unencrypted: pass --tls-ca"))
        }
        None => Ok(Connection::new(stream, peer)),
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx).map_err(|error| Status::from_error(error.into()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.header());
        }
        let answer = self.inner.call(request);
        let (close_reason, address, peer) =
            (self.close_reason.clone(), self.address.clone(), self.peer);
        Box::pin(async move {
            answer.await.map_err(|error| match close_reason.take() {
                Some(close_reason) => {
                    let source = io::Error::other(close_reason);
                    let error = NetError::Unreachable { peer, address, source };
                    Status::unavailable(error.to_string())
                }
                None => Status::from_error(error.into()),
            })
        })
    }
}
