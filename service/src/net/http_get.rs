//! Pages read over HTTP/1.1: metrics of our own programs, answers of a Prometheus.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::client::Dialer;
use super::{Address, ClientTls, NetError};

/// Time that a whole answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest answer in bytes.
const LARGEST: usize = 64 << 20;

/// Page at `path` of a server. `peer` names the server in errors.
pub async fn http_get(
    address: &Address,
    peer: &'static str,
    path: &str,
) -> Result<Vec<u8>, NetError> {
    let (place, dialer) = Dialer::of(address, 0);
    let answer = match timeout(PATIENCE, ask(place, dialer, path)).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in 10 s")),
    };
    let unreachable = |source| NetError::Unreachable { peer, address: place.clone(), source };
    let (status, body) = answer.map_err(unreachable)?;
    if status != StatusCode::OK {
        let said = String::from_utf8_lossy(&body[..body.len().min(500)]).trim().to_owned();
        return Err(NetError::Page { address: place.clone(), status: status.as_u16(), said });
    }
    Ok(body)
}

async fn ask(place: &Address, mut dialer: Dialer, path: &str) -> io::Result<(StatusCode, Vec<u8>)> {
    dialer.credentials.tls = dialer.credentials.tls.as_ref().map(ClientTls::for_http1);
    let connection = dialer.dial(place).await?;
    let (mut sender, transfer) =
        http1::handshake(TokioIo::new(connection)).await.map_err(io::Error::other)?;
    let mut request = Request::get(path).body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let host = match place {
        Address::Tcp { .. } => place.to_string(),
        _ => "localhost".into(),
    };
    let host = HeaderValue::try_from(host).map_err(io::Error::other)?;
    request.headers_mut().insert(HOST, host);
    if let (Some(token), Address::Tcp { .. }) = (&dialer.credentials.token, place) {
        request.headers_mut().insert(AUTHORIZATION, token.header());
    }
    let answer = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        Ok((status, body.map_err(io::Error::other)?.to_bytes().to_vec()))
    };
    // Dropped with the answer in hand, the connection closes.
    tokio::select! {
        answer = answer => answer,
        Err(error) = transfer => Err(io::Error::other(error)),
    }
}
