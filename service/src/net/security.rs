//! Security of a server: TLS, token, limits, and who may connect without them.

use super::{ConnectionLimits, ServerTls, Token};

/// Exposure of a listener to other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Other machines only with TLS and a token.
    Local,
    /// Other machines even without TLS or a token: `--insecure`.
    Insecure,
}

/// Security of a server's TCP listeners. Unix sockets are secured by the mode of their file.
#[derive(Clone, Debug)]
pub struct ServerSecurity {
    /// Exposure to other machines.
    pub exposure: Exposure,
    /// Encryption.
    pub tls: Option<ServerTls>,
    /// Token that every call must show.
    pub token: Option<Token>,
    /// Limits on connections that have not authenticated.
    pub limits: ConnectionLimits,
}

impl ServerSecurity {
    /// Neither TLS nor a token.
    pub fn none(exposure: Exposure) -> Self {
        ServerSecurity { exposure, tls: None, token: None, limits: ConnectionLimits::STANDARD }
    }

    /// Flags that are missing before other machines may connect; `None` if nothing is.
    pub(super) fn missing(&self) -> Option<&'static str> {
        match (&self.tls, &self.token) {
            _ if self.exposure == Exposure::Insecure => None,
            (Some(_), Some(_)) => None,
            (Some(_), None) => Some("a token (--token-file, or ENGRAM_TOKEN)"),
            (None, Some(_)) => Some("TLS (--tls-cert and --tls-key)"),
            (None, None) => {
                Some("TLS (--tls-cert and --tls-key) and a token (--token-file, or ENGRAM_TOKEN)")
            }
        }
    }

    /// The same for a page, which is read over HTTP/1.1.
    pub(crate) fn for_http1(&self) -> Self {
        ServerSecurity { tls: self.tls.as_ref().map(ServerTls::for_http1), ..self.clone() }
    }
}
