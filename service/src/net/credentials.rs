//! Credentials of a client: the TLS and the token that it shows to servers.

use super::{ClientTls, Token};

/// Credentials of a client. [`at`](ClientCredentials::at) joins them to an address.
#[derive(Clone, Debug, Default)]
pub struct ClientCredentials {
    /// Encryption, and the certificate for mutual TLS.
    pub tls: Option<ClientTls>,
    /// Token that every call shows.
    pub token: Option<Token>,
    /// Permission for the token to travel unencrypted between machines.
    pub insecure: bool,
}
