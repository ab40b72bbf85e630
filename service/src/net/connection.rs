//! One accepted or dialed connection, whatever carries it.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::guard::Visit;
use super::tls;

/// A connection over TCP, with TLS or without, a Unix socket or a pipe.
pub struct Connection {
    io: Box<dyn Io>,
    peer: Peer,
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    opening: Option<Opening>,
    words: Option<LastWords>,
    /// Whether anything has been read.
    began: bool,
}

/// Who is at the other end, as far as the transport can tell.
#[derive(Clone, Debug)]
pub struct Peer {
    name: String,
    visit: Option<Arc<Visit>>,
}

/// Beginning of a connection, until it is authenticated.
struct Opening {
    deadline: Pin<Box<Sleep>>,
    heard: usize,
}

/// Why a client's newest connection broke, where its server said so. HTTP/2 has no place for that
/// in the errors of calls.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWords(Arc<Mutex<Option<String>>>);

/// Bytes of the first words: HTTP/2's preface.
const FIRST_WORDS: usize = 24;

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
        let peer = Peer { name: peer.into(), visit: None };
        Connection { io: Box::new(io), peer, cut: None, opening: None, words: None, began: false }
    }

    /// Of a visitor, whose first words must be HTTP, and who must authenticate in time.
    pub(super) fn of_visitor<T>(io: T, visit: Visit) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut connection = Connection::new(io, visit.address.clone());
        let deadline = Box::pin(tokio::time::sleep(visit.permit.deadline()));
        connection.opening = Some(Opening { deadline, heard: 0 });
        connection.peer.visit = Some(Arc::new(visit));
        connection
    }

    /// Keeps what the other end says when it hangs up.
    pub(super) fn telling(self, words: LastWords) -> Self {
        words.take();
        Connection { words: Some(words), ..self }
    }

    /// Who is at the other end.
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
        if let Some(words) = &self.words {
            // No frame of HTTP/2 begins with this byte: it would be larger than ours may be.
            if !self.began && read.first() == Some(&TLS_ALERT) {
                words.keep("the server speaks TLS: pass --tls-ca".into());
                return invalid("the server speaks TLS");
            }
        }
        let first = if self.began { None } else { read.first() };
        self.began = true;
        let Some(opening) = &mut self.opening else { return Ok(()) };
        opening.heard += read.len();
        let why = match first {
            Some(&TLS_HANDSHAKE) => {
                "it speaks TLS, this server does not: start it with --tls-cert and --tls-key"
            }
            // The methods of HTTP/1 and the preface of HTTP/2 begin with a capital.
            Some(byte) if !byte.is_ascii_uppercase() => "it does not speak HTTP",
            _ => {
                if let Some(visit) = &self.peer.visit
                    && visit.token.is_none()
                    && opening.heard >= FIRST_WORDS
                {
                    visit.permit.authenticated();
                }
                return Ok(());
            }
        };
        if let Some(visit) = &self.peer.visit {
            visit.failed("handshake", why);
        }
        invalid(why)
    }

    /// Breaks a connection that has not authenticated in time.
    fn poll_opening(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let (Some(opening), Some(visit)) = (&mut self.opening, &self.peer.visit) else {
            return Ok(());
        };
        if visit.permit.is_authenticated() {
            self.opening = None;
        } else if opening.deadline.as_mut().poll(cx).is_ready() {
            let why =
                if opening.heard == 0 { "it said nothing" } else { "it did not authenticate" };
            visit.failed("timeout", why);
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Peer {
    /// What it must show; `None` where there is no lock.
    pub(crate) fn visit(&self) -> Option<&Arc<Visit>> {
        self.visit.as_ref()
    }

    /// Who sent a request to a server of ours.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request
            .extensions()
            .get()
            .cloned()
            .unwrap_or_else(|| Peer { name: "an unknown peer".into(), visit: None })
    }
}

impl LastWords {
    /// Forgets them, and returns them.
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, said: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
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
            if let (Err(error), Some(words)) = (&read, &self.words)
                && let Some(said) = tls::last_words(error)
            {
                words.keep(said);
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
