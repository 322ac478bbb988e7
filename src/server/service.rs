//! [`BindTransactionId`], its future, and the path of a request through both.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode, Version};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::TransactionId;
use crate::decision::log_refusal;
use crate::failures::{Failures, OpaqueErrors, ReadErrors, grpc_answer, is_grpc};
use crate::header::IdHeader;
use crate::scope::TransactionIdScope;
use crate::scope::in_scope::InScope;
use crate::server::admission::{Admission, Config, LookAround};
use crate::server::body::{Measured, ResponseBody};
use crate::server::generator::Generator;
use crate::server::timing;
use crate::telemetry::inbound::Answer;
use crate::telemetry::report::peer_id;

/// Serves requests for [`BindTransactionIdLayer`](crate::BindTransactionIdLayer), whose `Service` it is.
pub struct BindTransactionId<S, R = OpaqueErrors> {
    inner: S,
    config: Arc<Config>,
    generator: Generator,
    errors: R,
}

impl<S> BindTransactionId<S> {
    /// Wraps `inner` as [`BindTransactionIdLayer::new`](crate::BindTransactionIdLayer::new) does.
    pub fn new(inner: S) -> Self {
        Self::with(inner, Arc::default(), Generator::default(), OpaqueErrors::new())
    }
}

impl<S, R> BindTransactionId<S, R> {
    pub(crate) fn with(inner: S, config: Arc<Config>, generator: Generator, errors: R) -> Self {
        Self { inner, config, generator, errors }
    }

    /// Returns a reference to the service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the service inside.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, R: Clone> Clone for BindTransactionId<S, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            config: Arc::clone(&self.config),
            generator: self.generator.clone(),
            errors: self.errors.clone(),
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for BindTransactionId<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindTransactionId").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, R, ReqBody, ResBody> Service<Request<ReqBody>> for BindTransactionId<S, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    R: ReadErrors<S::Error>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = BindResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let admission = self.config.admit(&mut request, &mut self.generator);
        let Admission { scope, kept, refused } = admission;
        let in_sentry = scope.as_ref().is_some_and(|scope| scope.hub().is_some());
        let is_http2 = request.version() == Version::HTTP_2;
        let failures = self.config.failures.as_ref().filter(|_| in_sentry);
        let makes_spans = scope.as_ref().is_some_and(|scope| scope.work().options.traces);
        let look_around = self.config.look_around(scope.as_ref());
        let looks_left = if failures.is_some() && makes_spans { LOOKS } else { 0 };
        BindResponseFuture {
            failures: failures.cloned(),
            inner: InScope::start(scope, || {
                if let Some(why) = refused {
                    log_refusal(why);
                }
                self.inner.call(request)
            }),
            header: self.config.header.clone(),
            is_http2,
            shows_to_scripts: self.config.shows_to_scripts,
            kept,
            errors: self.errors,
            look_around,
            looks_left,
        }
    }
}

/// The number of polls after which the layer searches a waiting request for the span that handles it.
const LOOKS: u8 = 16;

pin_project! {
    /// Resolves to the response of [`BindTransactionId`].
    pub struct BindResponseFuture<F, R = OpaqueErrors> {
        #[pin]
        inner: InScope<F>,
        header: IdHeader,
        is_http2: bool,
        shows_to_scripts: bool,
        // The ID of an outer layer's scope, set only if this layer opened no scope.
        kept: Option<Box<TransactionId>>,
        failures: Option<Failures>,
        errors: R,
        look_around: LookAround,
        looks_left: u8,
    }
}

impl<F, R> fmt::Debug for BindResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindResponseFuture").field("id", &self.inner.id()).finish_non_exhaustive()
    }
}

impl<F, R, ResBody, E> Future for BindResponseFuture<F, R>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    R: ReadErrors<E>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        this.look_around.once();
        let Poll::Ready((result, scope)) = this.inner.as_mut().poll_with_scope(cx) else {
            // The layer looks for the span now, since a layer such as `SentryHttpLayer` takes its span off
            // the scope before it returns the response. Each look forks the hub. So the layer does not
            // look if there can be no span, and stops after a few polls of a long wait.
            if *this.looks_left > 0 {
                *this.looks_left -= 1;
                this.inner.note_span();
            }
            return Poll::Pending;
        };
        let failures = this.failures.take().zip(scope.as_ref());
        let mut response = match result {
            Ok(response) => response,
            Err(error) => {
                if let Some((_, scope)) = failures {
                    scope.report_error::<E>(this.errors.read(&error));
                }
                if let Some(scope) = &scope
                    && let Some(performance) = &scope.work().performance
                {
                    performance.failed();
                }
                return Poll::Ready(Err(error));
            }
        };
        let failures = failures
            .and_then(|(failures, scope)| report_head(&response, failures, scope, this.header));
        let measured = scope.as_ref().and_then(|scope| measure_head(&response, scope));
        if let Some(id) = scope.as_ref().map(TransactionIdScope::id).or(this.kept.as_deref()) {
            this.header.echo(response.headers_mut(), id, *this.is_http2);
            if *this.shows_to_scripts {
                timing::add(response.headers_mut(), id, *this.is_http2);
            }
        }
        Poll::Ready(Ok(
            response.map(|body| ResponseBody::new(InScope::new(scope, body), failures, measured))
        ))
    }
}

/// Passes the head of a response to the performance transaction, if the request has one.
fn measure_head<B>(response: &Response<B>, scope: &TransactionIdScope) -> Option<Measured> {
    let performance = scope.work().performance.as_ref()?;
    let (status, headers) = (response.status(), response.headers());
    performance.answered(status, grpc_answer(headers));
    // For these responses, servers send the head alone and drop the body without a poll.
    let request = scope.work().record.request.as_ref();
    if request.is_some_and(|request| request.method == Method::HEAD)
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        performance.end();
    }
    Some(Measured::new(headers))
}

/// Reports the response if its head shows a failure. Returns `failures` if the trailers of the body may
/// still show a failure.
fn report_head<B>(
    response: &Response<B>,
    failures: Failures,
    scope: &TransactionIdScope,
    header: &IdHeader,
) -> Option<Failures> {
    let (status, headers) = (response.status(), response.headers());
    let answer = if failures.has_status(status) {
        Answer::Status(status)
    } else if !is_grpc(headers) {
        return None;
    } else if let Some(code) = failures.grpc_failure(headers) {
        Answer::Grpc(code)
    } else {
        return (!headers.contains_key("grpc-status")).then_some(failures);
    };
    scope.report_answer(&answer, peer_id(headers, header, Some(scope.id())).as_ref());
    None
}
