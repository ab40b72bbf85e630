//! What stands between an address and whoever knocks: [`Door`] at a server, [`Keys`] at a client.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::address::Keyed;
use super::{Address, ClientTls, ConnectionLimits, Exposure, Names, ServerTls, Token};

/// How a server is locked. Unix sockets and pipes need no lock: the file's mode is one.
#[derive(Clone, Debug)]
pub struct Door {
    /// Whether other machines may knock although something is missing.
    pub exposure: Exposure,
    /// Encryption.
    pub tls: Option<ServerTls>,
    /// What every call must show.
    pub token: Option<Token>,
    /// Limits on connections that have not authenticated.
    pub limits: ConnectionLimits,
}

/// What a client shows at the doors that it knocks at.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Encryption.
    pub tls: Option<ClientTls>,
    /// What every call shows.
    pub token: Option<Token>,
    /// Whether the token may travel unencrypted between machines.
    pub insecure: bool,
}

/// Why doors and keys could not be made, or do not fit.
#[derive(Debug, Error)]
pub enum DoorError {
    /// A file could not be read.
    #[error("cannot read the {what} in {}: {source}", .path.display())]
    Read {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM; `engram certs` makes such files", .path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// A certificate and a key that cannot be used together.
    #[error(
        "the certificate in {} and the key in {} cannot be used: {why}; both must come from one \
         run of `engram certs`", .cert.display(), .key.display()
    )]
    Identity {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Something that no certificate can name.
    #[error("--tls-server-name is `{name}`, which is neither a host's name nor an IP address")]
    ServerName {
        /// The text.
        name: String,
    },
    /// A flag without the other that it needs.
    #[error("{given} needs {missing} as well")]
    Half {
        /// The flag that was given.
        given: &'static str,
        /// The flag that was not.
        missing: &'static str,
    },
    /// A token that cannot be used.
    #[error("{source_name} {why}; `openssl rand -hex 32` makes a good one")]
    Token {
        /// Where it comes from.
        source_name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two tokens, of which one must be a mistake.
    #[error("there are two tokens, --token-file and ENGRAM_TOKEN: leave out one")]
    TwoTokens,
    /// The token would be readable on its way.
    #[error(
        "the token would travel to {address} unencrypted: pass --tls-ca, or --insecure if you \
         trust the network"
    )]
    OpenWay {
        /// Where to.
        address: Address,
    },
}

impl Door {
    /// Without a lock.
    pub fn open(exposure: Exposure) -> Self {
        Door { exposure, tls: None, token: None, limits: ConnectionLimits::STANDARD }
    }

    /// What is missing before other machines may knock; `None` if nothing is.
    pub(super) fn lacks(&self) -> Option<&'static str> {
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

    /// The door of a page of metrics at an address: none on this machine, else the server's own.
    pub(crate) fn of_pages(&self, address: &Address) -> Self {
        if address.is_local() {
            return Door { limits: self.limits, ..Door::open(Exposure::Local) };
        }
        Door { tls: self.tls.as_ref().map(ServerTls::for_pages), ..self.clone() }
    }
}

impl Keys {
    /// An address together with these keys, for [`connect`](super::connect). Refused if the token
    /// could be read on its way there.
    pub fn at(&self, address: &Address) -> Result<Address, DoorError> {
        let readable = self.tls.is_none() && !address.is_local();
        if self.token.is_some() && readable && !self.insecure {
            return Err(DoorError::OpenWay { address: address.clone() });
        }
        // An address has one set of keys: the last.
        let (address, names) = match address {
            Address::Keyed(keyed) => (&keyed.address, keyed.names.clone()),
            bare => (bare, Names::default()),
        };
        let keyed = Keyed { address: address.clone(), keys: self.clone(), names };
        Ok(Address::Keyed(Arc::new(keyed)))
    }
}
