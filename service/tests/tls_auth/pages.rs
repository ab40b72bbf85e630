//! Pages of metrics behind TLS and a token, and those who read them.

use engram_service::args::MetricsArgs;
use engram_service::net::{ServerSecurity, http_get};
use engram_service::{
    Address, ClientCredentials, Exposure, Listener, NetError, Shutdown, metrics_page,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::Level;

use crate::support::{Lab, Log, SOON};

#[tokio::test]
async fn an_open_page_is_read_over_tcp_and_a_unix_socket() {
    let lab = Lab::new();
    for address in [Address::loopback(0), lab.unix()] {
        let security = ServerSecurity::none(Exposure::Local);
        let listener = Listener::secured(&security, &address).await.unwrap();
        let address = listener.address().clone();
        tokio::spawn(metrics_page::serve(listener, Shutdown::new()));
        let read = async |path| http_get(&address, "page", path).await;
        let body = String::from_utf8(read("/metrics").await.unwrap()).unwrap();
        assert!(body.contains("engram_build_info{"), "{body}");
        let error = read("/gone").await.unwrap_err();
        assert!(matches!(error, NetError::Page { status: 404, .. }), "{error}");
        assert!(error.to_string().contains("only GET /metrics"), "{error}");
    }
}

/// The page once served 64 connections at a time, and kept those that had asked: whoever opened as
/// many hid the metrics from Prometheus for half a minute, again and again.
#[tokio::test]
async fn readers_who_stay_hide_the_page_from_nobody() {
    let security = ServerSecurity::none(Exposure::Local);
    let listener = Listener::secured(&security, &Address::loopback(0)).await.unwrap();
    let address = listener.address().clone();
    tokio::spawn(metrics_page::serve(listener, Shutdown::new()));
    let mut readers = Vec::new();
    for _ in 0..100 {
        let mut reader = TcpStream::connect(address.to_string()).await.unwrap();
        reader.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
        reader.read_exact(&mut [0; 15]).await.unwrap();
        readers.push(reader);
    }
    let read = tokio::time::timeout(SOON, http_get(&address, "page", "/metrics")).await;
    assert!(read.is_ok_and(|page| page.is_ok()));
}

#[tokio::test]
async fn a_locked_page_is_read_with_the_right_keys_and_only_with_them() {
    let lab = Lab::new();
    let security = ServerSecurity { tls: Some(lab.mutual_tls()), ..lab.security() };
    let (log, _guard) = Log::keep(Level::INFO);
    // On all addresses: on loopback alone it would be open.
    let metrics = MetricsArgs { metrics: Some("0.0.0.0:0".parse().unwrap()) };
    let _task = metrics.serve(&security, &Shutdown::new()).await.unwrap().unwrap();
    let text = log.text();
    let port = text.rsplit(':').next().unwrap().split('/').next().unwrap();
    let address: Address = format!("127.0.0.1:{port}").parse().unwrap();
    let credentials =
        ClientCredentials { tls: Some(lab.client_tls(Some("client"))), ..lab.credentials() };
    let with = async |credentials: &ClientCredentials| {
        http_get(&credentials.at(&address).unwrap(), "page", "/metrics").await
    };
    let body = with(&credentials).await.unwrap();
    assert!(String::from_utf8(body).unwrap().contains("engram_build_info{"));
    let error = with(&ClientCredentials { token: None, ..credentials.clone() }).await.unwrap_err();
    assert!(matches!(error, NetError::Page { status: 401, .. }), "{error}");
    let error = with(&ClientCredentials { tls: None, ..credentials }).await.unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }), "{error}");
}
