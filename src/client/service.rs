//! [`InjectTransactionId`], its future, and the path of a request through both.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::TransactionId;
use crate::client::call::{OutboundCall, Recording};
use crate::client::hosts::AllowedHosts;
use crate::client::message::{ClientRequest, ClientResponse};
use crate::failures::{Failures, OpaqueErrors, ReadErrors};
use crate::header::IdHeader;
use crate::scope::in_scope::InScope;
use crate::scope::record::Origin;
use crate::scope::{Opening, TransactionIdScope, ambient_id};
use crate::telemetry::trace::OutboundTrace;

/// The settings of the client layer.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) header: IdHeader,
    pub(crate) hosts: AllowedHosts,
    pub(crate) failures: Option<Failures>,
    pub(crate) breadcrumbs: bool,
    pub(crate) propagate_trace: bool,
    /// Further headers that only allowed hosts may see.
    pub(crate) protected: Arc<[HeaderName]>,
}

/// Sends requests for [`InjectTransactionIdLayer`](crate::InjectTransactionIdLayer), whose `Service` it is.
///
/// With the feature `reqwest`, `execute` sends a request through a `reqwest::Client`.
pub struct InjectTransactionId<S, R = OpaqueErrors> {
    inner: S,
    config: Arc<Config>,
    errors: R,
}

impl<S> InjectTransactionId<S> {
    /// Wraps `inner` as [`InjectTransactionIdLayer::new`](crate::InjectTransactionIdLayer::new) does.
    pub fn new(inner: S, hosts: AllowedHosts) -> Self {
        Self::with(inner, Arc::new(Config::new(hosts)), OpaqueErrors::new())
    }
}

impl<S, R> InjectTransactionId<S, R> {
    pub(crate) fn with(inner: S, config: Arc<Config>, errors: R) -> Self {
        Self { inner, config, errors }
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn parts(&self) -> (&S, &Config, R)
    where
        R: Copy,
    {
        (&self.inner, &self.config, self.errors)
    }

    /// Returns a reference to the client inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the client inside.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the client inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, R: Clone> Clone for InjectTransactionId<S, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            config: Arc::clone(&self.config),
            errors: self.errors.clone(),
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for InjectTransactionId<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectTransactionId").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, Req, R> Service<Req> for InjectTransactionId<S, R>
where
    S: Service<Req>,
    Req: ClientRequest,
    S::Response: ClientResponse,
    R: ReadErrors<S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = InjectResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.config.call(self.errors, request, |request| self.inner.call(request))
    }
}

impl Config {
    pub(crate) fn new(hosts: AllowedHosts) -> Self {
        Self {
            header: IdHeader::default(),
            hosts,
            failures: None,
            breadcrumbs: true,
            propagate_trace: false,
            protected: Arc::default(),
        }
    }

    /// Adds the ID to `request` or takes it off, and then sends the request by `call`.
    // The request is large, and each call that is not inlined moves the request.
    #[inline]
    pub(crate) fn call<Req: ClientRequest, F, R>(
        &self,
        errors: R,
        mut request: Req,
        call: impl FnOnce(Req) -> F,
    ) -> InjectResponseFuture<F, R> {
        let is_allowed = self.hosts.allows_target(request.host(), || request.port());
        let (id, is_generated) = if is_allowed {
            self.inject(request.headers_mut())
        } else {
            (self.withhold(request.headers_mut()), false)
        };
        let scope = id.as_ref().filter(|_| is_generated).map(|id| {
            let opening = Opening {
                origin: Some(Origin::Generated(None)),
                header: Some(&self.header),
                ..Opening::default()
            };
            TransactionIdScope::open(id.clone(), &opening, || false)
        });
        let mut record = None;
        let inner = InScope::start(scope, || {
            record = self.start_call(id.as_ref(), is_generated, &mut request, is_allowed);
            call(request)
        });
        InjectResponseFuture { inner, call: record, errors }
    }

    /// Sets an ID on a request to an allowed host. Returns the ID, and whether it was generated.
    fn inject(&self, headers: &mut HeaderMap) -> (Option<TransactionId>, bool) {
        let mut is_generated = false;
        let id = self.header.get_or_set(headers, || {
            ambient_id().unwrap_or_else(|| {
                is_generated = true;
                let id = TransactionId::generate();
                #[cfg(feature = "tracing")]
                tracing::debug!(transaction_id = %id, "no current transaction ID, so the call has its own");
                id
            })
        });
        (Some(id), is_generated)
    }

    /// Removes the protected headers and the current ID from a request to a host that is not allowed.
    /// Returns the current ID.
    fn withhold(&self, headers: &mut HeaderMap) -> Option<TransactionId> {
        for name in &*self.protected {
            headers.remove(name);
        }
        if !headers.contains_key(self.header.name()) {
            return TransactionId::current();
        }
        let current = ambient_id()?;
        self.header.remove(headers, &current);
        Some(current)
    }

    /// Starts the record of a call, if a setting asks for it. Sets the headers of the trace.
    fn start_call<Req: ClientRequest>(
        &self,
        id: Option<&TransactionId>,
        is_generated: bool,
        request: &mut Req,
        is_allowed: bool,
    ) -> Option<Box<OutboundCall>> {
        // The scope of a generated ID ends with the call.
        let breadcrumb = self.breadcrumbs && !is_generated;
        if !breadcrumb && self.failures.is_none() && !self.propagate_trace {
            return None;
        }
        let recording = Recording {
            breadcrumb,
            failures: self.failures.as_ref(),
            span: self.propagate_trace,
            header: &self.header,
        };
        // An event belongs to the caller's work, even where the caller sends another ID.
        let current = self.failures.is_some().then(TransactionId::current).flatten();
        let id = current.as_ref().or(id);
        let call = OutboundCall::start(id, request.method(), || request.target(), &recording);
        if is_allowed
            && self.propagate_trace
            && let Some(trace) =
                OutboundTrace::of(call.as_ref().and_then(|call| call.span()).as_ref())
        {
            trace.set(request.headers_mut());
        }
        call
    }
}

pin_project! {
    /// Resolves to the response of [`InjectTransactionId`].
    pub struct InjectResponseFuture<F, R = OpaqueErrors> {
        // The future is in a scope only if the layer generated the ID for this call.
        #[pin]
        inner: InScope<F>,
        call: Option<Box<OutboundCall>>,
        errors: R,
    }
}

impl<F, R> fmt::Debug for InjectResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectResponseFuture").field("id", &self.inner.id()).finish_non_exhaustive()
    }
}

impl<F, Res, E, R> Future for InjectResponseFuture<F, R>
where
    F: Future<Output = Result<Res, E>>,
    Res: ClientResponse,
    R: ReadErrors<E>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Poll::Ready(mut result) = this.inner.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        if let Some(mut call) = this.call.take() {
            match &result {
                Ok(response) => call.responded(response.status(), response.headers()),
                Err(error) => call.failed::<E>(this.errors.read(error)),
            }
        }
        if let (Ok(response), Some(id)) = (&mut result, this.inner.id()) {
            response.extensions_mut().insert(id.clone());
        }
        Poll::Ready(result)
    }
}
