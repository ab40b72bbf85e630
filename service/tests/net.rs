//! Processes that meet, and processes that do not.

#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_macros, reason = "a metric that only this test knows")]

use std::time::Duration;

use engram_service::net::{self, Address, Exposure, Listener, NetError};
use engram_service::{Shutdown, health, metrics, metrics_page};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

async fn bind(address: &Address) -> Result<Listener, NetError> {
    Listener::bind(address, Exposure::Local).await
}

fn unix(directory: &TempDir) -> Address {
    Address::Unix(directory.path().join("engram.sock"))
}

/// A server that knows only its health.
async fn serve(listener: Listener) -> (health::Health, Shutdown, JoinHandle<()>) {
    let (health, service) = health::health().await;
    let shutdown = Shutdown::new();
    let router = net::server_builder().add_service(service);
    let served = net::serve(router, listener, shutdown.clone());
    (health, shutdown, tokio::spawn(async { served.await.unwrap() }))
}

#[tokio::test]
async fn one_service_speaks_over_tcp_unix_sockets_and_pipes() {
    let directory = TempDir::new().unwrap();
    for listener in [
        bind(&Address::loopback(0)).await.unwrap(),
        bind(&unix(&directory)).await.unwrap(),
        Listener::memory(),
    ] {
        let address = listener.address().clone();
        assert!(!address.to_string().ends_with(":0"), "the real port");
        let (health, shutdown, task) = serve(listener).await;
        let early = health::check(&address).await.unwrap_err();
        assert!(matches!(early, NetError::NotServing { .. }), "{early}");
        health.serving().await;
        health::check(&address).await.unwrap();
        health.not_serving().await;
        assert!(health::check(&address).await.is_err());
        shutdown.trigger();
        task.await.unwrap();
    }
    assert!(!directory.path().join("engram.sock").exists(), "the socket's file is removed");
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_by_the_same_channel() {
    let directory = TempDir::new().unwrap();
    let address = unix(&directory);
    let mut client = HealthClient::new(net::connect(&address, "learner"));
    let ask = || HealthCheckRequest { service: String::new() };
    for _ in 0..2 {
        let (_, shutdown, task) = serve(bind(&address).await.unwrap()).await;
        client.check(ask()).await.unwrap();
        shutdown.trigger();
        task.await.unwrap();
        let error = client.check(ask()).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn calls_beyond_the_streams_of_a_connection_wait_until_one_ends_and_others_do_not() {
    const STREAMS: usize = 64;
    let listener = Listener::memory();
    let address = listener.address().clone();
    let (health, shutdown, task) = serve(listener).await;
    health.serving().await;
    let client = HealthClient::new(net::connect(&address, "server"));
    let ask = || HealthCheckRequest { service: String::new() };
    client.clone().check(ask()).await.unwrap();
    let mut watches = Vec::new();
    for _ in 0..STREAMS {
        watches.push(client.clone().watch(ask()).await.unwrap());
    }
    tokio::time::pause();
    let mut one_more = client.clone();
    let mut one_more = std::pin::pin!(one_more.check(ask()));
    assert!(tokio::time::timeout(Duration::from_secs(10), &mut one_more).await.is_err());
    health::check(&address).await.unwrap();
    watches.pop();
    one_more.await.unwrap();
    drop((watches, client));
    shutdown.trigger();
    task.await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_remedy() {
    let first = bind(&Address::loopback(0)).await.unwrap();
    let error = bind(first.address()).await.unwrap_err();
    assert!(matches!(error, NetError::InUse { .. }));
    let wanted = format!("{} is in use: another process listens there; stop it", first.address());
    assert!(error.to_string().starts_with(&wanted), "{error}");
}

#[tokio::test]
async fn a_live_socket_is_refused_and_a_stale_one_replaced() {
    let directory = TempDir::new().unwrap();
    let address = unix(&directory);
    let Address::Unix(path) = &address else { unreachable!("a Unix address") };
    let live = bind(&address).await.unwrap();
    let error = bind(&address).await.unwrap_err();
    assert!(matches!(error, NetError::InUse { .. }), "{error}");
    drop(live);
    // What a killed process leaves behind: the file, and nobody listening.
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    assert!(path.exists());
    drop(bind(&address).await.unwrap());
    std::fs::write(path, "precious").unwrap();
    let error = bind(&address).await.unwrap_err();
    assert!(matches!(error, NetError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
}

#[tokio::test]
async fn an_address_that_others_can_reach_needs_a_lock_or_the_insecure_flag() {
    for text in ["0.0.0.0:0", "[::]:0"] {
        let address: Address = text.parse().unwrap();
        let error = bind(&address).await.unwrap_err().to_string();
        assert!(error.starts_with(text) && error.contains("--insecure"), "{error}");
        assert!(error.contains("--tls-cert") && error.contains("--token-file"), "{error}");
    }
    let address: Address = "0.0.0.0:0".parse().unwrap();
    Listener::bind(&address, Exposure::Insecure).await.unwrap();
    bind(&"localhost:0".parse().unwrap()).await.unwrap();
}

#[tokio::test]
async fn nobody_there_names_peer_and_address() {
    let directory = TempDir::new().unwrap();
    let address = unix(&directory);
    let mut client = HealthClient::new(net::connect(&address, "inference server"));
    let call = client.check(HealthCheckRequest { service: String::new() });
    let limit = Duration::from_secs(60);
    let error = net::answer("the inference server", "saying hello", limit, call).await.unwrap_err();
    let wanted = format!("cannot reach the inference server at {address}: ");
    let message = error.to_string();
    assert!(message.contains(&wanted) && message.contains("saying hello"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_fails_within_the_deadline_and_is_named() {
    let listener = Listener::memory();
    let address = listener.address().clone();
    let mut incoming = listener.incoming();
    let silent = tokio::spawn(async move {
        let _held = incoming.next().await;
        std::future::pending::<()>().await;
    });
    let start = tokio::time::Instant::now();
    let error = health::check(&address).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 5);
    let wanted = format!("the server at {address} was silent for 5 s while its health was checked");
    assert_eq!(error.to_string(), wanted);
    silent.abort();
}

#[tokio::test(start_paused = true)]
async fn a_connection_gone_silent_is_given_up_by_its_keepalive() {
    let listener = Listener::memory();
    let mut client = HealthClient::new(net::connect(listener.address(), "learner"));
    let mut incoming = listener.incoming();
    let silent = tokio::spawn(async move {
        let _held = incoming.next().await;
        std::future::pending::<()>().await;
    });
    let start = tokio::time::Instant::now();
    let error = client.check(HealthCheckRequest { service: String::new() }).await.unwrap_err();
    assert!((29..=31).contains(&start.elapsed().as_secs()), "{error}");
    silent.abort();
}

#[tokio::test(start_paused = true)]
async fn streams_that_do_not_end_are_cut_after_a_few_seconds() {
    let listener = Listener::memory();
    let mut client = HealthClient::new(net::connect(listener.address(), "learner"));
    let (_, shutdown, task) = serve(listener).await;
    let endless = client.watch(HealthCheckRequest { service: String::new() }).await.unwrap();
    let mut endless = endless.into_inner();
    endless.message().await.unwrap().unwrap();
    let start = tokio::time::Instant::now();
    shutdown.trigger();
    task.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 5);
    endless.message().await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_killed_takes_its_connections_with_it() {
    let listener = Listener::memory();
    let mut client = HealthClient::new(net::connect(listener.address(), "learner"));
    let (_, _, task) = serve(listener).await;
    let endless = client.watch(HealthCheckRequest { service: String::new() }).await.unwrap();
    let mut endless = endless.into_inner();
    endless.message().await.unwrap().unwrap();
    let start = tokio::time::Instant::now();
    task.abort();
    endless.message().await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 0, "long before any keepalive");
}

#[tokio::test]
async fn the_metrics_page_is_served_at_its_own_port_until_shutdown() {
    metrics::install();
    ::metrics::counter!("test_pages_total").increment(3);
    let listener = bind(&Address::loopback(0)).await.unwrap();
    let address = listener.address().to_string();
    let shutdown = Shutdown::new();
    let task = tokio::spawn(metrics_page::serve(listener, shutdown.clone()));
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    };
    let page = get("/metrics").await;
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
    assert!(page.contains("\ntest_pages_total 3\n"), "{page}");
    assert!(page.contains("process_resident_memory_bytes "), "{page}");
    assert!(get("/").await.starts_with("HTTP/1.1 404 Not Found"));
    shutdown.trigger();
    task.await.unwrap();
    assert!(TcpStream::connect(&address).await.is_err());
}
