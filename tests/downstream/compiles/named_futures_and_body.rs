//! A middleware wraps the services of both layers without a box, so it names their futures and the body.

use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;
use tower_transaction_id::body::ResponseBody;
use tower_transaction_id::errors::{OpaqueErrors, ReadErrors};
use tower_transaction_id::future::{BindResponseFuture, InjectResponseFuture};
use tower_transaction_id::{BindTransactionId, InScope, InjectTransactionId};

pub struct Server<S>(pub BindTransactionId<S>);

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Server<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = BindResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        self.0.call(request)
    }
}

pub struct Client<S, R = OpaqueErrors>(pub InjectTransactionId<S, R>);

impl<S, R> Service<reqwest::Request> for Client<S, R>
where
    S: Service<reqwest::Request, Response = reqwest::Response>,
    R: ReadErrors<S::Error>,
{
    type Response = reqwest::Response;
    type Error = S::Error;
    type Future = InjectResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: reqwest::Request) -> Self::Future {
        self.0.call(request)
    }
}

/// What streams after its request.
pub struct Download<S> {
    pub chunks: InScope<S>,
}

pub fn unwrapped<B>(response: Response<ResponseBody<B>>) -> Response<B> {
    response.map(ResponseBody::into_inner)
}
