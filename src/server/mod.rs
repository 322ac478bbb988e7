//! The server layer: reads or generates the ID, binds the request to it, echoes it.

pub(crate) mod body;
pub(crate) mod generator;
pub(crate) mod request;
pub(crate) mod trust;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, Request, Response};
use pin_project_lite::pin_project;
use sentry::Hub;
use tower_layer::Layer;
use tower_service::Service;

use crate::failures::{Failures, OpaqueErrors, ReadErrors, ReadableErrors, is_grpc};
use crate::header::{IdHeader, Reading};
use crate::scope::current::with_current;
use crate::scope::hub::BaseHub;
use crate::scope::in_scope::InScope;
use crate::scope::record::{Origin, Refusal, RequestRecord};
use crate::scope::{Opening, TransactionIdScope};
use crate::server::body::ResponseBody;
use crate::server::generator::{Generator, MakeTransactionId};
use crate::server::trust::Trust;
use crate::telemetry::inbound::Answer;
use crate::telemetry::report::peer_id;
use crate::{InvalidTransactionId, TransactionId};

/// A [`Layer`] that gives each request its transaction ID: read from the header or generated, bound
/// to a Sentry hub of the request's own, and echoed on the response.
///
/// Put it outermost: added **last** in axum, **first** in a `ServiceBuilder`. What does not reach
/// this layer, such as the answer of a timeout around it, carries no ID.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_transaction_id::{BindTransactionIdLayer, TransactionId};
///
/// async fn handler(id: TransactionId) -> String {
///     format!("tell support this: {id}")
/// }
///
/// let app: Router = Router::new()
///     .route("/", get(handler))
///     .layer(BindTransactionIdLayer::new());
/// ```
///
/// # What happens to a request
///
/// 1. The header is read. An ID that is valid and [trusted](Self::trust) is kept as it is; else
///    one is [made](Self::make_id). It is never a reason to refuse a request.
/// 2. The request's header is set to it, so that what proxies the request passes it on.
/// 3. A [`TransactionIdScope`] is opened, and the inner service called in it. The future and the
///    response's body are polled in it, and dropped in it.
/// 4. The response's header is set to it, on every status, whatever the inner service put there.
///
/// # Nested layers
///
/// A request is already bound when its header holds the ID of the scope that the thread is in: the
/// layer then keeps that ID, whatever its trust, and opens nothing. Across a hop between two
/// layers to another task (`Buffer`) the inner one decides by its own trust, and the echo of the
/// outer one wins. Layers with different header names are independent of each other, even if a
/// caller sends the same value in both.
pub struct BindTransactionIdLayer<R = OpaqueErrors> {
    config: Arc<Config>,
    generator: Generator,
    errors: R,
}

#[derive(Clone)]
struct Config {
    header: IdHeader,
    trust: Trust,
    base: Option<Arc<BaseHub>>,
    failures: Option<Failures>,
    records_request: bool,
}

impl BindTransactionIdLayer {
    /// Header `x-transaction-id`, [`TransactionId::generate`], every valid ID trusted, hubs forked
    /// from the one that is current.
    #[must_use]
    pub fn new() -> Self {
        let config = Arc::new(Config {
            header: IdHeader::default(),
            trust: Trust::always(),
            base: None,
            failures: None,
            records_request: true,
        });
        Self { config, generator: Generator::default(), errors: OpaqueErrors::new() }
    }
}

impl Default for BindTransactionIdLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> BindTransactionIdLayer<R> {
    fn config(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }

    /// The header to read and to echo, in place of [`X_TRANSACTION_ID`](crate::X_TRANSACTION_ID).
    #[must_use]
    pub fn header_name(mut self, header_name: HeaderName) -> Self {
        self.config().header = IdHeader::new(header_name);
        self
    }

    /// Generates the ID of a request that brings none by `make_id`, in place of
    /// [`TransactionId::generate`]. All clones of the layer and of its services share it.
    #[must_use]
    pub fn make_id(mut self, make_id: impl MakeTransactionId) -> Self {
        self.generator = Generator::Shared(Arc::new(make_id));
        self
    }

    /// Generates the ID of a request that brings none by a tower-http `MakeRequestId`.
    ///
    /// As with tower-http's own layer, each service has a generator, which is cloned along with the
    /// service. An ID that is invalid by the rules of [`TransactionId`] is replaced.
    ///
    /// ```
    /// use tower_http::request_id::MakeRequestUuid;
    /// use tower_transaction_id::BindTransactionIdLayer;
    ///
    /// let layer = BindTransactionIdLayer::new().make_request_id(MakeRequestUuid);
    /// ```
    #[cfg(feature = "tower-http")]
    #[must_use]
    pub fn make_request_id<M>(mut self, make_request_id: M) -> Self
    where
        M: tower_http::request_id::MakeRequestId + Clone + Send + Sync + 'static,
    {
        self.generator = Generator::PerService(Box::new(make_request_id));
        self
    }

    /// Whose IDs are kept. A valid ID that is not trusted is recorded as the Sentry tag
    /// `upstream_transaction_id`.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.config().trust = trust;
        self
    }

    /// Starts each request from the client and the scope that `hub` has **now**, in place of those
    /// of whichever hub is current when the request arrives.
    ///
    /// This is the stronger isolation: nothing that ran unscoped on a worker thread's hub can leak
    /// into a request. It is also the faster way. In return, a later change of `hub` is not seen,
    /// a client bound to it later included. A span that is active now is left out.
    ///
    /// A hub without an enabled client leaves the default, so give the hub after `sentry::init`. Once
    /// the client is closed, requests go by the default, too: each has a fork of the hub that is
    /// current.
    ///
    /// ```
    /// use sentry::Hub;
    /// use tower_transaction_id::BindTransactionIdLayer;
    ///
    /// // after sentry::init
    /// let layer = BindTransactionIdLayer::new().hub(Hub::main());
    /// ```
    #[must_use]
    pub fn hub(mut self, hub: impl AsRef<Hub>) -> Self {
        // A client without a DSN is an operator's choice; none at all mostly means `init` came later.
        #[cfg(feature = "tracing")]
        if hub.as_ref().client().is_none() {
            tracing::warn!("the base hub has no Sentry client, and is not used");
        }
        self.config().base = BaseHub::new(hub).map(Arc::new);
        self
    }

    /// Reports each request that fails as one Sentry event under its ID: with its method, its route
    /// (axum's `MatchedPath` with the feature `axum`, else the path; never the query) and its
    /// status.
    ///
    /// # Which requests fail
    ///
    /// A request fails when the inner service does, or when it answers with one of the statuses
    /// or, at the head or the end of its response, gRPC codes of `failures`. These do not count:
    ///
    /// - a stream that the client cut off;
    /// - a body that breaks off with an error after its head;
    /// - the trailers of gRPC-Web, and a gRPC response that ends without a code;
    /// - an error of `poll_ready`, which belongs to no request.
    ///
    /// # One event for each failure
    ///
    /// An event of level error or above that is captured in the request and carries its tag, by hand,
    /// by `tracing` or by a panic, stands for the failure: the layer then reports nothing. These do
    /// not stand for it:
    ///
    /// - events of lower levels;
    /// - events of [`InjectTransactionIdLayer`](crate::InjectTransactionIdLayer);
    /// - events of work under an ID of its own, and of a task bound with
    ///   [`InScope::fork`](crate::InScope::fork) or to a hub alone. For a task that finishes the
    ///   request itself, use [`InScope::rest_of_request`](crate::InScope::rest_of_request);
    /// - with [`TransactionIdIntegration`](crate::TransactionIdIntegration), an error that an event
    ///   processor or `before_send` discards. Without the integration such an error stands for the
    ///   failure, and no event is left: lower its level to silence it.
    ///
    /// Of nested layers it is the outermost that reports, so ask it there. A level that is set on
    /// the scope is the report's, too.
    ///
    /// # Grouping
    ///
    /// A matched route makes one issue with each outcome. Without a route, all requests of one method
    /// and outcome are one issue, since a client can invent paths. A method that HTTP does not know is
    /// `_OTHER`. A fingerprint that a handler sets on its scope is kept.
    ///
    /// # Trace
    ///
    /// The report is in the trace of the span that a layer inside handled the request in: that of
    /// `TraceLayer` with `MakeTransactionIdSpan`, or of `SentryHttpLayer` if the request waited for
    /// something inside of it. Else it is in the trace that the request brought in `sentry-trace`, if
    /// the caller is [trusted](Self::trust) and the client's options let it be continued; else in the
    /// one of all that the request captured, which is the process's. Like that of the client layer, it
    /// is captured on a fork of the hub, which has a `last_event_id` of its own.
    ///
    /// # With `TraceLayer`
    ///
    /// tower-http's `TraceLayer` logs each 5xx as an error. Where sentry-tracing sends errors to
    /// Sentry, that event stands for the failure; with `TraceLayer::on_failure(())` this report,
    /// which names route and status, is made instead.
    ///
    /// ```
    /// use tower_transaction_id::{BindTransactionIdLayer, Failures};
    ///
    /// let layer = BindTransactionIdLayer::new().capture_failures(Failures::new());
    /// ```
    #[must_use]
    pub fn capture_failures(mut self, failures: Failures) -> Self {
        self.config().failures = Some(failures);
        self
    }

    /// Has the report of an error hold the error's text and its sources, in place of the name of its
    /// type. Takes effect with [`capture_failures`](Self::capture_failures).
    ///
    /// `read` names the type of the error of the service inside:
    ///
    /// ```
    /// use tower::BoxError;
    /// use tower_transaction_id::{BindTransactionIdLayer, Failures};
    ///
    /// let of_a_type = BindTransactionIdLayer::new()
    ///     .capture_failures(Failures::new())
    ///     .read_errors(|error: &std::io::Error| error);
    ///
    /// // As for all that stands inside of tower's `Timeout`, `Buffer` or `LoadShed`.
    /// let boxed = BindTransactionIdLayer::new()
    ///     .capture_failures(Failures::new())
    ///     .read_errors(|error: &BoxError| &**error);
    /// ```
    #[must_use]
    pub fn read_errors<E>(
        self,
        read: fn(&E) -> &(dyn std::error::Error + 'static),
    ) -> BindTransactionIdLayer<ReadableErrors<E>> {
        let Self { config, generator, .. } = self;
        BindTransactionIdLayer { config, generator, errors: ReadableErrors::new(read) }
    }

    /// Sets whether events show the request: method, URL, route and some headers. On by default.
    ///
    /// The URL comes without its query, and of the headers only `host`, `user-agent`, `content-type`
    /// and `content-length` are shown. With the client's
    /// [`send_default_pii`](sentry::ClientOptions::send_default_pii) the query and all headers are,
    /// with the values of those filtered that Sentry's SDK regards as sensitive. The layer only counts
    /// references to them, and renders them if an event is captured. The report of a failure shows the
    /// request in any case.
    #[must_use]
    pub fn record_request(mut self, record_request: bool) -> Self {
        self.config().records_request = record_request;
        self
    }
}

impl<R: Clone> Clone for BindTransactionIdLayer<R> {
    fn clone(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            generator: self.generator.clone(),
            errors: self.errors.clone(),
        }
    }
}

impl<R: fmt::Debug> fmt::Debug for BindTransactionIdLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindTransactionIdLayer")
            .field("header_name", self.config.header.name())
            .field("trust", &self.config.trust)
            .field("has_base_hub", &self.config.base.is_some())
            .field("failures", &self.config.failures)
            .field("errors", &self.errors)
            .finish_non_exhaustive()
    }
}

impl<S, R: Clone> Layer<S> for BindTransactionIdLayer<R> {
    type Service = BindTransactionId<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { config, generator, errors } = self.clone();
        BindTransactionId { inner, config, generator, errors }
    }
}

/// The [`Service`] of [`BindTransactionIdLayer`].
pub struct BindTransactionId<S, R = OpaqueErrors> {
    inner: S,
    config: Arc<Config>,
    generator: Generator,
    errors: R,
}

impl<S> BindTransactionId<S> {
    /// Wraps `inner` as [`BindTransactionIdLayer::new`] does.
    pub fn new(inner: S) -> Self {
        BindTransactionIdLayer::new().layer(inner)
    }
}

impl<S, R> BindTransactionId<S, R> {
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
        let failures = self.config.failures.as_ref().filter(|_| in_sentry);
        BindResponseFuture {
            failures: failures.cloned(),
            inner: InScope::start(scope, || {
                if let Some(why) = refused {
                    log_refusal(why);
                }
                self.inner.call(request)
            }),
            header: self.config.header.clone(),
            kept,
            errors: self.errors,
            looks: 0,
        }
    }
}

/// The decision on the ID of a request.
#[derive(Default)]
struct Admission {
    /// Opened for it.
    scope: Option<TransactionIdScope>,
    /// The ID of the scope of an outer layer that the request is in already. In a box: that is
    /// seldom, and the future moves often.
    kept: Option<Box<TransactionId>>,
    /// Why the ID that came in is no ID.
    refused: Option<InvalidTransactionId>,
}

impl Config {
    /// Decides on the ID of `request`, leaves it as the one line of its header, and opens its
    /// scope, unless the request is already in it.
    fn admit<B>(&self, request: &mut Request<B>, generator: &mut Generator) -> Admission {
        let Reading { id: incoming, is_one_line } = self.header.read(request.headers());
        if let Some(Ok(id)) = &incoming
            && with_current(|work| work.is_of(id, &self.header)) == Some(true)
        {
            if !is_one_line {
                self.header.set(request.headers_mut(), id);
            }
            return Admission { kept: Some(Box::new(id.clone())), ..Admission::default() };
        }
        let trusts_caller = self.trust.accepts(request, matches!(incoming, Some(Ok(_))));
        let (id, refusal) = match incoming {
            Some(Ok(id)) if trusts_caller => {
                if !is_one_line {
                    self.header.set(request.headers_mut(), &id);
                }
                let scope = self.open(id, request, trusts_caller, Origin::Inbound, None);
                return Admission { scope: Some(scope), ..Admission::default() };
            }
            Some(Ok(id)) => (Some(id), Some(Refusal::Untrusted)),
            Some(Err(why)) => (None, Some(Refusal::Invalid(why))),
            None => (None, None),
        };
        let (upstream, generated) = (id, generator.make(request));
        self.header.set(request.headers_mut(), &generated);
        let origin = Origin::Generated(refusal);
        let scope = self.open(generated, request, trusts_caller, origin, upstream);
        let refused = match refusal {
            Some(Refusal::Invalid(why)) => Some(why),
            Some(Refusal::Untrusted) | None => None,
        };
        Admission { scope: Some(scope), refused, ..Admission::default() }
    }

    /// Opens the scope of `request` and records the request, where that may be of use.
    fn open<B>(
        &self,
        id: TransactionId,
        request: &Request<B>,
        trusts_caller: bool,
        origin: Origin,
        upstream: Option<TransactionId>,
    ) -> TransactionIdScope {
        let records = self.records_request || self.failures.is_some();
        let mut scope = TransactionIdScope::open(
            id,
            Opening {
                base: self.base.as_deref(),
                origin: Some(origin),
                header: Some(self.header.clone()),
                trusts_caller,
                upstream,
                completes_events: records,
            },
        );
        if records && scope.hub().is_some() {
            let options = scope.work().options;
            let record = RequestRecord::of(request, options, trusts_caller, self.records_request);
            scope.record_mut().request = Some(record);
        }
        scope
    }
}

/// Logs a refusal: at debug level, since any client can cause it, and without the value, which is
/// the client's.
#[cold]
fn log_refusal(why: InvalidTransactionId) {
    #[cfg(feature = "tracing")]
    tracing::debug!(rule = %why.rule(), len = why.value_len(), "transaction ID refused");
    #[cfg(not(feature = "tracing"))]
    let _ = why;
}

/// How often a request that waits is searched for the span that it is handled in.
const MAX_LOOKS: u8 = 16;

pin_project! {
    /// The response future of [`BindTransactionId`].
    pub struct BindResponseFuture<F, R = OpaqueErrors> {
        #[pin]
        inner: InScope<F>,
        header: IdHeader,
        // Only where there is no scope to ask.
        kept: Option<Box<TransactionId>>,
        failures: Option<Failures>,
        errors: R,
        looks: u8,
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
        let Poll::Ready((result, scope)) = this.inner.as_mut().poll_with_scope(cx) else {
            // A layer such as `SentryHttpLayer` takes its span off the scope before there is a
            // response. A look takes a fork of the hub: not where there can be no span, and not at
            // each of the polls of a long wait.
            if this.failures.is_some() && *this.looks < MAX_LOOKS {
                *this.looks += 1;
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
                return Poll::Ready(Err(error));
            }
        };
        let failures = failures
            .and_then(|(failures, scope)| report_head(&response, failures, scope, this.header));
        if let Some(id) = scope.as_ref().map(TransactionIdScope::id).or(this.kept.as_deref()) {
            this.header.set(response.headers_mut(), id);
        }
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(InScope::new(scope, body), failures))))
    }
}

/// Reports the head of a response where it is a failure. Returns `failures` where the end of the
/// body has yet to show one.
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
