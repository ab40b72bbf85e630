//! `grpc.health.v1` on every server: SERVING only once it can serve.

use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Answer;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health as HealthService, HealthServer};
use tonic_health::server::HealthReporter;

use crate::net::{Address, NetError, answer, connect};

/// Health of a server, as its clients see it.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
}

/// Time that a check waits.
const LIMIT: Duration = Duration::from_secs(5);

/// A reporter that says NOT_SERVING until told otherwise, and the service to add to the router.
pub async fn health() -> (Health, HealthServer<impl HealthService>) {
    let (reporter, service) = tonic_health::server::health_reporter();
    let health = Health { reporter };
    health.not_serving().await;
    (health, service)
}

impl Health {
    /// From now on: SERVING.
    pub async fn serving(&self) {
        self.reporter.set_service_status("", ServingStatus::Serving).await;
    }

    /// From now on: NOT_SERVING.
    pub async fn not_serving(&self) {
        self.reporter.set_service_status("", ServingStatus::NotServing).await;
    }
}

/// Asks the server at an address whether it serves: `--healthcheck`.
pub async fn check(address: &Address) -> Result<(), NetError> {
    let mut client = HealthClient::new(connect(address, "server"));
    let peer = format!("the server at {address}");
    let call = client.check(HealthCheckRequest { service: String::new() });
    let status = answer(peer, "its health was checked", LIMIT, call).await?.into_inner().status();
    match status {
        Answer::Serving => Ok(()),
        Answer::NotServing | Answer::Unknown | Answer::ServiceUnknown => {
            Err(NetError::NotServing { address: address.clone() })
        }
    }
}
