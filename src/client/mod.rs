//! The client layer: puts the ID on outbound requests to the hosts that may see it.

pub(crate) mod hosts;
pub(crate) mod message;

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::client::message::{InboundResponse, OutboundRequest};
use crate::failures::{Capture, CapturesErrors};
use crate::header::IdHeader;
use crate::scope::{Opening, ambient_id, with_current};
use crate::telemetry::integration::Origin;
use crate::telemetry::outbound::{OutboundCall, Wanted};
use crate::{AllowedHosts, Failures, InScope, TransactionId, TransactionIdScope};

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
/// let scope = TransactionIdScope::new(TransactionId::mint());
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
pub struct InjectTransactionIdLayer<C = ()> {
    config: Arc<Config<C>>,
}

struct Config<C> {
    header: IdHeader,
    hosts: AllowedHosts,
    capture: C,
    breadcrumbs: bool,
    propagate_trace: bool,
}

impl InjectTransactionIdLayer {
    /// Header `x-transaction-id`, sent to `hosts`; breadcrumbs, no events, no tracing.
    #[must_use]
    pub fn new(hosts: AllowedHosts) -> Self {
        Self::with(Config {
            header: IdHeader::default(),
            hosts,
            capture: (),
            breadcrumbs: true,
            propagate_trace: false,
        })
    }
}

impl<C> InjectTransactionIdLayer<C> {
    fn with(config: Config<C>) -> Self {
        Self { config: Arc::new(config) }
    }
}

impl<C: Capture> InjectTransactionIdLayer<C> {
    /// The header to set, in place of [`X_TRANSACTION_ID`](crate::X_TRANSACTION_ID).
    #[must_use]
    pub fn header_name(self, header_name: HeaderName) -> Self {
        let header = IdHeader::new(header_name);
        Self::with(Config { header, ..Arc::unwrap_or_clone(self.config) })
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
    pub fn capture_failures<K>(
        self,
        failures: Failures<K>,
    ) -> InjectTransactionIdLayer<Failures<K>> {
        let Config { header, hosts, breadcrumbs, propagate_trace, .. } =
            Arc::unwrap_or_clone(self.config);
        let capture = failures;
        InjectTransactionIdLayer::with(Config {
            header,
            hosts,
            capture,
            breadcrumbs,
            propagate_trace,
        })
    }

    /// Whether each call inside a scope leaves a breadcrumb of type `http`: method, URL without
    /// its secrets, status or reason (the error's text where [failures](Self::capture_failures) are
    /// captured, else only that it was one), duration in milliseconds. On by default. A call outside any
    /// scope leaves none: on the worker thread's own hub it would show in later requests.
    #[must_use]
    pub fn breadcrumbs(self, breadcrumbs: bool) -> Self {
        Self::with(Config { breadcrumbs, ..Arc::unwrap_or_clone(self.config) })
    }

    /// Whether a call that is made while a Sentry span is active becomes a child span
    /// `http.client` of it, and tells allowed hosts so by the header `sentry-trace`. Off by
    /// default.
    ///
    /// A request that continues a trace by itself (`sentry-trace`, `traceparent`) keeps its
    /// headers, and the sampling decision stays the span's. Without an active span nothing is
    /// sent: the trace ID of the process would tie strangers together.
    #[must_use]
    pub fn propagate_trace(self, propagate_trace: bool) -> Self {
        Self::with(Config { propagate_trace, ..Arc::unwrap_or_clone(self.config) })
    }
}

impl<C: Clone> Clone for Config<C> {
    fn clone(&self) -> Self {
        Self {
            header: self.header.clone(),
            hosts: self.hosts.clone(),
            capture: self.capture.clone(),
            ..*self
        }
    }
}

impl<C> Clone for InjectTransactionIdLayer<C> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config) }
    }
}

impl<C: fmt::Debug> fmt::Debug for InjectTransactionIdLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectTransactionIdLayer")
            .field("header_name", self.config.header.name())
            .field("hosts", &self.config.hosts)
            .field("capture", &self.config.capture)
            .field("breadcrumbs", &self.config.breadcrumbs)
            .field("propagate_trace", &self.config.propagate_trace)
            .finish()
    }
}

impl<S, C> Layer<S> for InjectTransactionIdLayer<C> {
    type Service = InjectTransactionId<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        InjectTransactionId { inner, config: Arc::clone(&self.config) }
    }
}

/// The [`Service`] of [`InjectTransactionIdLayer`].
pub struct InjectTransactionId<S, C = ()> {
    inner: S,
    config: Arc<Config<C>>,
}

impl<S> InjectTransactionId<S> {
    /// Wraps `inner` as [`InjectTransactionIdLayer::new`] does.
    pub fn new(inner: S, hosts: AllowedHosts) -> Self {
        InjectTransactionIdLayer::new(hosts).layer(inner)
    }
}

impl<S, C> InjectTransactionId<S, C> {
    /// The client inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The client inside.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The client inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, C> Clone for InjectTransactionId<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), config: Arc::clone(&self.config) }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for InjectTransactionId<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectTransactionId").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, R, C> Service<R> for InjectTransactionId<S, C>
where
    S: Service<R>,
    R: OutboundRequest,
    S::Response: InboundResponse,
    C: CapturesErrors<S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = InjectResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let is_allowed = self.config.hosts.allows_target(request.host(), || request.port());
        let id = if is_allowed {
            self.config.inject(request.headers_mut())
        } else {
            self.config.withhold(request.headers_mut())
        };
        let scope = id.minted().map(|id| {
            let origin = Some(Origin::Minted(None));
            let header = Some(self.config.header.clone());
            TransactionIdScope::open(id.clone(), Opening { origin, header, ..Opening::default() })
        });
        let mut watched = None;
        let inner = InScope::start(scope, || {
            watched = self.config.watch(&id, &mut request, is_allowed);
            self.inner.call(request)
        });
        InjectResponseFuture { inner, watched, capture: PhantomData }
    }
}

/// The ID of an outbound request.
enum Id {
    None,
    Known(TransactionId),
    Minted(TransactionId),
}

impl Id {
    fn get(&self) -> Option<&TransactionId> {
        match self {
            Self::None => None,
            Self::Known(id) | Self::Minted(id) => Some(id),
        }
    }

    fn minted(&self) -> Option<&TransactionId> {
        match self {
            Self::Minted(id) => Some(id),
            Self::None | Self::Known(_) => None,
        }
    }
}

impl<C> Config<C> {
    /// Sees to it that a request to an allowed host has an ID.
    fn inject(&self, headers: &mut HeaderMap) -> Id {
        let mut is_minted = false;
        let id = self.header.get_or_set(headers, || {
            ambient_id().unwrap_or_else(|| {
                is_minted = true;
                TransactionId::mint()
            })
        });
        if is_minted { Id::Minted(id) } else { Id::Known(id) }
    }

    /// Takes the current ID off a request to a host that may not see it.
    fn withhold(&self, headers: &mut HeaderMap) -> Id {
        if !headers.contains_key(self.header.name()) {
            return TransactionId::current().map_or(Id::None, Id::Known);
        }
        let Some(current) = ambient_id() else { return Id::None };
        self.header.remove(headers, &current);
        Id::Known(current)
    }
}

impl<C: Capture> Config<C> {
    /// What is to be left in Sentry of this call, if anything.
    fn watch<R: OutboundRequest>(
        &self,
        id: &Id,
        request: &mut R,
        is_allowed: bool,
    ) -> Option<Box<OutboundCall>> {
        let in_scope_of_caller =
            || id.minted().is_none() && with_current(|scope| scope.hub().is_some()) == Some(true);
        let wanted = Wanted {
            breadcrumb: self.breadcrumbs && in_scope_of_caller(),
            rules: self.capture.rules(),
            span: self.propagate_trace,
            header: &self.header,
        };
        if !wanted.anything() {
            return None;
        }
        // An event belongs to whoever calls, even where the caller sends another ID.
        let current = TransactionId::current();
        let id = current.as_ref().or(id.get());
        let call = OutboundCall::new(id, request.method(), || request.url(), &wanted)?;
        if is_allowed {
            call.propagate_trace(request.headers_mut());
        }
        Some(call)
    }
}

pin_project! {
    /// The response future of [`InjectTransactionId`].
    pub struct InjectResponseFuture<F, C = ()> {
        // In a scope only where its ID was minted for this call.
        #[pin]
        inner: InScope<F>,
        watched: Option<Box<OutboundCall>>,
        capture: PhantomData<fn() -> C>,
    }
}

impl<F, C> fmt::Debug for InjectResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectResponseFuture")
            .field("scope", &self.inner.scope())
            .finish_non_exhaustive()
    }
}

impl<F, C, R, E> Future for InjectResponseFuture<F, C>
where
    F: Future<Output = Result<R, E>>,
    R: InboundResponse,
    C: CapturesErrors<E>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Poll::Ready(mut result) = this.inner.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        if let Some(watched) = this.watched.take() {
            match &result {
                Ok(response) => watched.responded(response.status(), response.headers()),
                Err(error) => watched.failed(C::as_error(error)),
            }
        }
        if let (Ok(response), Some(scope)) = (&mut result, this.inner.scope()) {
            response.extensions_mut().insert(scope.id().clone());
        }
        Poll::Ready(result)
    }
}
