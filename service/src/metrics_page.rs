//! Page of this process's metrics: Prometheus reads it at `/metrics`.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

use crate::metrics::{install, snapshot};
use crate::net::reloaded::look_at_all;
use crate::net::{Connection, Listener, Peer};
use crate::shutdown::Shutdown;

/// Time that a client has to ask. The listener's own deadline is shorter, where it has one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves `/metrics` until shutdown.
pub async fn serve(listener: Listener, shutdown: Shutdown) {
    install();
    let mut incoming = listener.incoming();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            Some(_) = connections.join_next() => {}
            // No more of them than the listener lets in, and each leaves with its answer.
            Some(Ok(connection)) = incoming.next() => {
                connections.spawn(converse(connection));
            }
        }
    }
}

async fn converse(connection: Connection) {
    let peer = connection.peer().clone();
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // One question a connection: nobody holds a place by having asked once.
        .keep_alive(false)
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(connection), service_fn(|request| respond(&peer, request)))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a reader of the metrics left");
    }
}

fn respond(
    peer: &Peer,
    request: Request<Incoming>,
) -> std::future::Ready<Result<Response<Full<Bytes>>, Infallible>> {
    let authentication = peer.authentication();
    let refused = authentication.and_then(|state| state.check(request.headers()).err());
    let (status, body) = match (refused, request.method(), request.uri().path()) {
        (Some(refused), _, _) => (StatusCode::UNAUTHORIZED, format!("{}.\n", refused.message())),
        (None, &Method::GET, "/metrics") => {
            look_at_all();
            (StatusCode::OK, snapshot())
        }
        _ => (StatusCode::NOT_FOUND, "There is only GET /metrics here.\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    std::future::ready(Ok(response))
}
