//! [`BindTransactionIdLayer`] and its settings.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use sentry::Hub;
use tower_layer::Layer;

#[cfg(feature = "tracing")]
use crate::TransactionId;
use crate::failures::{Failures, OpaqueErrors, ReadableErrors};
use crate::header::IdHeader;
use crate::scope::hub::BaseHub;
use crate::server::admission::Config;
use crate::server::generator::{Generator, MakeTransactionId};
#[cfg(feature = "tracing")]
use crate::server::request::RequestHead;
use crate::server::service::BindTransactionId;
use crate::server::trust::Trust;

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

impl BindTransactionIdLayer {
    /// Header `x-transaction-id`, [`TransactionId::generate`], every valid ID trusted, hubs forked
    /// from the one that is current.
    #[must_use]
    pub fn new() -> Self {
        Self {
            config: Arc::default(),
            generator: Generator::default(),
            errors: OpaqueErrors::new(),
        }
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
            tracing::warn!(
                "the base hub has no Sentry client, and is not used: call sentry::init first"
            );
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

    /// Sets whether each request is measured as a *performance transaction*, which is Sentry's word
    /// for the time that a piece of work takes and has nothing to do with the transaction ID. Off by
    /// default; takes effect where the client samples transactions, as with
    /// [`traces_sample_rate`](sentry::ClientOptions::traces_sample_rate).
    ///
    /// - Its name is the method and the route, or the path where no route is known.
    /// - It continues the trace and the sampling decision of a [trusted](Self::trust) caller.
    /// - It has the tag `transaction_id`, the request, the status and `http.response.status_code`.
    /// - It ends when the response's body ends, breaks off or is dropped. Its status is `cancelled` if
    ///   the client left before that. A gRPC status in the trailers counts.
    /// - Its span is active on the hub of the request until the last drop, so that the spans of
    ///   sentry-tracing, those of the client layer and events hang below it.
    ///
    /// Inside this layer, `SentryHttpLayer::enable_transaction` would make a second one.
    #[must_use]
    pub fn measure_performance(mut self, measure_performance: bool) -> Self {
        self.config().measures = measure_performance;
        self
    }

    /// Has each request handled in a span that `make_span` makes, so that its log lines show the ID.
    ///
    /// The span holds for the handler, the body, drops, forks and closures, also where `TraceLayer`
    /// inside has one of its own. It belongs to your crate: your filter applies to it.
    ///
    /// ```
    /// use tower_transaction_id::{BindTransactionIdLayer, RequestHead, TransactionId};
    ///
    /// let layer = BindTransactionIdLayer::new().make_span_with(|request, id| {
    ///     tracing::info_span!(
    ///         "request",
    ///         method = %request.method(),
    ///         path = request.uri().path(),
    ///         transaction_id = %id,
    ///     )
    /// });
    /// ```
    ///
    /// With sentry-tracing, the user and the tags that a handler sets stay on the hub of the request,
    /// which is switched after the span is entered. If sentry-tracing makes a performance transaction
    /// of the span, its span is the active one of that hub; leave it out with a filter on the span
    /// layer where [`measure_performance`](Self::measure_performance) makes one.
    #[cfg(feature = "tracing")]
    #[must_use]
    pub fn make_span_with<F>(mut self, make_span: F) -> Self
    where
        F: Fn(RequestHead<'_>, &TransactionId) -> tracing::Span + Send + Sync + 'static,
    {
        self.config().make_span = Some(Arc::new(make_span));
        self
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
        BindTransactionId::with(inner, config, generator, errors)
    }
}
