//! Network: how processes meet ([`Address`], [`Listener`], [`connect`], [`Backoff`]), and how they
//! keep others out ([`ServerSecurity`], [`ClientCredentials`]).
//!
//! TCP, Unix sockets and in-memory pipes are one thing from here on: a service takes a bound
//! [`Listener`] and serves its connections, a client takes an [`Address`] and gets a channel.
//! Loopback, Unix sockets and pipes need no security. Any other address needs TLS and a token, or
//! [`Exposure::Insecure`]; clients then dial an address with their credentials.
//!
//! ```text
//! both     address      host:port, a path, a pipe     backoff   when to try again
//!          error, security_error
//! server   security     TLS, token, limits            limiter   unauthenticated connections
//!          listener     accepted connections          auth      the token of every call
//! client   credentials  TLS and token to show         resolver  the servers behind one name
//!          client       channels to servers           http_get  pages
//! both     connection   bytes, first to last          peer      who is at the other end
//!          channel      settings of gRPC              tls, token
//!          reloaded     files that change             expiry   of a certificate
//! ```

mod address;
mod auth;
mod backoff;
mod channel;
mod client;
mod connection;
mod credentials;
mod error;
mod expiry;
mod http_get;
mod limiter;
mod listener;
mod peer;
pub(crate) mod reloaded;
mod resolver;
mod security;
mod security_error;
mod tls;
mod token;

pub use address::{Address, AddressError, Pipe, Target};
pub use auth::{Auth, AuthFuture, AuthLayer};
pub use backoff::Backoff;
pub use channel::{Authenticated, answer, serve, server_builder};
pub use client::{Channel, connect, connect_at};
pub use connection::Connection;
pub use credentials::ClientCredentials;
pub use error::NetError;
pub use http_get::http_get;
pub use limiter::ConnectionLimits;
pub use listener::{Incoming, Listener};
pub use peer::Peer;
pub use resolver::Resolver;
pub use security::{Exposure, ServerSecurity};
pub use security_error::SecurityError;
pub use tls::{ClientTls, Identity, ServerTls};
pub use token::{TOKEN_VARIABLE, Token};
