//! [`InjectTransactionIdLayer`] and its settings.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use tower_layer::Layer;

use crate::client::hosts::AllowedHosts;
use crate::client::service::{Config, InjectTransactionId};
use crate::failures::{Failures, OpaqueErrors, ReadableErrors};
use crate::header::IdHeader;

/// Sends the transaction ID with outbound requests: a `Layer` that sets the header for allowed hosts, and
/// for no others.
///
/// The layer wraps each client that takes `http::Request` (hyper-util, tower-reqwest, tonic) and, with the
/// feature `reqwest`, `reqwest::Client` itself. The types of responses and errors stay the same.
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
/// // around all of it, so that its own errors, redirects and retries share the ID.
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
/// `reqwest::Client`'s own `send` bypasses the layer. The *call* must happen inside the scope, as in the
/// `async` block above.
///
/// # Which ID
///
/// The layer takes the first of
///
/// 1. a valid ID that is already on the request, which is never overwritten;
/// 2. the [current](crate::TransactionId::current) ID;
/// 3. the tag of the current hub;
/// 4. a new ID. The call then starts the work: it has a
///    [`TransactionIdScope`](crate::TransactionIdScope) of its own, and the extensions of the response hold
///    the ID.
///
/// The layer looks for the ID where it is called. So it belongs outside of tower's `Buffer`, which moves
/// requests to another task. A `Retry` outside sends the same ID each time if a scope is open, and a new one
/// each time if none is.
///
/// # Other hosts
///
/// If the host is not allowed, the layer removes the header if the header holds the current ID, for example
/// because a handler forwards all of its headers. Any other value stays.
///
/// # Redirects
///
/// reqwest follows redirects below this layer, and sends the header to the new host. To stop at other hosts,
/// set `redirect::Policy::none()`, or a policy that asks `AllowedHosts::allows_url`. With tower-http's
/// `FollowRedirect` **outside** this layer, the layer decides anew for each hop.
///
/// # Sentry
///
/// A call inside a scope leaves a [breadcrumb](Self::breadcrumbs) there. The layer
/// [reports failures](Self::capture_failures) and [continues the trace](Self::propagate_trace) if you set
/// these options.
pub struct InjectTransactionIdLayer<R = OpaqueErrors> {
    config: Arc<Config>,
    errors: R,
}

impl InjectTransactionIdLayer {
    /// Creates a layer that sends the header `x-transaction-id` to `hosts` and leaves breadcrumbs. It
    /// reports no failures and propagates no trace.
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

    /// Sets the name of the header, in place of [`X_TRANSACTION_ID`](crate::X_TRANSACTION_ID).
    #[must_use]
    pub fn header_name(mut self, header_name: HeaderName) -> Self {
        self.config().header = IdHeader::new(header_name);
        self
    }

    /// Reports each call that fails as one Sentry event under its ID, in the shape of Sentry's own
    /// HTTP clients.
    ///
    /// The event shows the method, the URL without its secrets, and the status. If the response carries
    /// another ID, this ID is the tag `peer_transaction_id`. A call fails if
    ///
    /// - the inner service returns an error;
    /// - the response has a status of `failures`;
    /// - the response has a gRPC code of `failures` in its headers.
    ///
    /// The hub that is current at the call captures the event, on a fork with a `last_event_id` of its own.
    /// The event never stands for the failure of the request that made the call.
    ///
    /// Each attempt of a `Retry` outside is a call. A call that a `Timeout` outside cuts off is cancelled and
    /// has not failed: put the timeout inside. Errors of `poll_ready` belong to no call.
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

    /// Shows the text of an error in its report and its breadcrumb, and its sources in the report, in place
    /// of the name of its type.
    ///
    /// The argument of `read` has the type of the error of the client inside:
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

    /// Sets whether each call inside a scope leaves a breadcrumb of type `http`. On by default.
    ///
    /// The breadcrumb shows the method, the URL without its secrets, the duration in milliseconds, and the
    /// status. In place of a status, a failed or cancelled call shows a reason. This is the error's text with
    /// [`read_errors`](Self::read_errors).
    ///
    /// A call outside any scope leaves no breadcrumb, since the breadcrumb would show in later requests of
    /// the worker thread.
    #[must_use]
    pub fn breadcrumbs(mut self, breadcrumbs: bool) -> Self {
        self.config().breadcrumbs = breadcrumbs;
        self
    }

    /// Removes further headers from requests to hosts that are not allowed, such as `traceparent`,
    /// `tracestate`, `baggage` and `sentry-trace`. None by default.
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

    /// Sets whether calls continue the trace. Off by default.
    ///
    /// The layer sends `sentry-trace` and `baggage` to allowed hosts, as in Sentry's
    /// [specification](https://develop.sentry.dev/sdk/foundations/trace-propagation/):
    ///
    /// - If a span is active, the call becomes its child span `http.client`, and passes on its sampling
    ///   decision.
    /// - Without a span, the call continues the trace of the current scope: the caller's trace, if the
    ///   server layer trusts the caller, or the scope's own trace. No sampling decision is sent.
    /// - The Sentry members of the caller's baggage are passed on unchanged. Malformed members are left out,
    ///   and all members if they have more than the [W3C's](https://www.w3.org/TR/baggage/#limits) 8,192
    ///   bytes. A trace that starts here is described by its ID, the public key, release, environment and
    ///   organisation.
    /// - A request that has `sentry-trace` or `traceparent` already keeps its headers. Present members of
    ///   `baggage` stay.
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
