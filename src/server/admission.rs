//! Decides on the ID of a request, and opens its scope.

use std::sync::Arc;

use http::Request;

use crate::decision::Decision;
use crate::failures::Failures;
use crate::header::{IdHeader, Reading};
use crate::scope::current::with_current;
use crate::scope::hub::BaseHub;
use crate::scope::record::{IncomingTrace, Origin, RequestRecord};
use crate::scope::{Opening, TransactionIdScope};
use crate::server::generator::Generator;
#[cfg(feature = "tracing")]
use crate::server::notices::Notices;
#[cfg(feature = "tracing")]
use crate::server::request::RequestHead;
use crate::server::request::has_trace;
use crate::server::trust::Trust;
use crate::{InvalidTransactionId, TransactionId};

/// The settings of the server layer.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) header: IdHeader,
    pub(crate) trust: Trust,
    pub(crate) base: Option<Arc<BaseHub>>,
    pub(crate) failures: Option<Failures>,
    pub(crate) records_request: bool,
    /// Whether the layer measures each request as a performance transaction.
    pub(crate) measures: bool,
    /// Whether the response has the ID in `Server-Timing`, too.
    pub(crate) shows_to_scripts: bool,
    #[cfg(feature = "tracing")]
    pub(crate) make_span: Option<Arc<MakeSpan>>,
    #[cfg(feature = "tracing")]
    pub(crate) notices: Arc<Notices>,
}

#[cfg(feature = "tracing")]
pub(crate) type MakeSpan = dyn Fn(RequestHead<'_>, &TransactionId) -> tracing::Span + Send + Sync;

impl Default for Config {
    fn default() -> Self {
        Self {
            header: IdHeader::default(),
            trust: Trust::always(),
            base: None,
            failures: None,
            records_request: true,
            measures: false,
            shows_to_scripts: false,
            #[cfg(feature = "tracing")]
            make_span: None,
            #[cfg(feature = "tracing")]
            notices: Arc::default(),
        }
    }
}

/// The decision on the ID of a request.
#[derive(Default)]
pub(crate) struct Admission {
    /// The scope that the layer opened for the request.
    pub(crate) scope: Option<TransactionIdScope>,
    /// The ID of an outer layer's scope, if the request is in that scope already. A box keeps the future
    /// small, since the future moves often and such an ID is rare.
    pub(crate) kept: Option<Box<TransactionId>>,
    /// The reason why the value of the request's header is not a valid ID.
    pub(crate) refused: Option<InvalidTransactionId>,
}

impl Config {
    /// Decides on the ID of `request` and sets the ID as the only line of the header. Opens a scope for
    /// the request, unless an outer layer has opened a scope of the same ID and header.
    pub(crate) fn admit<B>(
        &self,
        request: &mut Request<B>,
        generator: &mut Generator,
    ) -> Admission {
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
        let decision = Decision::on(incoming, trusts_caller, || generator.make(request));
        if !is_one_line || matches!(decision.origin, Origin::Generated(_)) {
            self.header.set(request.headers_mut(), &decision.id);
        }
        let refused = decision.refused();
        let scope = self.open(decision, request, trusts_caller);
        Admission { scope: Some(scope), kept: None, refused }
    }

    /// Opens the scope of `request`. Records the request if an event or a trace may need the record.
    fn open<B>(
        &self,
        decision: Decision,
        request: &Request<B>,
        trusts_caller: bool,
    ) -> TransactionIdScope {
        let Decision { id, origin, upstream } = decision;
        let shows = self.records_request || self.measures || self.failures.is_some();
        // The events and calls of the request belong to the caller's trace.
        let brings_trace = || trusts_caller && has_trace(request.headers());
        // `open` asks only if it forks the current hub.
        let mut continues_trace = None;
        let completes_events = || shows || *continues_trace.insert(brings_trace());
        let opening = Opening {
            base: self.base.as_deref(),
            origin: Some(origin),
            header: Some(&self.header),
            upstream: upstream.as_ref(),
        };
        let mut scope = TransactionIdScope::open(id, &opening, completes_events);
        if scope.hub().is_some() {
            let options = scope.work().options;
            let record = &mut scope.work_mut().record;
            let continues_trace = if shows {
                let place = &mut record.request;
                RequestRecord::fill(place, request, options, self.records_request) && trusts_caller
            } else {
                continues_trace.unwrap_or_else(brings_trace)
            };
            if continues_trace {
                record.incoming_trace = Some(Box::new(IncomingTrace::of(request.headers())));
            }
            if self.measures {
                scope.start_performance();
            }
        }
        #[cfg(feature = "tracing")]
        self.notices.look_at(&scope);
        #[cfg(feature = "tracing")]
        if let Some(make_span) = &self.make_span {
            scope.make_span(|id| make_span(RequestHead::of(request), id));
        }
        scope
    }

    /// Returns the look that the request of `scope` needs. For most requests, the look does nothing.
    #[cfg_attr(not(feature = "tracing"), allow(clippy::unused_self))]
    pub(crate) fn look_around(&self, scope: Option<&TransactionIdScope>) -> LookAround {
        #[cfg(feature = "tracing")]
        if let Some(scope) = scope
            && self.base.is_some()
            && scope.work().options.traces
            && self.notices.is_looking()
        {
            return LookAround { notices: Some(Arc::clone(&self.notices)) };
        }
        #[cfg(not(feature = "tracing"))]
        let _ = scope;
        LookAround::default()
    }
}

/// Looks for another Sentry layer around this one, at the first poll of a request.
#[derive(Default)]
pub(crate) struct LookAround {
    // `None` when the layer no longer looks, which is after its first few requests.
    #[cfg(feature = "tracing")]
    notices: Option<Arc<Notices>>,
}

#[cfg_attr(not(feature = "tracing"), allow(clippy::unused_self))]
impl LookAround {
    #[inline]
    pub(crate) fn once(&mut self) {
        #[cfg(feature = "tracing")]
        if let Some(notices) = self.notices.take() {
            notices.look_around();
        }
    }
}
