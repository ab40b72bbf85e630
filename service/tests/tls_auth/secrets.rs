//! Secrets that nobody may read, and pages that everybody may.

use engram_service::args::MetricsArgs;
use engram_service::net::{self, ServerSecurity};
use engram_service::{Exposure, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::Level;

use crate::support::{Lab, Log, Server, TOKEN, ask, token};

#[tokio::test]
async fn no_log_and_no_debug_output_shows_a_token() {
    let guess = "guess-9876543210-fedcba";
    let lab = Lab::new();
    let (log, _guard) = Log::keep(Level::TRACE);
    for tls in [true, false] {
        let mut security = lab.security();
        let (mut right, mut wrong) = (lab.credentials(), lab.credentials());
        wrong.token = Some(token(guess));
        if !tls {
            (security.tls, right.tls, wrong.tls) = (None, None, None);
        }
        let server = Server::start(&security).await;
        ask(&mut server.client(&right)).await.unwrap();
        ask(&mut server.client(&wrong)).await.unwrap_err();
        let address = right.at(&server.address).unwrap();
        let channel = net::connect(&address, "server");
        for shown in
            [format!("{security:?}"), format!("{right:?}"), format!("{address:?} {channel:?}")]
        {
            assert!(!shown.contains(TOKEN), "{shown}");
        }
        server.stop().await;
    }
    let text = log.text();
    assert!(text.contains("h2::") && text.contains("rustls::"), "libraries' traces were kept");
    assert!(!text.contains(TOKEN) && !text.contains(guess), "{text}");
    let bytes = |token: &str| format!("{:?}", token.as_bytes());
    assert!(!text.contains(bytes(TOKEN).trim_matches(['[', ']'])), "{text}");
}

async fn page(address: &str, authorization: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

#[tokio::test]
async fn metrics_are_open_on_loopback_and_behind_the_token_elsewhere() {
    let lab = Lab::new();
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for (address, open) in [("127.0.0.1:0", true), ("0.0.0.0:0", false)] {
        let (log, _guard) = Log::keep(Level::INFO);
        let security = ServerSecurity { tls: None, exposure: Exposure::Insecure, ..lab.security() };
        let metrics = MetricsArgs { metrics: Some(address.parse().unwrap()) };
        let shutdown = Shutdown::new();
        let task = metrics.serve(&security, &shutdown).await.unwrap().unwrap();
        let text = log.text();
        let port = text.rsplit(':').next().unwrap().split('/').next().unwrap();
        let at = format!("127.0.0.1:{port}");
        assert!(page(&at, &right).await.starts_with("HTTP/1.1 200 OK"));
        let answer = if open { "HTTP/1.1 200 OK" } else { "HTTP/1.1 401 Unauthorized" };
        let bare = page(&at, "").await;
        assert!(bare.starts_with(answer), "{bare}");
        assert!(open || !bare.contains("process_threads"), "{bare}");
        shutdown.trigger();
        task.await.unwrap();
    }
    // Without TLS, a token or the flag, others do not even find the port.
    let security = ServerSecurity { token: None, exposure: Exposure::Local, ..lab.security() };
    let metrics = MetricsArgs { metrics: Some("0.0.0.0:0".parse().unwrap()) };
    let error = metrics.serve(&security, &Shutdown::new()).await.unwrap_err();
    assert!(error.to_string().contains("needs a token"), "{error}");
}
