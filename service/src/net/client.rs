//! The client's end: a channel to an [`Address`], with the keys that open its door.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderValue};
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
use super::connection::LastWords;
use super::{Address, Connection, Keys, NetError};

/// How long dialing may take, the TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A channel to a server: every call on it shows the token, if there is one. Clones share a
/// connection.
#[derive(Clone, Debug)]
pub struct Channel {
    inner: tonic::transport::Channel,
    authorization: Option<HeaderValue>,
    address: Address,
    peer: &'static str,
    words: LastWords,
}

/// A channel to a peer, which is dialed at the first call and again after every loss. `peer` names
/// it in errors: `learner`, `inference server`.
pub fn connect(address: &Address, peer: &'static str) -> Channel {
    let (place, keys) = match address {
        Address::Keyed(keyed) => (&keyed.address, keyed.keys.clone()),
        bare => (bare, Keys::default()),
    };
    let words = LastWords::default();
    let endpoint = match place {
        Address::Tcp { .. } => Endpoint::from_shared(format!("http://{place}")).ok(),
        _ => None,
    };
    let authorization = match place {
        Address::Tcp { .. } => keys.token.as_ref().map(|token| token.header()),
        // Sockets of this machine and pipes have no lock.
        _ => None,
    };
    let (target, heard) = (place.clone(), words.clone());
    let inner = endpoint
        .unwrap_or_else(|| Endpoint::from_static("http://localhost"))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(service_fn(move |_: Uri| {
            let (address, keys, heard) = (target.clone(), keys.clone(), heard.clone());
            async move {
                let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in 5 s");
                let dialed = timeout(CONNECT_TIMEOUT, dial(&address, &keys)).await.map_err(slow);
                dialed
                    .and_then(|connection| connection)
                    .map(|connection| TokioIo::new(connection.telling(heard)))
                    .map_err(|source| NetError::Unreachable { peer, address, source })
            }
        }));
    Channel { inner, authorization, address: place.clone(), peer, words }
}

pub(super) async fn dial(address: &Address, keys: &Keys) -> io::Result<Connection> {
    let peer = address.to_string();
    match address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            let local = stream.peer_addr()?.ip().to_canonical().is_loopback();
            match &keys.tls {
                Some(tls) => Ok(Connection::new(tls.connect(host, stream).await?, peer)),
                None if keys.token.is_some() && !local && !keys.insecure => {
                    Err(io::Error::other("the token would travel unencrypted: pass --tls-ca"))
                }
                None => Ok(Connection::new(stream, peer)),
            }
        }
        Address::Unix(path) => Ok(Connection::new(UnixStream::connect(path).await?, peer)),
        Address::Memory(pipe) => Ok(Connection::new(pipe.dial().await?, peer)),
        Address::Keyed(_) => unreachable!("keys are taken off before an address is dialed"),
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
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answer = self.inner.call(request);
        let (words, address, peer) = (self.words.clone(), self.address.clone(), self.peer);
        Box::pin(async move {
            answer.await.map_err(|error| match words.take() {
                Some(words) => {
                    let source = io::Error::other(words);
                    let error = NetError::Unreachable { peer, address, source };
                    Status::unavailable(error.to_string())
                }
                None => Status::from_error(error.into()),
            })
        })
    }
}
