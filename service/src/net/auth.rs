//! Auth layer: stands before a server's services and asks every call for the token.
//!
//! It has no state: the token comes with the connection, as part of its [`Peer`]. So one router
//! serves listeners with a token and without.

use std::task::{Context, Poll};

use hyper::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::peer::Peer;

/// Layer that puts an [`Auth`] before a server's services.
#[derive(Clone, Copy, Debug)]
pub struct AuthLayer;

/// Service that passes on calls with their connection's token.
#[derive(Clone, Debug)]
pub struct Auth<S> {
    inner: S,
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { inner }
    }
}

impl<S> Service<Request<Body>> for Auth<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = AuthFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        let checked = match peer.map(|peer| peer.authentication()) {
            Some(None) => Ok(()),
            Some(Some(authentication)) => authentication.check(request.headers()),
            // Only a listener of ours says who is there; what it did not let in stays out.
            None => Err(Status::internal("the connection came through no listener of ours")),
        };
        match checked {
            Ok(()) => AuthFuture::Passed(Box::pin(self.inner.call(request))),
            Err(status) => AuthFuture::Refused(Some(status)),
        }
    }
}

/// Answer of the service, or the refusal.
#[derive(Debug)]
pub enum AuthFuture<F> {
    /// Answer of the service.
    Passed(std::pin::Pin<Box<F>>),
    /// Refusal, until it is given.
    Refused(Option<Status>),
}

impl<F, E> Future for AuthFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.get_mut() {
            AuthFuture::Passed(answer) => answer.as_mut().poll(cx),
            AuthFuture::Refused(status) => {
                let status = status.take().expect("a future is not polled after its end");
                Poll::Ready(Ok(status.into_http()))
            }
        }
    }
}
