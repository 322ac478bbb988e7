//! What the events of both layers have in common.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, StatusCode};
use sentry::protocol::{Event, Exception, Level, ResponseContext};

use crate::TransactionId;

/// The tag of another valid ID that a response brought back.
pub(crate) const PEER_TAG: &str = "peer_transaction_id";

/// The mechanism of the client layer's events, named as Sentry's own HTTP clients name theirs.
pub(crate) const CLIENT_MECHANISM: &str = "auto.http.client.tower";

/// Whether `event`, seen in a request, stands for its failure: an error or worse, unless it only
/// reports that a call to another service failed, which the request may have survived.
pub(crate) fn hides_a_failure(event: &Event<'_>) -> bool {
    let is_of_a_client = |exception: &Exception| {
        exception.mechanism.as_ref().is_some_and(|mechanism| mechanism.ty == CLIENT_MECHANISM)
    };
    event.level >= Level::Error && !event.exception.iter().any(is_of_a_client)
}

/// A valid ID under `name` that differs from `ours`.
pub(crate) fn peer_id(
    headers: &HeaderMap,
    name: &HeaderName,
    ours: Option<&TransactionId>,
) -> Option<TransactionId> {
    let peer = TransactionId::from_lines(headers.get_all(name))?.ok()?;
    (Some(&peer) != ours).then_some(peer)
}

/// What Sentry groups by, in place of texts that hold IDs.
pub(crate) fn fingerprint(parts: [String; 3]) -> Cow<'static, [Cow<'static, str>]> {
    Cow::Owned(parts.map(Cow::Owned).into())
}

pub(crate) fn response_context(status: StatusCode) -> ResponseContext {
    ResponseContext { status_code: Some(status.as_u16().into()), ..ResponseContext::default() }
}
