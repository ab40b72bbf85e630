//! The layer before a server's services that asks every call for the token.
//!
//! It has no state: what a connection must show comes with the connection, as part of its
//! [`Peer`]. So one router serves open and locked listeners alike.

use std::task::{Context, Poll};

use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::limiter::Permit;
use super::{Peer, Token};
use crate::metrics;

/// What a connection must show, and what is known of it.
#[derive(Debug)]
pub(crate) struct Visit {
    /// Its permit; given back once it authenticates, or with the last clone of its [`Peer`].
    pub(super) permit: Permit,
    /// Its address, for the log.
    pub(super) address: String,
    /// What its calls must show.
    pub(super) token: Option<Token>,
}

/// Puts a [`Guard`] before a server's services.
#[derive(Clone, Copy, Debug)]
pub struct GuardLayer;

/// Lets calls pass that show their connection's token.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    inner: S,
}

impl Visit {
    /// Checks a call's headers.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Status> {
        let Some(token) = &self.token else { return Ok(()) };
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let why = match (shown.next(), shown.next()) {
            (Some(header), None) if token.opens(header) => {
                self.permit.authenticated();
                return Ok(());
            }
            (None, _) => "this server asks for a token: pass --token-file, or set ENGRAM_TOKEN",
            (Some(_), _) => "the token is not this server's: compare --token-file on both sides",
        };
        metrics::connection_refused("token");
        self.permit.log_refusal(&self.address, "a call without the right token was refused");
        Err(Status::unauthenticated(why))
    }

    /// Counts and logs a connection that came to nothing, for a `reason` of the metric.
    pub(super) fn failed(&self, reason: &'static str, why: &str) {
        metrics::connection_refused(reason);
        self.permit.log_refusal(&self.address, &format!("a connection failed: {why}"));
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner }
    }
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Guarded<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        let checked = match peer.map(|peer| peer.visit()) {
            Some(None) => Ok(()),
            Some(Some(visit)) => visit.check(request.headers()),
            // Only a listener of ours says who is there; what it did not let in stays out.
            None => Err(Status::internal("the connection came through no door")),
        };
        match checked {
            Ok(()) => Guarded::Passed(Box::pin(self.inner.call(request))),
            Err(status) => Guarded::Refused(Some(status)),
        }
    }
}

/// The answer of a guarded service.
#[derive(Debug)]
pub enum Guarded<F> {
    /// The service's own.
    Passed(std::pin::Pin<Box<F>>),
    /// The guard's, until it is given.
    Refused(Option<Status>),
}

impl<F, E> Future for Guarded<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.get_mut() {
            Guarded::Passed(answer) => answer.as_mut().poll(cx),
            Guarded::Refused(status) => {
                let status = status.take().expect("a future is not polled after its end");
                Poll::Ready(Ok(status.into_http()))
            }
        }
    }
}
