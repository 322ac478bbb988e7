//! The server layer: reads or mints the ID, binds the request to it, echoes it.

pub(crate) mod body;
mod generator;
pub(crate) mod trust;

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, Request, Response};
use pin_project_lite::pin_project;
use sentry::Hub;
use tower_layer::Layer;
use tower_service::Service;

#[cfg(feature = "tracing")]
use crate::InvalidTransactionId;
use crate::failures::{Capture, CapturesErrors};
use crate::header::{IdHeader, Reading};
use crate::scope::hub::BaseHub;
use crate::scope::{Opening, with_current};
use crate::server::generator::Generator;
use crate::telemetry::inbound::InboundCall;
use crate::telemetry::integration::{Origin, Refusal};
use crate::telemetry::report::peer_id;
use crate::{
    Failures, InScope, MakeTransactionId, ResponseBody, TransactionId, TransactionIdScope, Trust,
};

/// A [`Layer`] that gives each request its transaction ID: read from the header or minted, bound
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
pub struct BindTransactionIdLayer<C = ()> {
    config: Arc<Config<C>>,
    generator: Generator,
}

struct Config<C> {
    header: IdHeader,
    trust: Trust,
    base: Option<Arc<BaseHub>>,
    capture: C,
}

impl BindTransactionIdLayer {
    /// Header `x-transaction-id`, [`TransactionId::mint`], every valid ID trusted, hubs forked
    /// from whichever is current.
    #[must_use]
    pub fn new() -> Self {
        let config = Arc::new(Config {
            header: IdHeader::default(),
            trust: Trust::always(),
            base: None,
            capture: (),
        });
        Self { config, generator: Generator::default() }
    }
}

impl Default for BindTransactionIdLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Capture> BindTransactionIdLayer<C> {
    fn config(&mut self) -> &mut Config<C> {
        Arc::make_mut(&mut self.config)
    }

    /// The header to read and to echo, in place of [`X_TRANSACTION_ID`](crate::X_TRANSACTION_ID).
    #[must_use]
    pub fn header_name(mut self, header_name: HeaderName) -> Self {
        self.config().header = IdHeader::new(header_name);
        self
    }

    /// Generates the ID of a request that brings none by `make_id`, in place of
    /// [`TransactionId::mint`]. All clones of the layer and of its services share it.
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
    pub fn capture_failures<K>(self, failures: Failures<K>) -> BindTransactionIdLayer<Failures<K>> {
        let Config { header, trust, base, .. } = Arc::unwrap_or_clone(self.config);
        let config = Arc::new(Config { header, trust, base, capture: failures });
        BindTransactionIdLayer { config, generator: self.generator }
    }
}

impl<C: Clone> Clone for Config<C> {
    fn clone(&self) -> Self {
        Self {
            header: self.header.clone(),
            trust: self.trust.clone(),
            base: self.base.clone(),
            capture: self.capture.clone(),
        }
    }
}

impl<C> Clone for BindTransactionIdLayer<C> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config), generator: self.generator.clone() }
    }
}

impl<C: fmt::Debug> fmt::Debug for BindTransactionIdLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindTransactionIdLayer")
            .field("header_name", self.config.header.name())
            .field("trust", &self.config.trust)
            .field("has_base_hub", &self.config.base.is_some())
            .field("capture", &self.config.capture)
            .finish_non_exhaustive()
    }
}

impl<S, C> Layer<S> for BindTransactionIdLayer<C> {
    type Service = BindTransactionId<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { config, generator } = self.clone();
        BindTransactionId { inner, config, generator }
    }
}

/// The [`Service`] of [`BindTransactionIdLayer`].
pub struct BindTransactionId<S, C = ()> {
    inner: S,
    config: Arc<Config<C>>,
    generator: Generator,
}

impl<S> BindTransactionId<S> {
    /// Wraps `inner` as [`BindTransactionIdLayer::new`] does.
    pub fn new(inner: S) -> Self {
        BindTransactionIdLayer::new().layer(inner)
    }
}

impl<S, C> BindTransactionId<S, C> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, C> Clone for BindTransactionId<S, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            config: Arc::clone(&self.config),
            generator: self.generator.clone(),
        }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for BindTransactionId<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindTransactionId").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, C, ReqBody, ResBody> Service<Request<ReqBody>> for BindTransactionId<S, C>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    C: CapturesErrors<S::Error>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = BindResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let (scope, kept) = match self.config.admit(&mut request, &mut self.generator) {
            Admission::Opened(scope) => (Some(scope), None),
            Admission::Kept(id) => (None, Some(Box::new(id))),
        };
        let in_sentry = scope.as_ref().is_some_and(|scope| scope.hub().is_some());
        let rules = self.config.capture.rules().filter(|_| in_sentry);
        let trusts_caller = scope.as_ref().is_some_and(TransactionIdScope::trusts_caller);
        let watched = rules.map(|rules| Box::new(InboundCall::new(&request, rules, trusts_caller)));
        #[cfg(feature = "tracing")]
        let refused = scope.as_ref().and_then(refusal);
        BindResponseFuture {
            watched,
            inner: InScope::start(scope, || {
                #[cfg(feature = "tracing")]
                if let Some(why) = refused {
                    log_refusal(why);
                }
                self.inner.call(request)
            }),
            header: self.config.header.clone(),
            kept,
            capture: PhantomData,
        }
    }
}

/// What became of a request.
enum Admission {
    Opened(TransactionIdScope),
    /// It is in the scope of an outer layer already, under this ID.
    Kept(TransactionId),
}

impl<C: Capture> Config<C> {
    /// Decides on the ID of `request`, leaves it as the one line of its header, and opens its
    /// scope, unless the request is already in it.
    fn admit<B>(&self, request: &mut Request<B>, generator: &mut Generator) -> Admission {
        let Reading { id: incoming, is_one_line } = self.header.read(request.headers());
        if let Some(Ok(id)) = &incoming
            && with_current(|scope| scope.is_of(id, &self.header)) == Some(true)
        {
            if !is_one_line {
                self.header.set(request.headers_mut(), id);
            }
            return Admission::Kept(id.clone());
        }
        let mut opening = Opening {
            base: self.base.as_deref(),
            header: Some(self.header.clone()),
            trusts_caller: self.trust.accepts(request, matches!(incoming, Some(Ok(_)))),
            notes: self.capture.rules().map(|_| Arc::default()),
            ..Opening::default()
        };
        let refusal = match incoming {
            None => None,
            Some(Ok(id)) if opening.trusts_caller => {
                if !is_one_line {
                    self.header.set(request.headers_mut(), &id);
                }
                opening.origin = Some(Origin::Inbound);
                return Admission::Opened(TransactionIdScope::open(id, opening));
            }
            Some(Ok(id)) => {
                opening.upstream = Some(id);
                Some(Refusal::Untrusted)
            }
            Some(Err(why)) => Some(Refusal::Invalid(why)),
        };
        opening.origin = Some(Origin::Minted(refusal));
        let id = generator.make(request);
        self.header.set(request.headers_mut(), &id);
        Admission::Opened(TransactionIdScope::open(id, opening))
    }
}

/// Why the ID that a request brought is not that of `scope`, if it was invalid.
#[cfg(feature = "tracing")]
fn refusal(scope: &TransactionIdScope) -> Option<InvalidTransactionId> {
    match scope.origin()? {
        Origin::Minted(Some(Refusal::Invalid(why))) => Some(*why),
        _ => None,
    }
}

/// Logs a refusal, inside of the scope: at debug level, since any client can cause it, and without
/// the value, which is the client's.
#[cfg(feature = "tracing")]
#[cold]
fn log_refusal(why: InvalidTransactionId) {
    tracing::debug!(rule = %why.rule(), len = why.value_len(), "transaction ID refused");
}

pin_project! {
    /// The response future of [`BindTransactionId`].
    pub struct BindResponseFuture<F, C = ()> {
        #[pin]
        inner: InScope<F>,
        header: IdHeader,
        // Only where there is no scope to ask. In a box: that is seldom, and the future moves often.
        kept: Option<Box<TransactionId>>,
        watched: Option<Box<InboundCall>>,
        capture: PhantomData<fn() -> C>,
    }
}

impl<F, C> fmt::Debug for BindResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindResponseFuture")
            .field("scope", &self.inner.scope())
            .finish_non_exhaustive()
    }
}

impl<F, C, ResBody, E> Future for BindResponseFuture<F, C>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    C: CapturesErrors<E>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Poll::Ready(result) = this.inner.as_mut().poll_to_end(cx) else {
            if let (Some(watched), Some(scope)) = (this.watched, this.inner.scope()) {
                watched.wait(scope);
            }
            return Poll::Pending;
        };
        let scope = this.inner.take_scope();
        let watched = this.watched.take().zip(scope.as_ref());
        let mut response = match result {
            Ok(response) => response,
            Err(error) => {
                if let (Some((watched, scope)), Some(error)) = (watched, C::as_error(&error)) {
                    watched.failed(scope, error);
                }
                return Poll::Ready(Err(error));
            }
        };
        let watched = watched.and_then(|(watched, scope)| {
            let peer = peer_id(response.headers(), this.header, Some(scope.id()));
            watched.responded(scope, response.status(), response.headers(), peer.as_ref())
        });
        if let Some(id) = scope.as_ref().map(TransactionIdScope::id).or(this.kept.as_deref()) {
            this.header.set(response.headers_mut(), id);
        }
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(InScope::new(scope, body), watched))))
    }
}
