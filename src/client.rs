//! The client layer: puts the ID on outbound requests to the hosts that may see it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::{Authority, Uri};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::scope::ambient_id;
use crate::server::set_header;
use crate::{AllowedHosts, InScope, TransactionId, TransactionIdScope, X_TRANSACTION_ID};

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
/// use tower_transaction_id::{AllowedHosts, InjectTransactionIdLayer, TransactionId, TransactionIdScope};
///
/// let hosts = AllowedHosts::only(["kitchen.internal"]);
/// let mut client = ServiceBuilder::new()
///     .layer(InjectTransactionIdLayer::new(hosts))
///     .service(reqwest::Client::new());
///
/// // In a handler the request's ID is current. A program that starts the work opens a scope
/// // around all of it, so that its own errors, redirects and retries share the ID too.
/// let scope = TransactionIdScope::new(TransactionId::mint());
/// scope.bind(async move {
///     let request = reqwest::Client::new().get("http://kitchen.internal/orders").build()?;
///     let response = client.ready().await?.call(request).await;
/// #   assert!(response.is_err());
/// #   Ok::<_, reqwest::Error>(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Which ID
///
/// The first of: a valid one that is already on the request, which is never overwritten; the
/// [current](TransactionId::current) one; the tag of the current hub; a new one. A new one means
/// that this call starts the work: it is made in a [`TransactionIdScope`] of its own, and the ID is
/// put into the extensions of the response.
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
/// [stops there](AllowedHosts::allows_url). tower-http's `FollowRedirect` **outside** this layer has
/// each hop decided anew.
pub struct InjectTransactionIdLayer {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    header_name: HeaderName,
    hosts: AllowedHosts,
}

impl InjectTransactionIdLayer {
    /// Header `x-transaction-id`, sent to `hosts`.
    #[must_use]
    pub fn new(hosts: AllowedHosts) -> Self {
        Self { config: Arc::new(Config { header_name: X_TRANSACTION_ID, hosts }) }
    }

    /// The header to set, in place of [`X_TRANSACTION_ID`].
    #[must_use]
    pub fn header_name(self, header_name: HeaderName) -> Self {
        let config = Config { header_name, ..Arc::unwrap_or_clone(self.config) };
        Self { config: Arc::new(config) }
    }
}

impl Clone for InjectTransactionIdLayer {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config) }
    }
}

impl fmt::Debug for InjectTransactionIdLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectTransactionIdLayer")
            .field("header_name", &self.config.header_name)
            .field("hosts", &self.config.hosts)
            .finish()
    }
}

impl<S> Layer<S> for InjectTransactionIdLayer {
    type Service = InjectTransactionId<S>;

    fn layer(&self, inner: S) -> Self::Service {
        InjectTransactionId { inner, config: Arc::clone(&self.config) }
    }
}

/// The [`Service`] of [`InjectTransactionIdLayer`].
#[derive(Clone)]
pub struct InjectTransactionId<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> InjectTransactionId<S> {
    /// Wraps `inner` as [`InjectTransactionIdLayer::new`] does.
    pub fn new(inner: S, hosts: AllowedHosts) -> Self {
        InjectTransactionIdLayer::new(hosts).layer(inner)
    }

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

impl<S: fmt::Debug> fmt::Debug for InjectTransactionId<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectTransactionId").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, R> Service<R> for InjectTransactionId<S>
where
    S: Service<R>,
    R: OutboundRequest,
    S::Response: InboundResponse,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let minted = self.config.inject(&mut request);
        let scope = minted.clone().map(TransactionIdScope::new);
        ResponseFuture { inner: InScope::start(scope, || self.inner.call(request)), minted }
    }
}

impl Config {
    /// Sets or removes the header of `request`. Returns the ID where one had to be minted.
    fn inject<R: OutboundRequest>(&self, request: &mut R) -> Option<TransactionId> {
        if !self.hosts.allows_target(request.target()) {
            self.withhold(request.headers_mut());
            return None;
        }
        let lines = request.headers().get_all(&self.header_name);
        if let Some(Ok(_)) = TransactionId::from_lines(lines) {
            return None;
        }
        let ambient = ambient_id();
        let minted = ambient.is_none().then(TransactionId::mint);
        if let Some(id) = ambient.as_ref().or(minted.as_ref()) {
            set_header(request.headers_mut(), self.header_name.clone(), id);
        }
        minted
    }

    /// Takes the current ID off a request to a host that may not see it.
    fn withhold(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(&self.header_name) {
            return;
        }
        let Some(current) = ambient_id() else { return };
        let is_ours = |line: &HeaderValue| line == current.header_value();
        let lines = headers.get_all(&self.header_name);
        if lines.iter().any(is_ours) {
            let others: Vec<_> = lines.iter().filter(|line| !is_ours(line)).cloned().collect();
            headers.remove(&self.header_name);
            for line in others {
                headers.append(&self.header_name, line);
            }
        }
    }
}

pin_project! {
    /// The response future of [`InjectTransactionId`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: InScope<F>,
        minted: Option<TransactionId>,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<R, E>>,
    R: InboundResponse,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Poll::Ready(mut result) = this.inner.poll(cx) else {
            return Poll::Pending;
        };
        if let (Ok(response), Some(id)) = (&mut result, this.minted.take()) {
            response.extensions_mut().insert(id);
        }
        Poll::Ready(result)
    }
}

/// A request that [`InjectTransactionId`] can send: `http::Request<B>` and, with the feature
/// `reqwest`, `reqwest::Request`.
///
/// Sealed: it is a list of types, not something to implement.
#[diagnostic::on_unimplemented(
    message = "`InjectTransactionId` cannot send a `{Self}`",
    note = "it sends `http::Request<B>` and, with the feature `reqwest`, `reqwest::Request`"
)]
pub trait OutboundRequest: sealed::Outbound {}

/// A response that [`InjectTransactionId`] can bring back: `http::Response<B>` and, with the
/// feature `reqwest`, `reqwest::Response`.
///
/// Sealed: it is a list of types, not something to implement.
#[diagnostic::on_unimplemented(
    message = "`InjectTransactionId` cannot bring back a `{Self}`",
    note = "it brings back `http::Response<B>` and, with the feature `reqwest`, `reqwest::Response`"
)]
pub trait InboundResponse: sealed::Inbound {}

impl<T: sealed::Outbound> OutboundRequest for T {}
impl<T: sealed::Inbound> InboundResponse for T {}

mod sealed {
    use super::{Extensions, HeaderMap};

    #[allow(unreachable_pub)] // public in name only, so that nobody else can implement it
    pub trait Outbound {
        fn headers(&self) -> &HeaderMap;
        fn headers_mut(&mut self) -> &mut HeaderMap;
        /// Host and port that the request goes to, where they are known.
        fn target(&self) -> Option<(&str, Option<u16>)>;
    }

    #[allow(unreachable_pub)]
    pub trait Inbound {
        fn extensions_mut(&mut self) -> &mut Extensions;
    }
}

impl<B> sealed::Outbound for http::Request<B> {
    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn target(&self) -> Option<(&str, Option<u16>)> {
        match self.uri().host() {
            Some(host) => Some((host, port(self.uri()))),
            None => host_header(self.headers()),
        }
    }
}

impl<B> sealed::Inbound for http::Response<B> {
    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }
}

/// The port, or the one that the scheme stands for.
fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().or_else(|| match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    })
}

/// What the one `Host` line says; several lines, or one with more than a host and a port, say
/// nothing.
fn host_header(headers: &HeaderMap) -> Option<(&str, Option<u16>)> {
    let mut lines = headers.get_all(header::HOST).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?.to_str().ok()?;
    let authority: Authority = line.parse().ok()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let port = authority.port_u16();
    // Without a user, the host is what the authority starts with.
    line.get(..authority.host().len()).map(|host| (host, port))
}

#[cfg(feature = "reqwest")]
impl sealed::Outbound for reqwest::Request {
    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn target(&self) -> Option<(&str, Option<u16>)> {
        let url = self.url();
        url.host_str().map(|host| (host, url.port_or_known_default()))
    }
}

#[cfg(feature = "reqwest")]
impl sealed::Inbound for reqwest::Response {
    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }
}
