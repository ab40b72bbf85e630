//! gRPC over a [`Listener`], the transport settings of both ends, and answers in time.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};

use super::{AuthLayer, Listener, NetError};
use crate::shutdown::Shutdown;

/// Bytes of one stream that may be on their way unread: a dozen of the largest trajectories.
pub(super) const STREAM_WINDOW: u32 = 16 << 20;

/// Bytes of one connection that may be on their way unread. More than one stream's share, so that
/// a stream that is made to wait does not hold up its neighbors.
pub(super) const CONNECTION_WINDOW: u32 = 64 << 20;

/// The largest HTTP/2 frame. The protocol's 16 KiB cuts a trajectory into dozens.
pub(super) const FRAME: u32 = 1 << 20;

/// Streams that one connection may have at once. Each may announce a message for which room is made.
/// Ours need one: every group, sender, reporter and subscription has a connection of its own. Calls
/// beyond the limit wait at the client, which is told of it, until a stream ends, for as long as the
/// client has patience. A stream that is opened in spite of it is refused.
const STREAMS: u32 = 64;

/// Silence after which the other end is asked for a sign of life.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Time that it has to answer.
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a call's headers. Ours have a path, a handful of fields and a token of 1 KiB at most.
const HEADERS: u32 = 16 << 10;

/// Streams that a peer may have opened and reset before anybody looked at them, and those reset
/// for its own errors. Ours reset hardly ever; a flood of resets ends its connection.
const RESETS: usize = 20;

/// Time that open streams may take to end once a server shuts down.
const GRACE: Duration = Duration::from_secs(5);

/// Layers before the services of every server: the [`AuthLayer`].
pub type Authenticated = Stack<AuthLayer, Identity>;

/// A server with the transport settings that all of ours share, which asks calls for what the
/// listener's [`ServerSecurity`](super::ServerSecurity) says.
pub fn server_builder() -> Server<Authenticated> {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADERS)
        .http2_max_pending_accept_reset_streams(Some(RESETS))
        .http2_max_local_error_reset_streams(Some(RESETS))
        .layer(AuthLayer)
}

/// Serves until shutdown; then streams have a few seconds to end by themselves. Whatever is still
/// open when this future ends or is dropped is cut.
pub async fn serve(
    router: Router<Authenticated>,
    listener: Listener,
    shutdown: Shutdown,
) -> Result<(), NetError> {
    let _cut = listener.cut_on_drop();
    let incoming = listener.incoming();
    let graceful = router.serve_with_incoming_shutdown(incoming, shutdown.triggered());
    let too_late = async {
        shutdown.triggered().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        biased;
        served = graceful => Ok(served?),
        () = too_late => {
            tracing::warn!(seconds = GRACE.as_secs(), "streams did not end, and were cut");
            Ok(())
        }
    }
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
