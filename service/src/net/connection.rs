//! Connection, accepted or dialed, whatever carries it.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::peer::{Authentication, GAVE_WAY, Peer};
use super::tls;

/// A connection over TCP, with TLS or without, a Unix socket or a pipe.
pub struct Connection {
    io: Box<dyn Io>,
    peer: Peer,
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    opening: Option<Opening>,
    close_reason: Option<CloseReason>,
    /// True once anything has been read.
    began: bool,
}

/// Beginning of a connection, until it is authenticated.
struct Opening {
    deadline: Pin<Box<Sleep>>,
    given_away: Pin<Box<WaitForCancellationFutureOwned>>,
    /// True once anything has been read.
    heard: bool,
}

/// Reason for which a client's newest connection broke, where its server gave one. HTTP/2 has no
/// place for it in the errors of calls.
#[derive(Clone, Debug, Default)]
pub(super) struct CloseReason(Arc<Mutex<Option<String>>>);

/// The first byte of TLS' records, as far as they can come first: an alert, a greeting.
const TLS_ALERT: u8 = 0x15;
const TLS_HANDSHAKE: u8 = 0x16;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Connection {
    pub(super) fn new<T>(io: T, peer: impl Into<String>) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let peer = Peer { name: peer.into(), authentication: None };
        Connection {
            io: Box::new(io),
            peer,
            cut: None,
            opening: None,
            close_reason: None,
            began: false,
        }
    }

    /// Connection to a server of ours: it must begin with HTTP, and authenticate in time.
    pub(super) fn accepted<T>(io: T, authentication: Authentication) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut connection = Connection::new(io, authentication.address.clone());
        let deadline = Box::pin(tokio::time::sleep_until(authentication.permit.deadline()));
        let given_away = Box::pin(authentication.permit.given_away());
        connection.opening = Some(Opening { deadline, given_away, heard: false });
        connection.peer.authentication = Some(Arc::new(authentication));
        connection
    }

    /// The same connection, which keeps the reason that the other end gives when it hangs up.
    pub(super) fn keeping(self, close_reason: CloseReason) -> Self {
        close_reason.take();
        Connection { close_reason: Some(close_reason), ..self }
    }

    /// The other end.
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Breaks as soon as the token is canceled.
    pub(super) fn until(self, cut: &CancellationToken) -> Self {
        Connection { cut: Some(Box::pin(cut.clone().cancelled_owned())), ..self }
    }
}

impl Connection {
    /// Looks at what was just read, as long as it is the beginning.
    fn inspect(&mut self, read: &[u8]) -> io::Result<()> {
        let invalid = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        if let Some(close_reason) = &self.close_reason {
            // No frame of HTTP/2 begins with this byte: it would be larger than ours may be.
            if !self.began && read.first() == Some(&TLS_ALERT) {
                close_reason.keep("the server speaks TLS: pass --tls-ca".into());
                return invalid("the server speaks TLS");
            }
        }
        let first = if self.began { None } else { read.first() };
        self.began = true;
        let Some(opening) = &mut self.opening else { return Ok(()) };
        if !opening.heard && !read.is_empty() {
            opening.heard = true;
            if let Some(authentication) = &self.peer.authentication {
                authentication.permit.heard();
            }
        }
        let why = match first {
            Some(&TLS_HANDSHAKE) => {
                "it speaks TLS, this server does not: start it with --tls-cert and --tls-key"
            }
            // The methods of HTTP/1 and the preface of HTTP/2 begin with a capital.
            Some(byte) if !byte.is_ascii_uppercase() => "it does not speak HTTP",
            _ => return Ok(()),
        };
        if let Some(authentication) = &self.peer.authentication {
            authentication.failed("handshake", why);
        }
        invalid(why)
    }

    /// Breaks a connection that has not authenticated in time.
    fn poll_opening(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let (Some(opening), Some(authentication)) = (&mut self.opening, &self.peer.authentication)
        else {
            return Ok(());
        };
        if authentication.permit.is_authenticated() {
            self.opening = None;
        } else if opening.deadline.as_mut().poll(cx).is_ready() {
            let why = match (opening.heard, &authentication.token) {
                (false, _) => "it said nothing",
                (true, Some(_)) => "it did not authenticate",
                (true, None) => "it made no call",
            };
            authentication.failed("timeout", why);
            return Err(io::ErrorKind::TimedOut.into());
        } else if opening.given_away.as_mut().poll(cx).is_ready() {
            authentication.failed("timeout", GAVE_WAY);
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl CloseReason {
    /// Takes the reason out.
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, said: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_opening(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        // Asked only when there is nothing to read: a busy connection pays nothing for it.
        if let Poll::Ready(read) = read {
            if let (Err(error), Some(close_reason)) = (&read, &self.close_reason)
                && let Some(said) = tls::close_reason(error)
            {
                close_reason.keep(said);
            }
            read?;
            let new = &buffer.filled()[before..];
            return Poll::Ready(self.inspect(new));
        }
        match &mut self.cut {
            Some(cut) => {
                cut.as_mut().poll(cx).map(|()| Err(io::ErrorKind::ConnectionAborted.into()))
            }
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
