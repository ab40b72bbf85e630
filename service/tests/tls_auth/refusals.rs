//! Each wrong client is refused soon, both sides say why, and a good client never notices.

use engram_service::ClientCredentials;
use engram_service::net::{ClientTls, ConnectionLimits, Identity, ServerSecurity, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tracing::Level;

use crate::support::{Lab, Log, SOON, Server, TOKEN, ask, token};

/// A client with `credentials` is refused; one with the right ones is served before and after.
async fn refused(
    security: &ServerSecurity,
    good: &ClientCredentials,
    credentials: &ClientCredentials,
    client_hears: &str,
    server_says: &str,
) {
    let (log, _guard) = Log::keep(Level::INFO);
    let server = Server::start(security).await;
    let mut served = server.client(good);
    ask(&mut served).await.unwrap();
    let status = ask(&mut server.client(credentials)).await.unwrap_err();
    assert!(status.message().contains(client_hears), "{status}");
    assert!(!status.message().contains(TOKEN), "{status}");
    log.wait_for(server_says).await;
    ask(&mut served).await.unwrap();
    ask(&mut server.client(good)).await.unwrap();
}

#[tokio::test]
async fn no_token_and_a_wrong_token() {
    let lab = Lab::new();
    let (security, good) = (lab.security(), lab.credentials());
    let none = ClientCredentials { token: None, ..lab.credentials() };
    let said = "a call without the right token was refused";
    refused(&security, &good, &none, "asks for a token: pass --token-file", said).await;
    for wrong in ["sesame-0123456789-abcdeg", "sesame-0123456789-abcde", "another-0123456789-token"]
    {
        let wrong = ClientCredentials { token: Some(token(wrong)), ..lab.credentials() };
        refused(&security, &good, &wrong, "the token is not this server's", said).await;
    }
    let server = Server::start(&security).await;
    let status = ask(&mut server.client(&none)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "final, unlike a server that is away");
}

#[tokio::test]
async fn plaintext_at_a_tls_port() {
    let lab = Lab::new();
    let plain = ClientCredentials { tls: None, ..lab.credentials() };
    let hears = "the server speaks TLS: pass --tls-ca";
    let says = "what came is no TLS: the client needs --tls-ca";
    refused(&lab.security(), &lab.credentials(), &plain, hears, says).await;
}

#[tokio::test]
async fn tls_at_a_plaintext_port() {
    let lab = Lab::new();
    let security = ServerSecurity { tls: None, ..lab.security() };
    let plain = ClientCredentials { tls: None, ..lab.credentials() };
    let hears = "the server speaks no TLS: start it with --tls-cert and --tls-key";
    refused(&security, &plain, &lab.credentials(), hears, "it speaks TLS, this server does not")
        .await;
}

#[tokio::test]
async fn a_server_of_another_ca() {
    let lab = Lab::new();
    let ca = lab.path("other-ca.pem");
    let wrong = ClientCredentials {
        tls: Some(ClientTls::load(&ca, None, None).unwrap()),
        ..lab.credentials()
    };
    let hears = format!("it does not come from the CA in {}", ca.display());
    let says = "the client does not trust this server's CA";
    refused(&lab.security(), &lab.credentials(), &wrong, &hears, says).await;
}

#[tokio::test]
async fn a_server_under_another_name() {
    let lab = Lab::new();
    let wrong = ClientCredentials {
        tls: Some(lab.client_tls_for("learner.example.org")),
        ..lab.credentials()
    };
    let hears = "the server's certificate is not for `learner.example.org`: make one that names it";
    refused(&lab.security(), &lab.credentials(), &wrong, hears, "the client refused this server")
        .await;
}

#[tokio::test]
async fn a_server_whose_certificate_has_expired() {
    let lab = Lab::new();
    let (log, _guard) = Log::keep(Level::INFO);
    let expired = lab.server_tls("expired", None);
    let server = Server::start(&ServerSecurity { tls: Some(expired), ..lab.security() }).await;
    let status = ask(&mut server.client(&lab.credentials())).await.unwrap_err();
    assert!(status.message().contains("it has expired: make a new one"), "{status}");
    log.wait_for("the client refused this server: CertificateExpired").await;
}

#[tokio::test]
async fn clients_without_a_good_certificate_under_mutual_tls() {
    let lab = Lab::new();
    let security = ServerSecurity { tls: Some(lab.mutual_tls()), ..lab.security() };
    let credentials =
        |name| ClientCredentials { tls: Some(lab.client_tls(name)), ..lab.credentials() };
    for (name, hears, says) in [
        (None, "the server wants the client's certificate", "the client showed no certificate"),
        (
            Some("stranger"),
            "the server does not trust the CA of the client's certificate",
            "the client's certificate is not good: it does not come from the CA",
        ),
        (
            Some("expired"),
            "the client's certificate has expired",
            "the client's certificate is not good: it has expired",
        ),
    ] {
        refused(&security, &credentials(Some("client")), &credentials(name), hears, says).await;
    }
}

#[tokio::test]
async fn garbage_at_either_port() {
    let lab = Lab::new();
    for (tls, says) in
        [(lab.security().tls, "what came is no TLS"), (None, "it does not speak HTTP")]
    {
        let (log, _guard) = Log::keep(Level::INFO);
        let good =
            ClientCredentials { tls: tls.as_ref().and(lab.credentials().tls), ..lab.credentials() };
        let server = Server::start(&ServerSecurity { tls, ..lab.security() }).await;
        let mut served = server.client(&good);
        ask(&mut served).await.unwrap();
        let mut stream = TcpStream::connect(server.address.to_string()).await.unwrap();
        stream.write_all(&[0xff; 4000]).await.unwrap();
        closed(&mut stream).await;
        log.wait_for(says).await;
        ask(&mut served).await.unwrap();
    }
}

#[tokio::test]
async fn http_that_is_not_ours() {
    let lab = Lab::new();
    let server = Server::start(&ServerSecurity { tls: None, ..lab.security() }).await;
    let mut stream = TcpStream::connect(server.address.to_string()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_client_that_says_nothing() {
    let lab = Lab::new();
    let deadline = std::time::Duration::from_millis(100);
    let limits = ConnectionLimits { deadline, ..ConnectionLimits::STANDARD };
    for (tls, says) in [(lab.security().tls, "it did not shake hands"), (None, "it said nothing")] {
        let (log, _guard) = Log::keep(Level::INFO);
        let server = Server::start(&ServerSecurity { tls, limits, ..lab.security() }).await;
        let mut stream = TcpStream::connect(server.address.to_string()).await.unwrap();
        closed(&mut stream).await;
        log.wait_for(says).await;
    }
}

#[tokio::test]
async fn a_message_that_is_too_large() {
    let lab = Lab::new();
    let server = Server::start(&lab.security()).await;
    let mut served = server.client(&lab.credentials());
    // The service of this test takes the 4 MiB that tonic gives to all who ask for no others.
    let request = HealthCheckRequest { service: "x".repeat(5 << 20) };
    let asked = tokio::time::timeout(SOON, served.check(request)).await.unwrap();
    let status = asked.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    ask(&mut served).await.unwrap();
}

#[tokio::test]
async fn headers_that_are_too_large() {
    let lab = Lab::new();
    let server = Server::start(&lab.security()).await;
    let mut served = server.client(&lab.credentials());
    let mut request = tonic::Request::new(HealthCheckRequest { service: String::new() });
    request.metadata_mut().insert("x-large", "x".repeat(32 << 10).parse().unwrap());
    tokio::time::timeout(SOON, served.check(request)).await.unwrap().unwrap_err();
    ask(&mut server.client(&lab.credentials())).await.unwrap();
}

#[test]
fn files_that_do_not_serve_are_named() {
    let lab = Lab::new();
    let server = |cert: &str, key: &str, ca: Option<&str>| {
        let identity = Identity { cert: lab.path(cert), key: lab.path(key) };
        let ca = ca.map(|ca| lab.path(ca));
        ServerTls::load(&identity, ca.as_deref()).unwrap_err().to_string()
    };
    std::fs::write(lab.path("empty"), "").unwrap();
    for (error, file, why) in [
        (server("none.pem", "server.key", None), "none.pem", "cannot read the certificate"),
        (server("server.pem", "none.key", None), "none.key", "cannot read the private key"),
        (server("server.pem", "none", Some("ca.pem")), "none", "cannot read the private key"),
        (server("server.key", "server.key", None), "server.key", "holds no certificate in PEM"),
        (server("server.pem", "server.pem", None), "server.pem", "holds no private key in PEM"),
        (server("server.pem", "client.key", None), "client.key", "cannot be used"),
        (server("server.pem", "server.key", Some("empty")), "empty", "holds no certificate in PEM"),
    ] {
        assert!(error.contains(&lab.path(file).display().to_string()), "{error}");
        assert!(error.contains(why), "{error}");
    }
    let error = ClientTls::load(&lab.path("ca.pem"), None, Some("no name")).unwrap_err();
    assert!(error.to_string().contains("`no name`, which is neither"), "{error}");
}

/// Reads until the server hangs up.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is as good a refusal as an orderly end.
    let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the server hangs up");
}
