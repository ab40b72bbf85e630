//! Listener: a bound address, and the connections that arrive at it.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Sleep, timeout_at};
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::limiter::ConnectionLimiter;
use super::peer::{Authentication, GAVE_WAY};
use super::{Address, Connection, Exposure, NetError, Pipe, ServerSecurity, ServerTls, Token};

/// Bound address.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    cut: CancellationToken,
}

/// Connections that arrive at a [`Listener`], for tonic's `serve_with_incoming`.
///
/// The stream never ends and never fails: when the system cannot accept (no more file
/// descriptors, for one), it says so and tries again.
#[derive(Debug)]
pub struct Incoming {
    listener: Listener,
    pause: Option<Pin<Box<Sleep>>>,
    /// As many as the limiter permits.
    handshakes: JoinSet<Option<Connection>>,
}

/// Pause after a failed `accept`. Whatever ran out is rarely back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, Admission),
    // The file goes first: once it is gone, another process may bind there undisturbed.
    Unix { _file: SocketFile, listener: UnixListener },
    Memory(mpsc::Receiver<DuplexStream>),
}

/// Admission to a TCP listener.
#[derive(Debug)]
struct Admission {
    tls: Option<ServerTls>,
    token: Option<Token>,
    limiter: ConnectionLimiter,
    /// Place of the connection that is awaited.
    next: Option<OwnedSemaphorePermit>,
}

/// Connection that has been accepted.
enum AcceptedConnection {
    Here(Connection),
    /// Before its TLS handshake.
    Tls(TcpStream, ServerTls, Authentication),
}

/// Removes the socket's file when the listener is dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Listener {
    /// Listens on an address, without TLS or a token.
    pub async fn bind(address: &Address, exposure: Exposure) -> Result<Self, NetError> {
        Self::secured(&ServerSecurity::none(exposure), address).await
    }

    /// Listens on an address with this security.
    pub async fn secured(security: &ServerSecurity, address: &Address) -> Result<Self, NetError> {
        match address {
            Address::Tcp { host, port } => bind_tcp(address, host, *port, security).await,
            Address::Unix(path) => bind_unix(address, path).await,
            Address::Memory(_) => Err(NetError::InUse { address: address.clone() }),
            Address::Target(target) => Box::pin(Self::secured(security, &target.address)).await,
        }
    }

    /// Listens within this process: the same services without a socket.
    pub fn memory() -> Self {
        let (pipe, accept) = Pipe::new();
        Self::new(Socket::Memory(accept), Address::Memory(pipe))
    }

    /// Bound address, with the real port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Connections that arrive.
    pub fn incoming(self) -> Incoming {
        Incoming { listener: self, pause: None, handshakes: JoinSet::new() }
    }

    /// Breaks all accepted connections when it is dropped.
    pub(super) fn cut_on_drop(&self) -> DropGuard {
        self.cut.clone().drop_guard()
    }

    fn new(socket: Socket, address: Address) -> Self {
        Listener { socket, address, cut: CancellationToken::new() }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<AcceptedConnection>> {
        let connection = match &mut self.socket {
            Socket::Tcp(listener, admission) => {
                let place = ready!(admission.poll_place(cx));
                let (stream, peer) = match listener.poll_accept(cx) {
                    Poll::Ready(accepted) => accepted?,
                    Poll::Pending => {
                        admission.next = Some(place);
                        return Poll::Pending;
                    }
                };
                // A client that has hung up already is no trouble of the listener's.
                let _ = stream.set_nodelay(true);
                return Poll::Ready(Ok(admission.receive(stream, peer.to_string(), place)));
            }
            Socket::Unix { listener, .. } => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                Connection::new(stream, self.address.to_string())
            }
            Socket::Memory(accept) => {
                let stream = ready!(accept.poll_recv(cx));
                let stream = stream.expect("the listener's own address keeps the pipe open");
                Connection::new(stream, self.address.to_string())
            }
        };
        Poll::Ready(Ok(AcceptedConnection::Here(connection)))
    }
}

impl Admission {
    fn new(security: &ServerSecurity) -> Self {
        Admission {
            tls: security.tls.clone(),
            token: security.token.clone(),
            limiter: ConnectionLimiter::new(security.limits),
            next: None,
        }
    }

    /// Place for the next connection, kept while that is awaited.
    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<OwnedSemaphorePermit> {
        match self.next.take() {
            Some(place) => Poll::Ready(place),
            None => self.limiter.poll_place(cx),
        }
    }

    fn receive(
        &mut self,
        stream: TcpStream,
        address: String,
        place: OwnedSemaphorePermit,
    ) -> AcceptedConnection {
        let permit = self.limiter.admit(place);
        let authentication = Authentication { permit, address, token: self.token.clone() };
        match &self.tls {
            Some(tls) => AcceptedConnection::Tls(stream, tls.clone(), authentication),
            None => AcceptedConnection::Here(Connection::accepted(stream, authentication)),
        }
    }
}

/// TLS handshake of an accepted connection; `None` if it failed.
async fn handshake(
    stream: TcpStream,
    tls: ServerTls,
    authentication: Authentication,
) -> Option<Connection> {
    let permit = &authentication.permit;
    let accepted = async {
        // A byte, or the end: whatever it is, accepting tells.
        let _ = stream.peek(&mut [0]).await;
        permit.heard();
        tls.accept(stream).await
    };
    let accepted = tokio::select! {
        accepted = timeout_at(permit.deadline(), accepted) => accepted,
        () = permit.given_away() => {
            authentication.failed("timeout", GAVE_WAY);
            return None;
        }
    };
    match accepted {
        Ok(Ok(stream)) => Some(Connection::accepted(stream, authentication)),
        Ok(Err(failed)) => {
            authentication.failed("handshake", &failed.why);
            failed.linger().await;
            None
        }
        Err(_) => {
            authentication.failed("timeout", "it did not shake hands");
            None
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Poll::Ready(Some(ended)) = self.handshakes.poll_join_next(cx) {
                match ended {
                    Ok(Some(connection)) => {
                        let connection = connection.until(&self.listener.cut);
                        return Poll::Ready(Some(Ok(connection)));
                    }
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a handshake panicked"),
                }
                continue;
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok(AcceptedConnection::Here(connection)) => {
                    return Poll::Ready(Some(Ok(connection.until(&self.listener.cut))));
                }
                Ok(AcceptedConnection::Tls(stream, tls, authentication)) => {
                    self.handshakes.spawn(handshake(stream, tls, authentication));
                }
                Err(error) => {
                    let address = &self.listener.address;
                    tracing::warn!(%address, %error, "a connection was not accepted");
                    self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever removed it before us did our work.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn bind_tcp(
    address: &Address,
    host: &str,
    port: u16,
    security: &ServerSecurity,
) -> Result<Listener, NetError> {
    let failed = |source| NetError::Bind { address: address.clone(), source };
    let found: Vec<_> = tokio::net::lookup_host((host, port)).await.map_err(failed)?.collect();
    let local = found.iter().all(|socket| socket.ip().to_canonical().is_loopback());
    if let Some(missing) = security.missing().filter(|_| !local) {
        return Err(NetError::Exposed { address: address.clone(), missing });
    }
    let listener =
        TcpListener::bind(found.as_slice()).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => NetError::InUse { address: address.clone() },
            _ => failed(source),
        })?;
    let bound = listener.local_addr().map_err(failed)?;
    let address = Address::Tcp { host: host.into(), port: bound.port() };
    Ok(Listener::new(Socket::Tcp(listener, Admission::new(security)), address))
}

async fn bind_unix(address: &Address, path: &Path) -> Result<Listener, NetError> {
    let failed = |source| NetError::Bind { address: address.clone(), source };
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(address, path).await?;
            UnixListener::bind(path)
        }
        other => other,
    };
    let listener = listener.map_err(failed)?;
    let file = SocketFile(path.into());
    // Local means: this user's processes.
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(failed)?;
    let socket = Socket::Unix { _file: file, listener };
    Ok(Listener::new(socket, address.clone()))
}

/// Removes the socket of a process that is gone.
async fn remove_stale(address: &Address, path: &Path) -> Result<(), NetError> {
    let failed = |source| NetError::Bind { address: address.clone(), source };
    if !std::fs::symlink_metadata(path).map_err(failed)?.file_type().is_socket() {
        return Err(NetError::NotASocket { path: path.into() });
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(%address, "a socket that nobody listens on is replaced");
            std::fs::remove_file(path).map_err(failed)
        }
        // Connected, or a full backlog, or another user's: somebody is there.
        _ => Err(NetError::InUse { address: address.clone() }),
    }
}
