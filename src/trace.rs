//! The trace that an inbound request says it is part of.

use http::{HeaderValue, Request};
use sentry::protocol::{OrganizationId, TraceContext};
use sentry::{Client, ClientOptions};

/// What a request has in `sentry-trace` and, of the organisation that it comes from, in `baggage`.
pub(crate) struct IncomingTrace {
    sentry_trace: HeaderValue,
    baggage: Vec<HeaderValue>,
}

impl IncomingTrace {
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        let headers = request.headers();
        let sentry_trace = headers.get("sentry-trace")?.clone();
        Some(Self { sentry_trace, baggage: headers.get_all("baggage").iter().cloned().collect() })
    }

    #[cfg(feature = "tower-http")]
    pub(crate) fn header(&self) -> Option<&str> {
        self.sentry_trace.to_str().ok()
    }

    /// What is next in it, if it is one and `client` continues it.
    pub(crate) fn continued_by(&self, client: &Client) -> Option<TraceContext> {
        if !self.may_be_continued(client.options()) {
            return None;
        }
        let mut ids = self.sentry_trace.to_str().ok()?.trim().split('-');
        Some(TraceContext {
            trace_id: ids.next()?.parse().ok()?,
            parent_span_id: Some(ids.next()?.parse().ok()?),
            op: Some("http.server".to_owned()),
            ..TraceContext::default()
        })
    }

    /// As the SDK decides, by [`ClientOptions::strict_trace_continuation`], where it starts a
    /// transaction. To start one only to hear its answer would call the user's `traces_sampler`.
    fn may_be_continued(&self, options: &ClientOptions) -> bool {
        let entries = self.baggage.iter().filter_map(|line| line.to_str().ok());
        let entries = entries.flat_map(|line| line.split(',')).filter_map(|e| e.split_once('='));
        let named = entries.filter(|(key, _)| key.trim() == "sentry-org_id");
        // What follows a semicolon are an entry's properties.
        let values = named.filter_map(|(_, value)| value.split(';').next());
        let theirs = values.filter_map(|value| value.trim().parse::<OrganizationId>().ok()).last();
        match (theirs, options.org_id.or_else(|| options.dsn.as_ref()?.org_id())) {
            (Some(theirs), Some(ours)) => theirs == ours,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => !options.strict_trace_continuation,
        }
    }
}
