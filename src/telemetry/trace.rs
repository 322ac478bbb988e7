//! The trace of a request or a job, where no span is active.
//!
//! The rules are those of Sentry's specification of trace propagation, "tracing without performance":
//! <https://develop.sentry.dev/sdk/foundations/trace-propagation/>.

use std::fmt::Write;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use sentry::protocol::{Context, Event, OrganizationId, SpanId, TraceContext, TraceId};
use sentry::{Client, ClientOptions, Hub, TracePropagationContext, TransactionOrSpan};

use crate::header::{BAGGAGE, SENTRY_TRACE};
use crate::scope::alive::hub_is_alive;
use crate::scope::current::current_slot;
use crate::scope::hub::fallback_trace;
use crate::scope::pool::{Slot, Work};
use crate::scope::record::{IncomingTrace, Trace};

const TRACE: &str = "trace";

impl Work {
    /// Returns the trace of the work: the trace of a trusted caller, if `client` continues it, or a new
    /// trace.
    pub(crate) fn trace(&self, client: Option<&Client>) -> Trace {
        **self.record.trace.get_or_init(|| {
            let incoming = self.record.incoming_trace.as_deref();
            let continued = incoming.zip(client).and_then(|(trace, client)| trace.next(client));
            Box::new(continued.unwrap_or_else(|| Trace {
                trace_id: TraceId::default(),
                span_id: SpanId::default(),
                parent_span_id: None,
            }))
        })
    }

    /// Puts an event that is in a fallback trace into the trace of the work. An event with a trace of its
    /// own stays as it is.
    pub(crate) fn complete_trace(&self, event: &mut Event<'static>) {
        if let Some(Context::Trace(trace)) = event.contexts.get(TRACE)
            && self.is_fallback(trace.trace_id)
        {
            let Trace { trace_id, span_id, parent_span_id } = self.trace(self.client().as_deref());
            let trace =
                TraceContext { trace_id, span_id, parent_span_id, ..TraceContext::default() };
            event.contexts.insert(TRACE.to_owned(), trace.into());
        }
    }

    /// Returns the trace of the work, for a log line or a metric, if `trace_id` is a fallback trace.
    pub(crate) fn replace_fallback(&self, trace_id: TraceId) -> Option<TraceId> {
        self.is_fallback(trace_id).then(|| self.trace(self.client().as_deref()).trace_id)
    }

    /// Whether `trace_id` is a fallback trace: the trace of everything that has no trace of its own on the
    /// hub of the scope or on the main hub of the process.
    fn is_fallback(&self, trace_id: TraceId) -> bool {
        let Some(hub) = &self.hub else { return false };
        if self.options.fallback_trace == Some(trace_id) {
            return true;
        }
        let fallbacks = self.record.fallback_traces.get_or_init(|| {
            let ours = self.options.fallback_trace.or_else(|| fallback_trace(hub));
            Box::new([ours, fallback_trace(&Hub::main())])
        });
        fallbacks.contains(&Some(trace_id))
    }

    fn client(&self) -> Option<Arc<Client>> {
        self.hub.as_ref()?.client()
    }

    /// Returns the members of `baggage` that describe the trace with `trace_id`. A caller's members are
    /// passed on unchanged. If the trace is a caller's and the caller sent no members, none are added.
    fn baggage(&self, trace_id: TraceId, client: &Client) -> Option<String> {
        if let Some(incoming) = self.record.incoming_trace.as_deref()
            && incoming.next(client).is_some_and(|trace| trace.trace_id == trace_id)
        {
            return incoming.sentry_members();
        }
        Some(own_members(trace_id, client))
    }
}

/// The headers that continue the trace at the other end of a call.
pub(crate) struct OutboundTrace {
    sentry_trace: String,
    baggage: Option<String>,
}

impl OutboundTrace {
    /// Returns the trace of `span` or, without a span, the trace of the current scope, without a sampling
    /// decision. Returns `None` without a span and a scope, since the trace of the process would tie
    /// strangers together, and without a client.
    pub(crate) fn of(span: Option<&TransactionOrSpan>) -> Option<Self> {
        let slot = current_slot();
        let work = slot.as_deref().map(Slot::work);
        let hub = work.and_then(|work| work.hub.clone()).or_else(current_hub)?;
        let client = hub.client()?;
        let (sentry_trace, trace_id) = if let Some(span) = span {
            let (_, sentry_trace) = span.iter_headers().next()?;
            let trace_id = sentry_trace.split('-').next()?.parse().ok()?;
            (sentry_trace, trace_id)
        } else {
            let Trace { trace_id, span_id, .. } = work?.trace(Some(&client));
            (TracePropagationContext::new(trace_id, span_id).sentry_trace_header(), trace_id)
        };
        let baggage = match work {
            Some(work) => work.baggage(trace_id, &client),
            None => Some(own_members(trace_id, &client)),
        };
        Some(Self { sentry_trace, baggage })
    }

    /// Returns the headers as pairs.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let baggage = self.baggage.as_deref().map(|members| (BAGGAGE.as_str(), members));
        std::iter::once((SENTRY_TRACE.as_str(), self.sentry_trace.as_str())).chain(baggage)
    }

    /// Returns the members of the trace after those of `baggage` that are not Sentry's.
    pub(crate) fn members_with<'a>(
        &'a self,
        baggage: impl Iterator<Item = &'a str>,
    ) -> Option<String> {
        let foreign = baggage.flat_map(|line| line.split(',')).map(str::trim);
        let foreign = foreign.filter(|member| !member.is_empty() && !is_sentrys(member));
        let members: Vec<_> = foreign.chain(self.baggage.as_deref()).collect();
        (!members.is_empty()).then(|| members.join(","))
    }

    /// Sets the headers in place of those that are there. Members of `baggage` that are not Sentry's stay.
    pub(crate) fn replace(&self, headers: &mut HeaderMap) {
        if let Ok(value) = self.sentry_trace.as_str().try_into() {
            let _ = headers.try_insert(&SENTRY_TRACE, value);
        }
        let lines = headers.get_all(&BAGGAGE).iter().filter_map(|line| line.to_str().ok());
        let members = self.members_with(lines);
        headers.remove(&BAGGAGE);
        if let Some(Ok(value)) = members.map(HeaderValue::try_from) {
            let _ = headers.try_insert(&BAGGAGE, value);
        }
    }

    /// Adds the headers, unless the request has a `sentry-trace` or a `traceparent`. Members of `baggage`
    /// that the request has stay. If one of them is Sentry's, no member is added.
    pub(crate) fn set(&self, headers: &mut HeaderMap) {
        if headers.contains_key(&SENTRY_TRACE) || headers.contains_key("traceparent") {
            return;
        }
        if let Ok(value) = self.sentry_trace.as_str().try_into() {
            let _ = headers.try_insert(&SENTRY_TRACE, value);
        }
        let is_described = headers
            .get_all(&BAGGAGE)
            .iter()
            .any(|line| line.to_str().is_ok_and(|line| line.split(',').any(is_sentrys)));
        if !is_described && let Some(Ok(value)) = self.baggage.as_deref().map(HeaderValue::try_from)
        {
            let _ = headers.try_append(&BAGGAGE, value);
        }
    }
}

fn current_hub() -> Option<Arc<Hub>> {
    hub_is_alive().then(Hub::current)
}

impl IncomingTrace {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let lines = |name: &HeaderName| headers.get_all(name).iter().cloned().collect();
        Self { sentry_trace: lines(&SENTRY_TRACE), baggage: lines(&BAGGAGE) }
    }

    /// Returns the lines of the headers for Sentry's SDK, without the malformed lines of `sentry-trace`
    /// that the SDK would accept.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let sentry_trace = self.sentry_trace.iter().filter_map(|line| line.to_str().ok());
        let sentry_trace = sentry_trace.filter(|line| !names_nothing(line));
        let baggage = self.baggage.iter().filter_map(|line| line.to_str().ok());
        let sentry_trace = sentry_trace.map(|line| (SENTRY_TRACE.as_str(), line));
        sentry_trace.chain(baggage.map(|line| (BAGGAGE.as_str(), line)))
    }

    /// Returns the next step of the trace, if `client` continues the trace. The last valid line of
    /// `sentry-trace` counts, as in Sentry's SDK.
    fn next(&self, client: &Client) -> Option<Trace> {
        if !self.may_be_continued(client.options()) {
            return None;
        }
        let context = TracePropagationContext::try_from_headers(self.pairs()).ok()?;
        // The SDK shows the parts of a trace only as this text.
        let header = context.sentry_trace_header();
        let mut ids = header.split('-');
        Some(Trace {
            trace_id: ids.next()?.parse().ok()?,
            parent_span_id: Some(ids.next()?.parse().ok()?),
            span_id: SpanId::default(),
        })
    }

    /// Returns Sentry's members of the baggage, byte for byte. The members of other vendors are not ours
    /// to send. A malformed member counts as absent. If the members together are longer than
    /// [`MAX_BAGGAGE`], all of them count as absent.
    fn sentry_members(&self) -> Option<String> {
        let members = self.members().map(str::trim);
        let members: Vec<&str> =
            members.filter(|member| is_sentrys(member) && is_well_formed(member)).collect();
        let members = members.join(",");
        (1..=MAX_BAGGAGE).contains(&members.len()).then_some(members)
    }

    fn members(&self) -> impl Iterator<Item = &str> {
        let lines = self.baggage.iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(','))
    }

    /// Whether the SDK would continue the trace, by [`ClientOptions::strict_trace_continuation`]. The SDK
    /// decides only when it starts a transaction, and a transaction that is started just for the decision
    /// would call the user's `traces_sampler`.
    fn may_be_continued(&self, options: &ClientOptions) -> bool {
        let entries = self.members().filter_map(|member| member.split_once('='));
        let named = entries.filter(|(key, _)| key.trim() == "sentry-org_id");
        // An entry's properties follow a semicolon.
        let values = named.filter_map(|(_, value)| value.split(';').next());
        let theirs = values.filter_map(|value| value.trim().parse::<OrganizationId>().ok()).last();
        match (theirs, organization(options)) {
            (Some(theirs), Some(ours)) => theirs == ours,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => !options.strict_trace_continuation,
        }
    }
}

/// Whether the trace ID or the span ID of a `sentry-trace` consists of zeros only. The SDK continues such
/// a trace, and Sentry replaces the ID.
fn names_nothing(sentry_trace: &str) -> bool {
    let is_nil = |id: &str| id.bytes().all(|digit| digit == b'0');
    sentry_trace.trim().split('-').take(2).any(is_nil)
}

/// The length in bytes of the longest baggage that every service has to pass on
/// ([W3C Baggage, limits](https://www.w3.org/TR/baggage/#limits)).
pub(crate) const MAX_BAGGAGE: usize = 8192;

/// Whether a member of a baggage has a key and a value of the
/// [bytes that the W3C allows](https://www.w3.org/TR/baggage/#definition).
fn is_well_formed(member: &str) -> bool {
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_value = |byte: u8| byte.is_ascii_graphic() && !b"\",\\".contains(&byte);
    member.split_once('=').is_some_and(|(key, value)| {
        let (key, value) = (key.trim_end(), value.trim_start());
        // Properties may have spaces around their semicolons.
        let value_is_valid =
            value.bytes().all(|byte| is_value(byte) || matches!(byte, b' ' | b'\t'));
        key != "sentry-" && key.bytes().all(is_key) && value_is_valid
    })
}

/// Whether a member of a baggage is Sentry's.
fn is_sentrys(member: &str) -> bool {
    member.trim_start().starts_with("sentry-")
}

fn organization(options: &ClientOptions) -> Option<OrganizationId> {
    options.org_id.or_else(|| options.dsn.as_ref()?.org_id())
}

/// The members that describe a trace that starts here.
fn own_members(trace_id: TraceId, client: &Client) -> String {
    let options = client.options();
    let mut members = format!("sentry-trace_id={trace_id}");
    let mut add = |key: &str, value: &str| {
        let _ = write!(members, ",sentry-{key}={}", PercentEncoded(value));
    };
    if let Some(dsn) = &options.dsn {
        add("public_key", dsn.public_key());
    }
    if let Some(release) = &options.release {
        add("release", release);
    }
    if let Some(environment) = &options.environment {
        add("environment", environment);
    }
    if let Some(organization) = organization(options) {
        add("org_id", &organization.to_string());
    }
    members
}

/// A value in the encoding of the [W3C's baggage](https://www.w3.org/TR/baggage/#value).
struct PercentEncoded<'a>(&'a str);

impl std::fmt::Display for PercentEncoded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    f.write_char(char::from(byte))?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}
