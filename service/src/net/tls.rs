//! TLS at both ends of a connection: certificates from PEM files, and handshakes that say what
//! went wrong in words an operator can act upon.
//!
//! The handshakes are our own: tonic's drop a failed one at the level debug, so it could be neither
//! counted nor explained, and they speak HTTP/2 alone, which the page of metrics does not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::expiry::expiry;
use super::reloaded::Reloaded;
use super::security_error::SecurityError;
use crate::metrics;

/// A certificate and its private key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by those between it and its CA, if any.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// TLS of a server. New connections use the files as they are then.
#[derive(Clone)]
pub struct ServerTls {
    configs: Arc<Reloaded<ServerConfigs>>,
    protocol: Protocol,
}

/// TLS of a client. New connections use the files as they are then.
#[derive(Clone)]
pub struct ClientTls {
    connectors: Arc<Reloaded<ClientConnectors>>,
    protocol: Protocol,
    ca: PathBuf,
    name: Option<ServerName<'static>>,
}

/// The protocol inside. A reader that could speak both must not choose the other.
#[derive(Clone, Copy, Debug)]
enum Protocol {
    /// gRPC's.
    Http2,
    /// That of a page of metrics.
    Http1,
}

#[derive(Clone)]
struct ServerConfigs {
    http2: Arc<ServerConfig>,
    http1: Arc<ServerConfig>,
}

#[derive(Clone)]
struct ClientConnectors {
    http2: TlsConnector,
    http1: TlsConnector,
}

impl Protocol {
    /// Its name in the handshake.
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Protocol::Http2 => vec![b"h2".to_vec()],
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
        }
    }
}

impl ServerTls {
    /// Reads a server's certificate and, for mutual TLS, the CA that its clients' must come from.
    pub fn load(identity: &Identity, client_ca: Option<&Path>) -> Result<Self, SecurityError> {
        let mut files = vec![identity.cert.clone(), identity.key.clone()];
        files.extend(client_ca.map(Path::to_path_buf));
        let (identity, client_ca) = (identity.clone(), client_ca.map(Path::to_path_buf));
        let load = move || ServerConfigs::load(&identity, client_ca.as_deref());
        let configs = Reloaded::read("this server's certificate", files, load)?;
        Ok(ServerTls { configs, protocol: Protocol::Http2 })
    }

    /// The same for a page, which is read over HTTP/1.1.
    pub(super) fn for_http1(&self) -> Self {
        ServerTls { protocol: Protocol::Http1, ..self.clone() }
    }

    /// Shakes hands with a client. An error says what the client did wrong.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<server::TlsStream<TcpStream>, HandshakeError> {
        let configs = self.configs.current();
        let acceptor = TlsAcceptor::from(match self.protocol {
            Protocol::Http2 => configs.http2,
            Protocol::Http1 => configs.http1,
        });
        let accepted = acceptor.accept(stream).into_fallible().await;
        accepted.map_err(|(error, stream)| HandshakeError {
            why: explain(error, accepting).to_string(),
            stream,
        })
    }
}

/// Failed handshake of a server with a client.
#[derive(Debug)]
pub(super) struct HandshakeError {
    /// Fault of the client.
    pub(super) why: String,
    stream: TcpStream,
}

/// Time that a refused client has to read why.
const LINGER: Duration = Duration::from_secs(1);

impl HandshakeError {
    /// Lets the client read the alert that tells it why: closing at once, with bytes of its own
    /// unread, would take the alert back.
    pub(super) async fn linger(mut self) {
        let stream = &mut self.stream;
        let drain = async {
            let mut rest = [0; 4096];
            let _ = stream.shutdown().await;
            for _ in 0..16 {
                if !stream.read(&mut rest).await.is_ok_and(|count| count > 0) {
                    return;
                }
            }
        };
        let _ = timeout(LINGER, drain).await;
    }
}

impl ClientTls {
    /// Reads the CA that servers' certificates must come from and, for mutual TLS, the client's
    /// own certificate. `name` is expected in a server's certificate instead of its address.
    pub fn load(
        ca: &Path,
        identity: Option<&Identity>,
        name: Option<&str>,
    ) -> Result<Self, SecurityError> {
        let mut files = vec![ca.to_path_buf()];
        files.extend(identity.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]));
        let (root, identity) = (ca.to_path_buf(), identity.cloned());
        let load = move || ClientConnectors::load(&root, identity.as_ref());
        let connectors = Reloaded::read("this client's CA or certificate", files, load)?;
        let name = name.map(|name| {
            let known = ServerName::try_from(name.to_owned());
            known.map_err(|_| SecurityError::ServerName { name: name.into() })
        });
        let (protocol, ca, name) = (Protocol::Http2, ca.into(), name.transpose()?);
        Ok(ClientTls { connectors, protocol, ca, name })
    }

    /// The same for a page, which is read over HTTP/1.1.
    pub(super) fn for_http1(&self) -> Self {
        ClientTls { protocol: Protocol::Http1, ..self.clone() }
    }

    /// Shakes hands with the server at `host`. An error says what is wrong with the server.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|_| {
                io::Error::other(format!("`{host}` cannot be in a certificate: --tls-server-name"))
            })?,
        };
        let connectors = self.connectors.current();
        let connector = match self.protocol {
            Protocol::Http2 => connectors.http2,
            Protocol::Http1 => connectors.http1,
        };
        let connected = connector.connect(name.clone(), stream).await;
        connected
            .map_err(|error| explain(error, |error| connecting(error, &self.ca, &name.to_str())))
    }
}

impl ServerConfigs {
    fn load(identity: &Identity, client_ca: Option<&Path>) -> Result<Self, SecurityError> {
        let (chain, key) = load_identity(identity)?;
        let client_roots = client_ca.map(load_certificates).transpose()?.unwrap_or_default();
        let expiry = chain.iter().chain(&client_roots).filter_map(expiry).min();
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3");
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(load_roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = verifier.build().expect("the roots are not empty");
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(chain, key);
        let config = config.map_err(|error| mismatch(identity, &error))?;
        metrics::certificate_expiry("server", expiry);
        let with = |protocol: Protocol| {
            let mut config = ServerConfig::clone(&config);
            config.alpn_protocols = protocol.alpn();
            Arc::new(config)
        };
        Ok(ServerConfigs { http2: with(Protocol::Http2), http1: with(Protocol::Http1) })
    }
}

impl ClientConnectors {
    fn load(ca: &Path, identity: Option<&Identity>) -> Result<Self, SecurityError> {
        let mut expiry = load_certificates(ca)?.iter().filter_map(expiry).min();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3");
        let builder = builder.with_root_certificates(load_roots(ca)?);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = load_identity(identity)?;
                expiry = chain.iter().filter_map(self::expiry).chain(expiry).min();
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|error| mismatch(identity, &error))?
            }
        };
        metrics::certificate_expiry("client", expiry);
        let with = |protocol: Protocol| {
            let mut config = ClientConfig::clone(&config);
            config.alpn_protocols = protocol.alpn();
            TlsConnector::from(Arc::new(config))
        };
        Ok(ClientConnectors { http2: with(Protocol::Http2), http1: with(Protocol::Http1) })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn load_identity(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), SecurityError> {
    let chain = load_certificates(&identity.cert)?;
    let path = identity.key.as_path();
    let bytes = read("private key", path)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| SecurityError::NotPem { path: path.into(), what: "private key" })?;
    Ok((chain, key))
}

fn load_roots(path: &Path) -> Result<RootCertStore, SecurityError> {
    let mut roots = RootCertStore::empty();
    for certificate in load_certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|_| SecurityError::NotPem { path: path.into(), what: "CA certificate" })?;
    }
    Ok(roots)
}

fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let bytes = read("certificate", path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(SecurityError::NotPem { path: path.into(), what: "certificate" }),
    }
}

fn read(what: &'static str, path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, SecurityError> {
    let read = std::fs::read(path).map(zeroize::Zeroizing::new);
    read.map_err(|source| SecurityError::Read { what, path: path.into(), source })
}

fn mismatch(identity: &Identity, error: &rustls::Error) -> SecurityError {
    let Identity { cert, key } = identity.clone();
    SecurityError::Identity { cert, key, why: error.to_string() }
}

/// Puts a handshake's error into words, where there are better ones than rustls' own.
fn explain(error: io::Error, words: impl FnOnce(&rustls::Error) -> Option<String>) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner.and_then(words) {
        Some(words) => io::Error::new(error.kind(), words),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            let words = "the other end hung up during the TLS handshake";
            io::Error::new(io::ErrorKind::UnexpectedEof, words)
        }
        None => error,
    }
}

/// Fault of a client.
fn accepting(error: &rustls::Error) -> Option<String> {
    use rustls::Error::{AlertReceived, InvalidMessage, NoCertificatesPresented};
    Some(match error {
        NoCertificatesPresented => {
            "the client showed no certificate: it needs --tls-client-cert and --tls-client-key"
                .into()
        }
        InvalidMessage(_) => "what came is no TLS: the client needs --tls-ca".into(),
        AlertReceived(AlertDescription::UnknownCA) => {
            "the client does not trust this server's CA: its --tls-ca is another one".into()
        }
        AlertReceived(alert) => format!("the client refused this server: {alert:?}"),
        rustls::Error::InvalidCertificate(why) => {
            format!("the client's certificate is not good: {}", certificate(why, "--tls-client-ca"))
        }
        _ => return None,
    })
}

/// Fault of a server.
fn connecting(error: &rustls::Error, ca: &Path, name: &str) -> Option<String> {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    let ca = ca.display();
    Some(match error {
        InvalidMessage(_) => {
            "the server speaks no TLS: start it with --tls-cert and --tls-key".into()
        }
        InvalidCertificate(CertificateError::NotValidForName)
        | InvalidCertificate(CertificateError::NotValidForNameContext { .. }) => format!(
            "the server's certificate is not for `{name}`: make one that names it, or name \
             another with --tls-server-name"
        ),
        InvalidCertificate(why) => {
            format!("the server's certificate is not good: {}", certificate(why, &format!("{ca}")))
        }
        AlertReceived(alert) => refused_by_server(*alert),
        _ => return None,
    })
}

/// Remedy for a server's alert.
fn refused_by_server(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the server wants the client's certificate: --tls-client-cert and --tls-client-key"
                .into()
        }
        AlertDescription::CertificateExpired => "the client's certificate has expired".into(),
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the server does not trust the CA of the client's certificate".into()
        }
        alert => format!("the server refused the client: {alert:?}"),
    }
}

/// Alert that a server sent after the handshake, in which it has not yet judged the client
/// (TLS 1.3).
pub(super) fn close_reason(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    match inner {
        rustls::Error::AlertReceived(alert) => Some(refused_by_server(*alert)),
        other => Some(other.to_string()),
    }
}

fn certificate(why: &CertificateError, ca: &str) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired: make a new one".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: compare the clocks of both machines".into()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("it does not come from the CA in {ca}")
        }
        other => format!("{other}"),
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("ca", &self.ca).finish_non_exhaustive()
    }
}
