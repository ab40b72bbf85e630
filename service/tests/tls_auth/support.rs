//! A CA that lasts as long as a test, a server that knows only its health, and its log.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use engram_service::net::{
    self, Address, ClientCredentials, ClientTls, ConnectionLimits, Identity, Listener, NetError,
    ServerSecurity, ServerTls, Token,
};
use engram_service::{Channel, Exposure, Shutdown, health};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tracing::Level;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) const TOKEN: &str = "sesame-0123456789-abcdef";

/// Time that a refusal may take, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(4);

pub(crate) fn token(text: &str) -> Token {
    Token::new(text, "a test").unwrap()
}

/// Two CAs, what they have signed, and a place for it.
pub(crate) struct Lab {
    folder: TempDir,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Lab {
    /// Certificates for this machine, good and bad ones.
    pub(crate) fn new() -> Self {
        let lab = Lab { folder: TempDir::new().unwrap() };
        let now = SystemTime::now();
        let ca = lab.authority("ca");
        lab.issue(&ca, "server", &["localhost", "127.0.0.1"], now + DAY);
        lab.issue(&ca, "client", &["client"], now + DAY);
        lab.issue(&ca, "elsewhere", &["elsewhere.example.org"], now + DAY);
        lab.issue(&ca, "expired", &["localhost", "127.0.0.1"], now - DAY);
        let stranger = lab.authority("other-ca");
        lab.issue(&stranger, "stranger", &["client"], now + DAY);
        lab
    }

    fn authority(&self, name: &str) -> Issuer<'static, KeyPair> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        self.write(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
        Issuer::new(params, key)
    }

    fn issue(&self, ca: &Issuer<'_, KeyPair>, name: &str, names: &[&str], end: SystemTime) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = (end - 2 * DAY).into();
        params.not_after = end.into();
        self.write(&format!("{name}.pem"), &params.signed_by(&key, ca).unwrap().pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn unix(&self) -> Address {
        Address::Unix(self.path("socket"))
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        let file = |ending| self.path(&format!("{name}.{ending}"));
        Identity { cert: file("pem"), key: file("key") }
    }

    pub(crate) fn server_tls(&self, name: &str, client_ca: Option<&str>) -> ServerTls {
        let client_ca = client_ca.map(|name| self.path(name));
        ServerTls::load(&self.identity(name), client_ca.as_deref()).unwrap()
    }

    pub(crate) fn mutual_tls(&self) -> ServerTls {
        self.server_tls("server", Some("ca.pem"))
    }

    pub(crate) fn client_tls(&self, name: Option<&str>) -> ClientTls {
        let identity = name.map(|name| self.identity(name));
        ClientTls::load(&self.path("ca.pem"), identity.as_ref(), None).unwrap()
    }

    pub(crate) fn client_tls_for(&self, server: &str) -> ClientTls {
        ClientTls::load(&self.path("ca.pem"), None, Some(server)).unwrap()
    }

    /// TLS and a token.
    pub(crate) fn security(&self) -> ServerSecurity {
        ServerSecurity {
            exposure: Exposure::Local,
            tls: Some(self.server_tls("server", None)),
            token: Some(token(TOKEN)),
            limits: ConnectionLimits::STANDARD,
        }
    }

    /// Credentials for it.
    pub(crate) fn credentials(&self) -> ClientCredentials {
        ClientCredentials {
            tls: Some(self.client_tls(None)),
            token: Some(token(TOKEN)),
            insecure: false,
        }
    }
}

/// A server that is SERVING, and knows nothing else.
pub(crate) struct Server {
    pub(crate) address: Address,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), NetError>>,
}

pub(crate) type Client = HealthClient<Channel>;

impl Server {
    pub(crate) async fn start(security: &ServerSecurity) -> Self {
        Self::start_on(security, &Address::loopback(0)).await
    }

    pub(crate) async fn start_on(security: &ServerSecurity, address: &Address) -> Self {
        let listener = Listener::secured(security, address).await.unwrap();
        let (address, shutdown) = (listener.address().clone(), Shutdown::new());
        let (health, service) = health::health().await;
        health.serving().await;
        let router = net::server_builder().add_service(service);
        let task = tokio::spawn(net::serve(router, listener, shutdown.clone()));
        Server { address, shutdown, task }
    }

    pub(crate) fn client(&self, credentials: &ClientCredentials) -> Client {
        HealthClient::new(net::connect(&credentials.at(&self.address).unwrap(), "server"))
    }

    /// The check of `--healthcheck`.
    pub(crate) async fn check(&self, credentials: &ClientCredentials) -> Result<(), NetError> {
        health::check(&credentials.at(&self.address).unwrap()).await
    }

    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) async fn ask(client: &mut Client) -> Result<(), Status> {
    let request = HealthCheckRequest { service: String::new() };
    tokio::time::timeout(SOON, client.check(request)).await.expect("an answer, soon").map(drop)
}

/// Asks until it is served, which takes as long as changed files are not looked at.
pub(crate) async fn until_served(client: &mut Client) {
    let served = async { while ask(client).await.is_err() {} };
    tokio::time::timeout(SOON, served).await.expect("it is served, soon");
}

/// Log of this thread's tasks.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Keeps what is logged on this thread, as long as the guard lives.
    pub(crate) fn keep(level: Level) -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        // With what comes through the `log` crate as well: rustls'.
        (log, subscriber.set_default())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Lets the server work until it has said it.
    pub(crate) async fn wait_for(&self, words: &str) {
        let said = async {
            while !self.text().contains(words) {
                tokio::task::yield_now().await;
            }
        };
        let said = tokio::time::timeout(SOON, said).await;
        assert!(said.is_ok(), "`{words}` is not in\n{}", self.text());
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
