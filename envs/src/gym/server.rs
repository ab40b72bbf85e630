//! One connection to a server of environments.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use engram_mdp::{Actions, EnvSpec, Observations};

use super::config::GymConfig;
use super::process::{Process, remedy};
use super::wire::{self, Announcement, Columns, Order};

/// Limit on the start: packages are imported, and all environments are made.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Limit on a connection to a server elsewhere.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A server with its rows.
#[derive(Debug)]
pub(crate) struct Server {
    // Closed before the process is waited for: fields are dropped in this order.
    stream: Stream,
    process: Option<Process>,
    spec: EnvSpec,
    rows: usize,
    limit: Duration,
    /// File of the observations, if frames do not hold them.
    shared: Option<File>,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    observations: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A picture for people.
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Red, green and blue of every pixel.
    pub(super) pixels: Vec<u8>,
}

impl Server {
    /// Starts a server, or connects to the one at `address`, and has it make one environment for
    /// each seed. The error is for people.
    pub(super) fn start(config: &GymConfig, seeds: &[u32]) -> Result<Server, String> {
        let (process, mut stream) = match &config.address {
            Some(address) => (None, Stream::connect(address)?),
            None => {
                let (process, stream) = Process::start(&config.program())?;
                (Some(process), Stream::Unix(stream))
            }
        };
        let mut process = process;
        let limit = START_LIMIT.max(config.step_limit());
        let shared = matches!(stream, Stream::Unix(_));
        let mut incoming = Vec::new();
        let told = stream
            .limit(limit)
            .and_then(|()| wire::send(&mut stream, wire::MAKE, &wire::make(config, seeds, shared)))
            .and_then(|()| wire::receive(&mut stream, &mut incoming));
        let kind = told.map_err(|error| explain(&error, process.as_mut(), limit))?;
        let said = announced(kind, &incoming).map_err(|error| {
            match remedy(&config.program(), &error) {
                Some(remedy) if config.address.is_none() => remedy,
                _ => error,
            }
        })?;
        let shared =
            attach(said.shared.as_deref(), &mut stream).map_err(|error| error.to_string())?;
        let spec = EnvSpec {
            name: config.look(),
            observation: said.observation,
            action: said.action,
            frame_stack: 1,
            action_repeat: said.action_repeat,
        };
        let spec = spec.checked().map_err(|error| error.to_string())?;
        let limit = config.step_limit();
        stream.limit(limit).map_err(|error| error.to_string())?;
        let (outgoing, observations, rows) = (Vec::new(), Vec::new(), seeds.len());
        Ok(Server { stream, process, spec, rows, limit, shared, outgoing, incoming, observations })
    }

    /// Observations and actions of its rows.
    pub(super) fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// Asks for a step. `orders` are of its rows, which are the rows `rows` of `actions`.
    pub(super) fn ask(
        &mut self,
        orders: &[Order],
        actions: &Actions,
        rows: Range<usize>,
    ) -> io::Result<()> {
        wire::step(&mut self.outgoing, orders, actions, rows, self.spec.action.len());
        self.stream.write_all(&self.outgoing)
    }

    /// Waits for the answer to [`ask`](Self::ask).
    pub(super) fn answer(&mut self) -> Result<Columns<'_>, String> {
        let kind = wire::receive(&mut self.stream, &mut self.incoming)
            .map_err(|error| explain(&error, self.process.as_mut(), self.limit))?;
        if kind != wire::FRAMES {
            return Err(refusal(kind, &self.incoming));
        }
        let bytes = self.rows * self.spec.observation.bytes();
        let inline = if self.shared.is_some() { 0 } else { bytes };
        let Some(mut columns) = Columns::split(&self.incoming, self.rows, inline) else {
            return Err(format!("frames of {} bytes came", self.incoming.len()));
        };
        if let Some(file) = &self.shared {
            self.observations.resize(bytes, 0);
            let read = file.read_exact_at(&mut self.observations, 0);
            read.map_err(|error| format!("the shared file of observations: {error}"))?;
            columns.observations = &self.observations;
        }
        Ok(columns)
    }

    /// Copies a row's observation out of the latest answer's columns.
    pub(super) fn copy(
        columns: &Columns<'_>,
        at: usize,
        to: &mut Observations,
        row: usize,
        len: usize,
    ) {
        let bytes = columns.observations.len() / columns.codes.len();
        wire::copy(&columns.observations[at * bytes..(at + 1) * bytes], to, row, len);
    }

    /// A picture of a row, or the reason why there is none.
    pub(super) fn picture(&mut self, row: usize) -> Result<Picture, String> {
        let row = u32::try_from(row).expect("a number of a row");
        let kind = wire::send(&mut self.stream, wire::RENDER, &row.to_le_bytes())
            .and_then(|()| wire::receive(&mut self.stream, &mut self.incoming))
            .map_err(|error| explain(&error, self.process.as_mut(), self.limit))?;
        let payload = &self.incoming;
        if kind != wire::PICTURE || payload.len() < 8 {
            return Err(refusal(kind, payload));
        }
        let side = |at: usize| {
            let bytes = [payload[at], payload[at + 1], payload[at + 2], payload[at + 3]];
            u32::from_le_bytes(bytes) as usize
        };
        let (width, height, pixels) = (side(0), side(4), &payload[8..]);
        if width == 0 {
            return Err(String::from_utf8_lossy(pixels).into_owned());
        }
        if width.checked_mul(height).and_then(|size| size.checked_mul(3)) != Some(pixels.len()) {
            return Err(format!("a picture of {width} x {height} has {} bytes", pixels.len()));
        }
        Ok(Picture { width, height, pixels: pixels.to_vec() })
    }

    /// Ends it at once: it does not answer, or is not to be trusted.
    pub(super) fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }
}

/// The contents of a SPEC, or the reason why none came.
fn announced(kind: u8, payload: &[u8]) -> Result<Announcement, String> {
    match kind {
        wire::SPEC => wire::announcement(payload)
            .map_err(|fault| format!("the server's answer cannot be used: {fault}")),
        kind => Err(refusal(kind, payload)),
    }
}

/// Opens the file that a server offers, and says whether that went well.
fn attach(path: Option<&str>, stream: &mut Stream) -> io::Result<Option<File>> {
    let Some(path) = path else { return Ok(None) };
    let file = File::open(path).ok();
    wire::send(stream, wire::ATTACHED, &[u8::from(file.is_some())])?;
    Ok(file)
}

/// The text of an ERROR, or a word about another message.
fn refusal(kind: u8, payload: &[u8]) -> String {
    match kind {
        wire::ERROR => String::from_utf8_lossy(payload).into_owned(),
        kind => format!("a message of kind {kind} came, which was not asked for"),
    }
}

/// A broken connection in words.
fn explain(error: &io::Error, process: Option<&mut Process>, limit: Duration) -> String {
    match (error.kind(), process) {
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, _) => {
            format!("the server did not answer within {} s", limit.as_secs_f64())
        }
        (io::ErrorKind::InvalidData, _) => error.to_string(),
        (_, Some(process)) => process.last_words(),
        (_, None) => format!("the connection to the server was lost: {error}"),
    }
}

impl Stream {
    fn connect(address: &str) -> Result<Stream, String> {
        let failed = |error: io::Error| {
            format!(
                "no server at {address} ({error}); start one there: python3 -m engram_gym --listen \
                 {address}"
            )
        };
        if let Some(path) = address.strip_prefix("unix:") {
            return UnixStream::connect(path).map(Stream::Unix).map_err(failed);
        }
        let mut found = address.to_socket_addrs().map_err(failed)?;
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let at = found.next().ok_or_else(missing).map_err(failed)?;
        let stream = TcpStream::connect_timeout(&at, CONNECT_LIMIT).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Stream::Tcp(stream))
    }

    fn limit(&self, limit: Duration) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))
            }
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write(buffer),
            Stream::Tcp(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
