//! TLS and tokens over real TCP: who is served, who is refused, and what both sides are told.

#![allow(clippy::unwrap_used)]

mod floods;

mod pages;

mod refusals;

mod secrets;

mod support;

use engram_service::net::{ServerSecurity, Token};
use engram_service::{ClientCredentials, Exposure, Listener, NetError, health, metrics};

use support::{Lab, Server, TOKEN, token};

#[tokio::test]
async fn the_right_token_over_tls_opens() {
    let lab = Lab::new();
    let server = Server::start(&lab.security()).await;
    server.check(&lab.credentials()).await.unwrap();
    // Credentials for an address that had others replace them.
    let other = ClientCredentials::default().at(&server.address).unwrap();
    health::check(&lab.credentials().at(&other).unwrap()).await.unwrap();
}

#[tokio::test]
async fn the_right_certificates_open_on_both_sides() {
    let lab = Lab::new();
    let server =
        Server::start(&ServerSecurity { tls: Some(lab.mutual_tls()), ..lab.security() }).await;
    let credentials =
        ClientCredentials { tls: Some(lab.client_tls(Some("client"))), ..lab.credentials() };
    server.check(&credentials).await.unwrap();
}

#[tokio::test]
async fn a_server_may_be_known_by_another_name() {
    let lab = Lab::new();
    let tls = lab.server_tls("elsewhere", None);
    let server = Server::start(&ServerSecurity { tls: Some(tls), ..lab.security() }).await;
    let tls = lab.client_tls_for("elsewhere.example.org");
    server.check(&ClientCredentials { tls: Some(tls), ..lab.credentials() }).await.unwrap();
}

#[tokio::test]
async fn a_token_alone_locks_loopback_and_a_unix_socket_needs_no_lock() {
    let lab = Lab::new();
    let server = Server::start(&ServerSecurity { tls: None, ..lab.security() }).await;
    server.check(&ClientCredentials { tls: None, ..lab.credentials() }).await.unwrap();
    server.check(&ClientCredentials::default()).await.unwrap_err();
    let server = Server::start_on(&lab.security(), &lab.unix()).await;
    server.check(&ClientCredentials::default()).await.unwrap();
    server.check(&lab.credentials()).await.unwrap();
}

#[tokio::test]
async fn other_machines_may_knock_where_tls_and_a_token_are() {
    let lab = Lab::new();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    for (tls, token, missing) in [
        (None, None, "needs TLS (--tls-cert and --tls-key) and a token (--token-file"),
        (None, Some(token(TOKEN)), "needs TLS (--tls-cert and --tls-key); or bind"),
        (lab.security().tls, None, "needs a token (--token-file, or ENGRAM_TOKEN); or bind"),
    ] {
        let security = ServerSecurity { tls, token, ..ServerSecurity::none(Exposure::Local) };
        let error = Listener::secured(&security, &everywhere).await.unwrap_err();
        assert!(matches!(error, NetError::Exposed { .. }));
        assert!(error.to_string().contains(missing), "{error}");
    }
    let server = Server::start_on(&lab.security(), &everywhere).await;
    // Its own health check finds it at localhost.
    let here = lab.credentials().at(&server.address.from_here()).unwrap();
    assert!(here.to_string().starts_with("localhost:"), "{here}");
    health::check(&here).await.unwrap();
}

#[test]
fn a_token_does_not_travel_openly_between_machines() {
    let lab = Lab::new();
    let far = "10.0.0.5:7001".parse().unwrap();
    let open = ClientCredentials { tls: None, ..lab.credentials() };
    let error = open.at(&far).unwrap_err().to_string();
    assert!(error.contains("10.0.0.5:7001 unencrypted: pass --tls-ca"), "{error}");
    ClientCredentials { insecure: true, ..open.clone() }.at(&far).unwrap();
    lab.credentials().at(&far).unwrap();
    ClientCredentials::default().at(&far).unwrap();
    open.at(&"127.0.0.1:7001".parse().unwrap()).unwrap();
    let keyed = lab.credentials().at(&far).unwrap();
    open.at(&keyed).unwrap_err();
}

/// Renewal: first everybody trusts both CAs, then the server shows the certificate of the new one.
#[tokio::test]
async fn files_that_change_are_used_by_new_connections_and_open_ones_stay() {
    let (lab, renewed) = (Lab::new(), Lab::new());
    let token_file = lab.path("token");
    std::fs::write(&token_file, TOKEN).unwrap();
    let token = || Some(Token::read(&token_file).unwrap());
    let (security, credentials) = (lab.security(), lab.credentials());
    let server = Server::start(&ServerSecurity { token: token(), ..security }).await;
    let mut client = server.client(&credentials);
    support::ask(&mut client).await.unwrap();

    let copy = |name: &str| std::fs::copy(renewed.path(name), lab.path(name)).unwrap();
    let old = server.client(&lab.credentials());
    copy("server.pem");
    copy("server.key");
    std::fs::write(&token_file, "sesame-9876543210-fedcba").unwrap();
    let new = ClientCredentials {
        tls: Some(renewed.client_tls(None)),
        token: Some(support::token("sesame-9876543210-fedcba")),
        insecure: false,
    };
    support::until_served(&mut server.client(&new)).await;
    let error = support::ask(&mut { old }).await.unwrap_err();
    assert!(error.message().contains("does not come from the CA"), "{error}");
    // The open connection goes on; its calls show the token that the server asks for now.
    let error = support::ask(&mut client).await.unwrap_err();
    assert!(error.message().contains("the token is not this server's"), "{error}");
    std::fs::write(&token_file, format!("sesame-9876543210-fedcba\n{TOKEN}\n")).unwrap();
    support::until_served(&mut client).await;

    // A certificate without its key is told, and changes nothing.
    let (log, _guard) = support::Log::keep(tracing::Level::INFO);
    std::fs::write(lab.path("server.pem"), "torn").unwrap();
    let torn = async {
        while !log.text().contains("this server's certificate has changed, the old one stays") {
            support::ask(&mut server.client(&new)).await.unwrap();
        }
    };
    tokio::time::timeout(support::SOON, torn).await.unwrap();
    let page = metrics::snapshot();
    assert!(
        page.contains("engram_certificate_expiry_timestamp_seconds{role=\"server\"}"),
        "{page}"
    );
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_with_the_same_keys() {
    let lab = Lab::new();
    let server = Server::start(&lab.security()).await;
    let mut client = server.client(&lab.credentials());
    support::ask(&mut client).await.unwrap();
    let address = server.address.clone();
    server.stop().await;
    assert!(support::ask(&mut client).await.is_err());
    let _server = Server::start_on(&lab.security(), &address).await;
    support::ask(&mut client).await.unwrap();
}
