//! Many at once: one address cannot take what belongs to all.

use std::time::Duration;

use engram_service::Keys;
use engram_service::net::{Door, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tracing::Level;

use crate::support::{Lab, Log, SOON, Server, ask, token};

/// Another machine, as far as the server can tell.
async fn stranger(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(server.address.to_string().parse().unwrap()).await.unwrap()
}

/// Whether the server hangs up at once.
async fn is_refused(stream: &mut TcpStream) {
    let read = tokio::time::timeout(SOON, stream.read(&mut [0; 16])).await;
    let read = read.expect("refused soon");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

const LIMITS: Limits = Limits {
    rate_per_peer: 0.001,
    burst_per_peer: 16.0,
    failures_per_peer: 5.0,
    ban: Duration::from_secs(3600),
    // Nobody here is refused for being slow.
    handshake: Duration::from_secs(3600),
    ..Limits::STANDARD
};

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_flood_of_connections() {
    let lab = Lab::new();
    let (log, _guard) = Log::keep(Level::INFO);
    let server = Server::start(&Door { limits: LIMITS, ..lab.door() }).await;
    let mut served = server.client(&lab.keys());
    ask(&mut served).await.unwrap();
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(stranger(&server).await);
    }
    for stream in &mut flood[16..] {
        is_refused(stream).await;
    }
    log.wait_for("a connection was refused peer=127.0.0.2 reason=Rate").await;
    assert!(log.text().lines().count() < 20, "a flood does not flood the log:\n{}", log.text());
    ask(&mut served).await.unwrap();
    ask(&mut server.client(&lab.keys())).await.unwrap();
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn more_connections_than_there_are_places() {
    let lab = Lab::new();
    let limits = Limits { connections_per_peer: 3, ..LIMITS };
    let server = Server::start(&Door { limits, ..lab.door() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(stranger(&server).await);
    }
    is_refused(&mut stranger(&server).await).await;
    ask(&mut server.client(&lab.keys())).await.unwrap();
    // Whoever leaves makes room. His leaving takes the server a moment.
    drop(held);
    let room = async {
        for _ in 0..12 {
            let mut next = stranger(&server).await;
            let mut byte = [0];
            let closed = next.read(&mut byte);
            if tokio::time::timeout(Duration::from_millis(50), closed).await.is_err() {
                return true;
            }
        }
        false
    };
    assert!(room.await, "there is room again");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn an_address_that_fails_too_often_is_banned_and_others_are_not() {
    let lab = Lab::new();
    let (log, _guard) = Log::keep(Level::INFO);
    let server = Server::start(&Door { limits: LIMITS, ..lab.door() }).await;
    for _ in 0..6 {
        let mut stream = stranger(&server).await;
        stream.write_all(b"not a greeting of TLS").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    log.wait_for("banned, after too many failures: a connection was refused").await;
    is_refused(&mut stranger(&server).await).await;
    log.wait_for("banned, after").await;
    ask(&mut server.client(&lab.keys())).await.unwrap();
}

#[tokio::test]
async fn whoever_guesses_tokens_is_banned_but_not_a_client_that_has_shown_the_right_one() {
    let lab = Lab::new();
    let (log, _guard) = Log::keep(Level::INFO);
    let server = Server::start(&Door { limits: LIMITS, ..lab.door() }).await;
    let mut served = server.client(&lab.keys());
    ask(&mut served).await.unwrap();
    let wrong = Keys { token: Some(token("guess-0123456789-abcdef")), ..lab.keys() };
    let mut guesser = server.client(&wrong);
    let mut heard = Vec::new();
    for _ in 0..8 {
        heard.push(ask(&mut guesser).await.unwrap_err().message().to_owned());
    }
    assert!(heard[5].contains("the token is not this server's"), "{}", heard[5]);
    assert!(heard[6].contains("too many wrong tokens"), "{}", heard[6]);
    log.wait_for("banned, after too many failures: a call without the right token").await;
    // A new connection from there is not listened to; the old one is.
    ask(&mut server.client(&lab.keys())).await.unwrap_err();
    ask(&mut served).await.unwrap();
}
