//! A bound address, and the connections that arrive at it.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Address, Connection, NetError, Pipe};

/// Who may reach a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Processes of this machine. TCP addresses that others can reach are refused.
    Local,
    /// Whoever can reach the address: `--insecure`.
    Insecure,
}

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    cut: CancellationToken,
}

/// The connections that arrive at a [`Listener`], for tonic's `serve_with_incoming`.
///
/// The stream never ends and never fails: when the system cannot accept (no more file
/// descriptors, for one), it says so and tries again.
#[derive(Debug)]
pub struct Incoming {
    listener: Listener,
    pause: Option<Pin<Box<Sleep>>>,
}

/// How long a failed `accept` is left alone. Whatever ran out is rarely back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    // The file goes first: once it is gone, another process may bind there undisturbed.
    Unix { _file: SocketFile, listener: UnixListener },
    Memory(mpsc::Receiver<DuplexStream>),
}

/// Removes the socket's file when the listener is dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Listener {
    /// Listens on an address.
    pub async fn bind(address: &Address, exposure: Exposure) -> Result<Self, NetError> {
        match address {
            Address::Tcp { host, port } => bind_tcp(address, host, *port, exposure).await,
            Address::Unix(path) => bind_unix(address, path).await,
            Address::Memory(_) => Err(NetError::InUse { address: address.clone() }),
        }
    }

    /// Listens within this process: the same services without a socket.
    pub fn memory() -> Self {
        let (pipe, accept) = Pipe::new();
        Self::new(Socket::Memory(accept), Address::Memory(pipe))
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The connections that arrive.
    pub fn incoming(self) -> Incoming {
        Incoming { listener: self, pause: None }
    }

    /// Breaks all accepted connections when it is dropped.
    pub(super) fn cut_on_drop(&self) -> DropGuard {
        self.cut.clone().drop_guard()
    }

    fn new(socket: Socket, address: Address) -> Self {
        Listener { socket, address, cut: CancellationToken::new() }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        match &mut self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                stream.set_nodelay(true)?;
                Poll::Ready(Ok(Connection::new(stream, peer.to_string())))
            }
            Socket::Unix { listener, .. } => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Ok(Connection::new(stream, self.address.to_string())))
            }
            Socket::Memory(accept) => {
                let stream = ready!(accept.poll_recv(cx));
                let stream = stream.expect("the listener's own address keeps the pipe open");
                Poll::Ready(Ok(Connection::new(stream, self.address.to_string())))
            }
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok(connection) => {
                    return Poll::Ready(Some(Ok(connection.until(&self.listener.cut))));
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
    exposure: Exposure,
) -> Result<Listener, NetError> {
    let failed = |source| NetError::Bind { address: address.clone(), source };
    let found: Vec<_> = tokio::net::lookup_host((host, port)).await.map_err(failed)?.collect();
    let local = found.iter().all(|socket| socket.ip().to_canonical().is_loopback());
    if exposure == Exposure::Local && !local {
        return Err(NetError::Exposed { address: address.clone() });
    }
    let listener =
        TcpListener::bind(found.as_slice()).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => NetError::InUse { address: address.clone() },
            _ => failed(source),
        })?;
    let bound = listener.local_addr().map_err(failed)?;
    let address = Address::Tcp { host: host.into(), port: bound.port() };
    Ok(Listener::new(Socket::Tcp(listener), address))
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
