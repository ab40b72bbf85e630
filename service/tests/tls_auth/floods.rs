//! Many at once: strangers take nothing from those who have authenticated.

use std::time::Duration;

use engram_service::net::{ConnectionLimits, ServerSecurity};
use engram_service::{ClientCredentials, Exposure, process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic_health::pb::HealthCheckRequest;
use tracing::Level;

use crate::support::{Client, Lab, Log, SOON, Server, ask, token};

/// Few places, which nobody loses in the time of a test.
const FEW: ConnectionLimits = ConnectionLimits {
    unauthenticated: 4,
    deadline: Duration::from_secs(3600),
    silence: Duration::from_secs(3600),
};

/// Few places, which whoever does not authenticate soon loses.
const BRIEF: ConnectionLimits = ConnectionLimits { deadline: Duration::from_millis(500), ..FEW };

/// Few places, which whoever is silent loses at once, if others wait.
const IMPATIENT: ConnectionLimits = ConnectionLimits { silence: Duration::from_millis(50), ..FEW };

/// Time after which somebody is not being served. A busy machine needs a part of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each security that a listener may have, and the credentials for it.
fn securities(lab: &Lab, limits: ConnectionLimits) -> [(ServerSecurity, ClientCredentials); 4] {
    let choices = [(true, true), (true, false), (false, true), (false, false)];
    choices.map(|(tls, token)| {
        let (mut security, mut credentials) = (lab.security(), lab.credentials());
        security.limits = limits;
        if !tls {
            (security.tls, credentials.tls) = (None, None);
        }
        if !token {
            (security.token, credentials.token) = (None, None);
        }
        (security, credentials)
    })
}

/// A connection that says nothing.
async fn stranger(server: &Server) -> TcpStream {
    TcpStream::connect(server.address.to_string()).await.unwrap()
}

/// Strangers without end: each leaves as soon as the server has had enough of it.
fn flood(server: &Server) -> JoinSet<()> {
    let mut flood = JoinSet::new();
    for _ in 0..12 {
        let address = server.address.to_string();
        flood.spawn(async move {
            loop {
                let mut stream = TcpStream::connect(&address).await.unwrap();
                let _ = stream.read(&mut [0; 16]).await;
            }
        });
    }
    flood
}

#[tokio::test]
async fn a_flood_of_connections_does_not_touch_those_that_have_authenticated() {
    let lab = Lab::new();
    let server = Server::start(&ServerSecurity { limits: FEW, ..lab.security() }).await;
    let mut served = server.client(&lab.credentials());
    ask(&mut served).await.unwrap();
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(stranger(&server).await);
    }
    for _ in 0..20 {
        ask(&mut served).await.unwrap();
    }
    // A newcomer waits for as long as they may stay, and no longer than they do.
    let mut newcomer = server.client(&lab.credentials());
    let waits = tokio::time::timeout(Duration::from_millis(200), ask(&mut newcomer)).await;
    assert!(waits.is_err(), "there is no place for it");
    drop(strangers);
    ask(&mut newcomer).await.unwrap();
}

/// Asks until it is served, as an actor would: who is slow to speak may have to give way, too.
async fn insist(client: &mut Client) {
    let request = || HealthCheckRequest { service: String::new() };
    let served = async { while client.check(request()).await.is_err() {} };
    tokio::time::timeout(PATIENCE, served).await.expect("it is served");
}

/// Newcomers once waited until strangers had reached their deadline, twice 5 s under TLS, which is
/// longer than a client dials: 256 silent connections that came again kept everybody out.
#[tokio::test]
async fn strangers_who_say_nothing_keep_nobody_out() {
    let lab = Lab::new();
    for (security, credentials) in securities(&lab, IMPATIENT) {
        let (log, _guard) = Log::keep(Level::INFO);
        let server = Server::start(&security).await;
        let mut served = server.client(&credentials);
        ask(&mut served).await.unwrap();
        let mut strangers = Vec::new();
        for _ in 0..12 {
            strangers.push(stranger(&server).await);
        }
        insist(&mut server.client(&credentials)).await;
        ask(&mut served).await.unwrap();
        log.wait_for("it said nothing, while others waited for its place").await;
    }
}

#[tokio::test]
async fn strangers_who_speak_keep_newcomers_out_until_the_deadline_and_no_longer() {
    let lab = Lab::new();
    for (security, credentials) in securities(&lab, BRIEF) {
        let beginning: &[u8] = match security.tls {
            Some(_) => &[0x16, 0x03, 0x01, 0x01],
            None => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        };
        let server = Server::start(&security).await;
        let mut strangers = Vec::new();
        for _ in 0..BRIEF.unauthenticated {
            let mut stream = stranger(&server).await;
            stream.write_all(beginning).await.unwrap();
            strangers.push(stream);
        }
        ask(&mut server.client(&credentials)).await.unwrap();
    }
}

/// Each client is a connection of its own, from one address, and stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_actors_behind_one_address_are_all_served() {
    process::open_as_many_files_as_allowed();
    let lab = Lab::new();
    let (mut security, mut credentials) = (lab.security(), lab.credentials());
    (security.tls, credentials.tls) = (None, None);
    let server = Server::start(&security).await;
    let clients: JoinSet<Client> = (0..2000)
        .map(|_| server.client(&credentials))
        .map(|mut client| async move {
            insist(&mut client).await;
            client
        })
        .collect();
    let all = tokio::time::timeout(PATIENCE, clients.join_all()).await;
    let served = all.expect("all are served");
    for mut client in served {
        ask(&mut client).await.unwrap();
    }
}

#[tokio::test]
async fn a_flood_without_end_delays_newcomers_and_nobody_else() {
    let lab = Lab::new();
    let (log, _guard) = Log::keep(Level::INFO);
    let server = Server::start(&ServerSecurity { limits: BRIEF, ..lab.security() }).await;
    let mut served = server.client(&lab.credentials());
    ask(&mut served).await.unwrap();
    let _flood = flood(&server);
    log.wait_for("a connection failed: it did not shake hands").await;
    for _ in 0..20 {
        ask(&mut served).await.unwrap();
    }
    // Twelve stand before it, in fours, for half a second each.
    ask(&mut server.client(&lab.credentials())).await.unwrap();
    let text = log.text();
    assert!(text.lines().count() < 20, "a flood does not flood the log:\n{text}");
}

/// Without a token a connection once counted as authenticated after 24 bytes that could be HTTP's:
/// any number of them could stay for ever, each with a file descriptor.
#[tokio::test]
async fn without_a_token_the_first_words_of_http_authenticate_nobody_and_a_call_does() {
    let (log, _guard) = Log::keep(Level::INFO);
    let insecure = ServerSecurity::none(Exposure::Local);
    let server = Server::start(&ServerSecurity { limits: BRIEF, ..insecure }).await;
    let nothing = ClientCredentials { tls: None, token: None, insecure: true };
    let mut served = server.client(&nothing);
    ask(&mut served).await.unwrap();
    let mut greeters = JoinSet::new();
    for _ in 0..4 {
        let mut stream = stranger(&server).await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        greeters.spawn(async move {
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
        });
    }
    // They are closed, and whoever makes calls stays.
    let closed = tokio::time::timeout(SOON, greeters.join_all()).await;
    assert!(closed.is_ok(), "{}", log.text());
    log.wait_for("a connection failed: it made no call").await;
    ask(&mut served).await.unwrap();
}

#[tokio::test]
async fn many_more_actors_than_permits_come_from_one_address_at_once() {
    let lab = Lab::new();
    let server = Server::start(&ServerSecurity { limits: FEW, ..lab.security() }).await;
    let mut clients: JoinSet<Client> = (0..64)
        .map(|_| server.client(&lab.credentials()))
        .map(|mut client| async move {
            ask(&mut client).await.unwrap();
            client
        })
        .collect();
    let mut served = Vec::new();
    while let Some(client) = clients.join_next().await {
        served.push(client.unwrap());
    }
    for client in &mut served {
        ask(client).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_guesses_tokens_is_closed_and_one_that_has_shown_the_right_one_is_not() {
    let lab = Lab::new();
    let limits = ConnectionLimits { unauthenticated: 1, ..BRIEF };
    let server = Server::start(&ServerSecurity { limits, ..lab.security() }).await;
    let mut served = server.client(&lab.credentials());
    ask(&mut served).await.unwrap();
    let wrong =
        ClientCredentials { token: Some(token("guess-0123456789-abcdef")), ..lab.credentials() };
    let mut guesser = server.client(&wrong);
    ask(&mut guesser).await.unwrap_err();
    let mut newcomer = server.client(&lab.credentials());
    // The only permit is the guesser's until its connection is closed, although it goes on.
    let guesses = async {
        loop {
            ask(&mut guesser).await.unwrap_err();
        }
    };
    tokio::select! {
        asked = ask(&mut newcomer) => asked.unwrap(),
        () = guesses => {}
    }
    ask(&mut served).await.unwrap();
}
