//! Errors in what secures servers and clients: files, flags, tokens.

use std::path::PathBuf;

use thiserror::Error;

/// Error in the security of a server or the credentials of a client.
#[derive(Debug, Error)]
pub enum SecurityError {
    /// A file could not be read.
    #[error("cannot read the {what} in {}: {source}", .path.display())]
    Read {
        /// Its expected content.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM; `engram certs` makes such files", .path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// Its expected content.
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
        /// Cause.
        why: String,
    },
    /// A name that no certificate can hold.
    #[error("--tls-server-name is `{name}`, which is neither a host's name nor an IP address")]
    ServerName {
        /// The text.
        name: String,
    },
    /// A flag without the other that it needs.
    #[error("{given} needs {missing} as well")]
    MissingFlag {
        /// The flag that was given.
        given: &'static str,
        /// The flag that was not.
        missing: &'static str,
    },
    /// A token that cannot be used.
    #[error("{source_name} {why}; `openssl rand -hex 32` makes a good one")]
    Token {
        /// Source of the token, as a phrase.
        source_name: String,
        /// Fault of the token.
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
    UnencryptedToken {
        /// Destination.
        address: String,
    },
}
