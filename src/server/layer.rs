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

/// Gives each request its transaction ID: a `Layer` that reads or generates the ID, binds the request
/// to a Sentry hub of its own, and echoes the ID on the response.
///
/// Put it outermost: added **last** in axum, **first** in a `ServiceBuilder`. The answer of a layer further
/// out, such as a timeout, carries no ID.
///
/// ```
/// use axum::{Router, routing::get};
/// use sentry::Hub;
/// use tower_transaction_id::{BindTransactionIdLayer, TransactionId};
///
/// async fn handler(id: TransactionId) -> String {
///     format!("tell support this: {id}")
/// }
///
/// let app: Router = Router::new()
///     .route("/", get(handler))
///     .layer(BindTransactionIdLayer::new().hub(Hub::main())); // after sentry::init
/// ```
///
/// # The way of a request
///
/// 1. The layer reads the header. It keeps an ID that is valid and [trusted](Self::trust), and otherwise
///    [generates](Self::make_id) an ID. It never refuses a request.
/// 2. It sets the request's header to the ID, so that a proxy inside passes the ID on.
/// 3. It opens a [`TransactionIdScope`](crate::TransactionIdScope), and calls the inner service in the
///    scope. The future and the response's body are polled and dropped in the scope.
/// 4. It sets the response's header to the ID, on every status, in place of any value of the inner service.
///
/// # Nested layers
///
/// - A request is bound already if its header holds the ID of the current scope, and a layer with the same
///   header name opened this scope. The layer then keeps the ID, whether it trusts the caller or not, and
///   opens no scope.
/// - If a layer between the two moves the request to another task (`Buffer`), the inner layer decides by
///   its own trust, and the response carries the ID of the outer layer.
/// - Layers with different header names are independent of each other, even if a caller sends the same
///   value in both.
pub struct BindTransactionIdLayer<R = OpaqueErrors> {
    config: Arc<Config>,
    generator: Generator,
    errors: R,
}

impl BindTransactionIdLayer {
    /// Creates a layer for the header `x-transaction-id` that trusts every caller, generates IDs by
    /// [`TransactionId::generate`](crate::TransactionId::generate), and forks the hub that is current.
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

    /// Sets the header to read and to echo, in place of [`X_TRANSACTION_ID`](crate::X_TRANSACTION_ID).
    #[must_use]
    pub fn header_name(mut self, header_name: HeaderName) -> Self {
        self.config().header = IdHeader::new(header_name);
        self
    }

    /// Generates the ID of a request that brings none by `make_id`, in place of
    /// [`TransactionId::generate`](crate::TransactionId::generate). All clones of the layer and of its
    /// services share `make_id`.
    #[must_use]
    pub fn make_id(mut self, make_id: impl MakeTransactionId) -> Self {
        self.generator = Generator::Shared(Arc::new(make_id));
        self
    }

    /// Generates the ID of a request that brings none by a tower-http `MakeRequestId`.
    ///
    /// As with tower-http's own layer, each service has a generator, which is cloned along with the
    /// service. If it generates no ID, or one that is invalid by the rules of
    /// [`TransactionId`](crate::TransactionId), then
    /// [`TransactionId::generate`](crate::TransactionId::generate) takes its place.
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

    /// Sets whose IDs are kept and whose traces are continued.
    ///
    /// A valid ID that is not trusted becomes the Sentry tag `upstream_transaction_id`.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.config().trust = trust;
        self
    }

    /// Starts each request from the client and the scope that `hub` has **now**, in place of the
    /// client and the scope that the current hub has when the request arrives.
    ///
    /// - Requests are isolated better: nothing that ran on a worker thread outside any request can leak in.
    /// - Requests are faster.
    /// - Later changes of `hub` are not seen. A client that is bound to it later is not seen either, so give
    ///   the hub after `sentry::init`.
    /// - A span that is active now is left out.
    /// - A hub without an enabled client leaves the default: each request has a fork of the current hub. The
    ///   same holds as soon as the client is closed.
    /// - A hub of another version of sentry does not compile.
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
        self.config().base = BaseHub::given(hub);
        self
    }

    /// Reports each request that fails as one Sentry event under its ID, with method, route and status.
    ///
    /// ```
    /// use tower_transaction_id::{BindTransactionIdLayer, Failures};
    ///
    /// let layer = BindTransactionIdLayer::new().capture_failures(Failures::new());
    /// ```
    ///
    /// The route is axum's `MatchedPath` (feature `axum`), else the path. The query is a part of the URL only
    /// with the client's `send_default_pii`.
    ///
    /// # Which requests fail
    ///
    /// - The inner service returns an error.
    /// - The response has a status of `failures`.
    /// - The response has a gRPC code of `failures`, in its headers or its trailers.
    ///
    /// These do not count as failures:
    ///
    /// - a stream that the client cuts off;
    /// - a body that breaks off with an error;
    /// - the trailers of gRPC-Web, and a gRPC response that ends without a code;
    /// - an error of `poll_ready`, which belongs to no request.
    ///
    /// # One event for each failure
    ///
    /// An event of level error or above with the ID of the request stands for the failure, and the layer
    /// reports nothing more. It may be captured by hand, by `tracing` or by a panic. These do not stand for
    /// the failure:
    ///
    /// - an event of a lower level;
    /// - an event of [`InjectTransactionIdLayer`](crate::InjectTransactionIdLayer);
    /// - an event of work under another ID, or of a task that is bound to a hub alone;
    /// - an event of a task that is bound by [`InScope::fork`](crate::InScope::fork). A task that finishes
    ///   the request is bound by [`InScope::rest_of_request`](crate::InScope::rest_of_request);
    /// - with [`TransactionIdIntegration`](crate::TransactionIdIntegration), an event that an event
    ///   processor or `before_send` discards. Without the integration such an event stands for the failure,
    ///   and no event is left: lower its level to silence it.
    ///
    /// If layers are nested, the outermost layer reports. If the scope sets a level, the report has it.
    ///
    /// tower-http's `TraceLayer` logs each 5xx as an error. If sentry-tracing sends errors to Sentry, that
    /// event stands for the failure. `TraceLayer::on_failure(())` silences it. The layer then makes its own
    /// report, which names route and status.
    ///
    /// # Grouping
    ///
    /// - One route with one outcome is one issue.
    /// - Without a route, one method with one outcome is one issue, since a client can invent paths.
    /// - A method that HTTP does not know is `_OTHER`.
    /// - A fingerprint that a handler sets on its scope is kept.
    ///
    /// # Trace
    ///
    /// The report is in the trace of the span that the request was handled in. Without a span it is in the
    /// trace of the request: the trace of a [trusted](Self::trust) caller, or its own trace. A fork of the
    /// hub, with a `last_event_id` of its own, captures the report.
    #[must_use]
    pub fn capture_failures(mut self, failures: Failures) -> Self {
        self.config().failures = Some(failures);
        self
    }

    /// Shows the text and the sources of an error in its report, in place of the name of its type.
    ///
    /// This takes effect with [`capture_failures`](Self::capture_failures). The argument of `read` has the
    /// type of the error of the service inside:
    ///
    /// ```
    /// use tower::BoxError;
    /// use tower_transaction_id::{BindTransactionIdLayer, Failures};
    ///
    /// let of_a_type = BindTransactionIdLayer::new()
    ///     .capture_failures(Failures::new())
    ///     .read_errors(|error: &std::io::Error| error);
    ///
    /// // For tower's `Timeout`, `Buffer` or `LoadShed` inside of the layer.
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

    /// Sets whether each request is measured as a *performance transaction*. Off by default.
    ///
    /// This is Sentry's word for the time that a piece of work takes, and has nothing to do with the
    /// transaction ID. It takes effect if the client samples transactions, as with
    /// [`traces_sample_rate`](sentry::ClientOptions::traces_sample_rate). The transaction
    ///
    /// - is named by the method and the route, or by the path if no route is known;
    /// - continues the trace and the sampling decision of a [trusted](Self::trust) caller;
    /// - has the tag `transaction_id`, the request, the status and `http.response.status_code`;
    /// - ends when the response's body ends, breaks off or is dropped, with the status `cancelled` if the
    ///   client leaves before that. A gRPC status in the trailers counts;
    /// - has a span that is active on the hub of the request until the last drop, so that events and
    ///   the spans of sentry-tracing and of the client layer hang below it.
    ///
    /// Do not combine it with `SentryHttpLayer::enable_transaction`, which makes a second transaction.
    #[must_use]
    pub fn measure_performance(mut self, measure_performance: bool) -> Self {
        self.config().measures = measure_performance;
        self
    }

    /// Sets whether a page's own scripts can read the ID of the response that delivered the page. Off by
    /// default.
    ///
    /// A script cannot read the headers of the page that it is a part of, with one exception: the metrics of
    /// `Server-Timing` ([W3C](https://www.w3.org/TR/server-timing/)). With `true` the layer adds the line
    /// `Server-Timing: transaction_id;desc="..."` after those that are there. The page reads the last metric of
    /// this name in a secure context (HTTPS or loopback):
    ///
    /// ```js
    /// const [page] = performance.getEntriesByType('navigation');
    /// const id = page.serverTiming.findLast(({ name }) => name === 'transaction_id')?.description;
    /// ```
    ///
    /// A page that comes out of a cache has the ID of the response that filled the cache, so send the page with
    /// `Cache-Control: no-store`. Scripts of another origin see the metrics of a response only if it has the
    /// header `Timing-Allow-Origin`.
    #[must_use]
    pub fn server_timing(mut self, server_timing: bool) -> Self {
        self.config().shows_to_scripts = server_timing;
        self
    }

    /// Handles each request in a span that `make_span` makes, so that its log lines show the ID.
    ///
    /// The handler, the body, drops, forks and closures run in the span, also if `TraceLayer` inside has
    /// its own span. The target of the span is your crate, so your filter applies to it.
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
    /// With sentry-tracing, the user and the tags that a handler sets stay on the hub of the request, which
    /// is switched after the span is entered. If sentry-tracing makes a performance transaction of the span,
    /// its span is the active one of that hub. If [`measure_performance`](Self::measure_performance) is on,
    /// leave out this second transaction by a filter on the span layer.
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
    /// - The URL is shown without its query.
    /// - The headers `host`, `user-agent`, `content-type` and `content-length` are shown.
    /// - With the client's [`send_default_pii`](sentry::ClientOptions::send_default_pii) the query and all
    ///   headers are shown, and the values of headers that Sentry's SDK regards as sensitive are filtered.
    /// - The report of a failure shows the request in any case.
    ///
    /// The layer only counts references to these values, and with `send_default_pii` copies the map of the
    /// headers. It renders the values if an event is captured.
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
