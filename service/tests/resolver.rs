//! Several servers behind one name.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use engram_service::net::{self, Address, Exposure, Listener, Resolver};
use engram_service::{Shutdown, health};
use tokio::task::JoinHandle;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// A server that knows only its health.
struct Server {
    health: health::Health,
    shutdown: Shutdown,
    served: JoinHandle<()>,
}

impl Server {
    async fn start(listener: Listener) -> Self {
        let (health, service) = health::health().await;
        let shutdown = Shutdown::new();
        let router = net::server_builder().add_service(service);
        let serving = net::serve(router, listener, shutdown.clone());
        Server { health, shutdown, served: tokio::spawn(async { serving.await.unwrap() }) }
    }

    async fn leave(self) {
        self.shutdown.trigger();
        self.served.await.unwrap();
    }
}

fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

async fn bind(last: u8, port: u16) -> Option<Listener> {
    let address = Address::Tcp { host: loopback(last).to_string(), port };
    Listener::bind(&address, Exposure::Local).await.ok()
}

/// Two servers at one port, the second of which says that it is healthy; and the port.
async fn two() -> ([Server; 2], u16) {
    loop {
        let first = bind(1, 0).await.unwrap();
        let Address::Tcp { port, .. } = *first.address() else { unreachable!("it is TCP") };
        // The port may be taken on the other address: then another one.
        let Some(second) = bind(2, port).await else { continue };
        let servers = [Server::start(first).await, Server::start(second).await];
        servers[1].health.serving().await;
        return (servers, port);
    }
}

/// The name `servers`, whose addresses may change.
fn named(port: u16, known: &Arc<Mutex<Vec<IpAddr>>>) -> Address {
    let known = known.clone();
    let resolver = Resolver::from_lookup(move |host| {
        assert_eq!(host, "servers");
        Ok(known.lock().unwrap().clone())
    });
    Address::Tcp { host: "servers".into(), port }.resolved_by(resolver)
}

/// Number of the server that answers.
async fn answers(client: &mut HealthClient<net::Channel>) -> usize {
    let asked = HealthCheckRequest { service: String::new() };
    let status = client.check(asked).await.unwrap().into_inner().status();
    usize::from(status == ServingStatus::Serving)
}

#[tokio::test]
async fn dialers_spread_over_the_servers_of_a_name_and_a_dead_one_is_passed_over() {
    let ([first, second], port) = two().await;
    let known = Arc::new(Mutex::new(vec![loopback(2), loopback(1)]));
    let address = named(port, &known);
    let client = |turn| HealthClient::new(net::connect_at(&address, "server", turn));
    for turn in 0..4 {
        assert_eq!(answers(&mut client(turn)).await, turn as usize % 2);
    }
    // Calls stay with a server for as long as it lives.
    let mut steady = client(0);
    for _ in 0..3 {
        assert_eq!(answers(&mut steady).await, 0);
    }
    first.leave().await;
    for turn in 0..4 {
        assert_eq!(answers(&mut client(turn)).await, 1);
    }
    let again = async {
        // The loss itself may be a call's error; the one after it is dialed anew.
        let asked = HealthCheckRequest { service: String::new() };
        let _ = steady.check(asked).await;
        answers(&mut steady).await
    };
    assert_eq!(again.await, 1);
    second.leave().await;
}

#[tokio::test]
async fn a_server_that_joins_later_is_found_at_the_next_dial() {
    let ([first, second], port) = two().await;
    let known = Arc::new(Mutex::new(vec![loopback(1)]));
    let address = named(port, &known);
    assert_eq!(answers(&mut HealthClient::new(net::connect_at(&address, "server", 1))).await, 0);
    known.lock().unwrap().push(loopback(2));
    assert_eq!(answers(&mut HealthClient::new(net::connect_at(&address, "server", 1))).await, 1);
    first.leave().await;
    second.leave().await;
}
