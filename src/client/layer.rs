//! [`InjectTransactionIdLayer`] and its settings.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use tower_layer::Layer;

use crate::client::hosts::AllowedHosts;
use crate::client::service::{Config, InjectTransactionId};
use crate::failures::{Failures, OpaqueErrors, ReadableErrors};
use crate::header::IdHeader;

/// A [`Layer`] that puts the transaction ID on outbound requests, to the hosts that were allowed
/// and to no others.
///
/// It wraps whatever takes `http::Request` (hyper-util's client, tower-reqwest, tonic) and, with
/// the feature `reqwest`, `reqwest::Client` itself. Response and error types stay the inner ones.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower::{Service, ServiceBuilder, ServiceExt};
/// use tower_transaction_id::{
///     AllowedHosts, InjectTransactionIdLayer, TransactionId, TransactionIdScope,
/// };
///
/// let hosts = AllowedHosts::only(["kitchen.internal"])?;
/// let mut client = ServiceBuilder::new()
///     .layer(InjectTransactionIdLayer::new(hosts))
///     .service(reqwest::Client::new());
///
/// // In a handler the request's ID is current. A program that starts the work opens a scope
/// // around all of it, so that its own errors, redirects and retries share the ID too.
/// let scope = TransactionIdScope::new(TransactionId::generate());
/// scope.bind(async move {
///     let request = client.get_ref().get("http://kitchen.internal/orders").build()?;
///     let response = client.ready().await?.call(request).await;
/// #   assert!(response.is_err());
/// #   Ok::<_, reqwest::Error>(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
///
/// Only what is called through the layer carries the ID: `reqwest::Client`'s own `send` goes past
/// it. Inside a scope the *call* must be, as in the `async` block above.
///
/// # Which ID
///
/// The first of: a valid one that is already on the request, which is never overwritten; the
/// [current](TransactionId::current) one; the tag of the current hub; a new one. A new one means
/// that this call starts the work: it is made in a [`TransactionIdScope`] of its own, and the ID is
/// put into the extensions of the response.
///
/// What is current is what is so where the layer is called. So it belongs outside of whatever moves
/// requests to another task, such as tower's `Buffer`. A `Retry` outside sends the same ID each time
/// in a scope, and a new one each time where there is none.
///
/// # Other hosts
///
/// On a request to a host that is not allowed, the header is removed where it holds the current ID,
/// as it does when a handler forwards all of its headers. Any other value is the caller's business.
///
/// # Redirects
///
/// reqwest follows redirects below this layer, and sends our header to whichever host it is led to.
/// Where that can be somebody else's, set `redirect::Policy::none()`, or a policy that
/// stops there (`AllowedHosts::allows_url`). tower-http's `FollowRedirect` **outside** this layer has
/// each hop decided anew.
///
/// # Sentry
///
/// A call made inside a scope leaves a [breadcrumb](Self::breadcrumbs) there. Opt in to have what
/// fails [reported](Self::capture_failures), and to [continue the trace](Self::propagate_trace).
pub struct InjectTransactionIdLayer<R = OpaqueErrors> {
    config: Arc<Config>,
    errors: R,
}

impl InjectTransactionIdLayer {
    /// Header `x-transaction-id`, sent to `hosts`; breadcrumbs, no events, no tracing.
    #[must_use]
    pub fn new(hosts: AllowedHosts) -> Self {
        Self { config: Arc::new(Config::new(hosts)), errors: OpaqueErrors::new() }
    }
}

impl<R> InjectTransactionIdLayer<R> {
    fn config(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }

    #[cfg(feature = "reqwest-middleware")]
    pub(crate) fn parts(&self) -> (&Config, R)
    where
        R: Copy,
    {
        (&self.config, self.errors)
    }

    /// The header to set, in place of [`X_TRANSACTION_ID`](crate::X_TRANSACTION_ID).
    #[must_use]
    pub fn header_name(mut self, header_name: HeaderName) -> Self {
        self.config().header = IdHeader::new(header_name);
        self
    }

    /// Reports each call that fails as one Sentry event under its ID, in the shape of Sentry's own
    /// HTTP clients: method, URL without its secrets, status, and the tag `peer_transaction_id`
    /// where the other side echoed another ID.
    ///
    /// A call fails when the inner service does, or when it answers with one of the statuses or, at
    /// the head of its response, gRPC codes of `failures`. The event is captured by the hub that is
    /// current at the call, on a fork with a `last_event_id` of its own, and never stands for the
    /// failure of the request that made the call.
    ///
    /// Each attempt of a `Retry` outside is a call. One that a `Timeout` outside cuts off has not
    /// failed, but was cancelled, which its breadcrumb says: put the timeout inside. Errors of
    /// `poll_ready` belong to no call.
    ///
    /// ```
    /// use tower_transaction_id::{AllowedHosts, Failures, InjectTransactionIdLayer};
    ///
    /// let layer = InjectTransactionIdLayer::new(AllowedHosts::only(["kitchen.internal"])?)
    ///     .capture_failures(Failures::new());
    /// # Ok::<(), tower_transaction_id::InvalidHost>(())
    /// ```
    #[must_use]
    pub fn capture_failures(mut self, failures: Failures) -> Self {
        self.config().failures = Some(failures);
        self
    }

    /// Has reports and breadcrumbs of an error hold the error's text, and reports its sources, in
    /// place of the name of its type.
    ///
    /// `read` names the type of the error of the client inside:
    ///
    /// ```
    /// use tower_transaction_id::{AllowedHosts, Failures, InjectTransactionIdLayer};
    ///
    /// let layer = InjectTransactionIdLayer::new(AllowedHosts::only(["kitchen.internal"])?)
    ///     .capture_failures(Failures::new())
    ///     .read_errors(|error: &reqwest::Error| error);
    /// # Ok::<(), tower_transaction_id::InvalidHost>(())
    /// ```
    ///
    /// URLs in the text lose their user, password, query and fragment.
    #[must_use]
    pub fn read_errors<E>(
        self,
        read: fn(&E) -> &(dyn std::error::Error + 'static),
    ) -> InjectTransactionIdLayer<ReadableErrors<E>> {
        InjectTransactionIdLayer { config: self.config, errors: ReadableErrors::new(read) }
    }

    /// Whether each call inside a scope leaves a breadcrumb of type `http`: method, URL without
    /// its secrets, status or reason (the error's text where [failures](Self::capture_failures) are
    /// captured, else only that it was one), duration in milliseconds. On by default. A call outside any
    /// scope leaves none: on the worker thread's own hub it would show in later requests.
    #[must_use]
    pub fn breadcrumbs(mut self, breadcrumbs: bool) -> Self {
        self.config().breadcrumbs = breadcrumbs;
        self
    }

    /// Names further headers that only allowed hosts may see, such as `traceparent`, `tracestate`,
    /// `baggage` and `sentry-trace`: they are removed from requests to all other hosts. None by
    /// default.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_transaction_id::{AllowedHosts, InjectTransactionIdLayer};
    ///
    /// let layer = InjectTransactionIdLayer::new(AllowedHosts::only(["kitchen.internal"])?)
    ///     .protect_headers(["traceparent", "baggage"].map(HeaderName::from_static));
    /// # Ok::<(), tower_transaction_id::InvalidHost>(())
    /// ```
    #[must_use]
    pub fn protect_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.config().protected = names.into_iter().collect();
        self
    }

    /// Sets whether calls continue the trace: allowed hosts are sent `sentry-trace` and `baggage`, as in
    /// Sentry's [specification](https://develop.sentry.dev/sdk/foundations/trace-propagation/). Off by
    /// default.
    ///
    /// - While a span is active, the call becomes a child span `http.client` of it, and passes on its
    ///   sampling decision.
    /// - Without a span, the trace is that of the current scope: the caller's, if the server layer
    ///   trusts the caller, or one of its own. No sampling decision is sent.
    /// - The caller's baggage is passed on unchanged, as far as it is Sentry's. A trace that starts
    ///   here is described by its ID, the public key, release, environment and organisation.
    /// - A request that continues a trace by itself (`sentry-trace`, `traceparent`) keeps its headers.
    ///   Members of `baggage` that are there stay.
    #[must_use]
    pub fn propagate_trace(mut self, propagate_trace: bool) -> Self {
        self.config().propagate_trace = propagate_trace;
        self
    }
}

impl<R: Clone> Clone for InjectTransactionIdLayer<R> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config), errors: self.errors.clone() }
    }
}

impl<R: fmt::Debug> fmt::Debug for InjectTransactionIdLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectTransactionIdLayer")
            .field("header_name", self.config.header.name())
            .field("hosts", &self.config.hosts)
            .field("failures", &self.config.failures)
            .field("errors", &self.errors)
            .field("breadcrumbs", &self.config.breadcrumbs)
            .field("propagate_trace", &self.config.propagate_trace)
            .finish()
    }
}

impl<S, R: Clone> Layer<S> for InjectTransactionIdLayer<R> {
    type Service = InjectTransactionId<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { config, errors } = self.clone();
        InjectTransactionId::with(inner, config, errors)
    }
}
