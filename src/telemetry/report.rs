//! The parts that the events of both layers have in common.

use std::borrow::Cow;
use std::error::Error;
use std::panic::RefUnwindSafe;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use sentry::Hub;
use sentry::protocol::{Event, Exception, Level, Mechanism, ResponseContext};

use crate::TransactionId;
use crate::header::IdHeader;
use crate::telemetry::urls::scrub;

/// The tag for another valid ID in a response.
pub(crate) const PEER_TAG: &str = "peer_transaction_id";

/// The mechanism of the events of the client layer, named as Sentry names its own mechanisms.
pub(crate) const CLIENT_MECHANISM: &str = "auto.http.client.tower";

/// Whether `event`, captured in a request, stands for the failure of the request. An event of level
/// error or fatal does, unless the event reports a failed call: the request may have survived the call.
pub(crate) fn hides_a_failure(event: &Event<'_>) -> bool {
    let is_of_a_client = |exception: &Exception| {
        exception.mechanism.as_ref().is_some_and(|mechanism| mechanism.ty == CLIENT_MECHANISM)
    };
    event.level >= Level::Error && !event.exception.iter().any(is_of_a_client)
}

/// Returns the event of `error` and its sources, without the secrets in the URLs that they quote, and
/// the type of the root error, which distinguishes one kind of trouble from another.
pub(crate) fn event_from(error: &(dyn Error + 'static)) -> (Event<'static>, String) {
    let mut event = sentry::event_from_error(error);
    for exception in &mut event.exception {
        exception.ty = scrub(&exception.ty);
        exception.value = exception.value.as_deref().map(scrub);
    }
    let root = event.exception.first().map(|root| root.ty.clone());
    (event, root.unwrap_or_default())
}

/// Returns the event of an error whose type, `E`, cannot be read, and the name of the type.
pub(crate) fn opaque_error<E>() -> (Event<'static>, String) {
    let ty = std::any::type_name::<E>().to_owned();
    let exception = Exception { ty: ty.clone(), ..Exception::default() };
    let exception = vec![exception].into();
    (Event { exception, ..Event::default() }, ty)
}

/// Returns the ID in the headers of a response, if it is valid and differs from `ours`.
pub(crate) fn peer_id(
    headers: &HeaderMap,
    header: &IdHeader,
    ours: Option<&TransactionId>,
) -> Option<TransactionId> {
    header.read(headers).id?.ok().filter(|peer| Some(peer) != ours)
}

/// Sets the mechanism of the last exception of `event`, if there is one. The error counts as handled:
/// the caller has the error, and Sentry must not count a crash of the release.
pub(crate) fn set_mechanism(event: &mut Event<'_>, ty: &str) {
    if let Some(exception) = event.exception.values.last_mut() {
        let handled = Some(true);
        exception.mechanism =
            Some(Mechanism { ty: ty.to_owned(), handled, ..Mechanism::default() });
    }
}

/// Returns the name of a method for span names and fingerprints. A caller can invent methods, so all
/// unknown methods have one name, as in OpenTelemetry's conventions for HTTP (`http.request.method`).
pub(crate) fn known_method(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE"
        | "PATCH" | "QUERY") => known,
        _ => "_OTHER",
    }
}

/// The texts by which Sentry groups events, in place of texts that hold IDs.
pub(crate) type Fingerprint = Cow<'static, [Cow<'static, str>]>;

pub(crate) fn fingerprint(parts: [String; 3]) -> Fingerprint {
    Cow::Owned(parts.map(Cow::Owned).into())
}

/// Captures `event`, whose level is error by default, on a fork of `hub`. The scope of the hub is applied
/// before `complete` runs, so that `complete` sees the values that the user has set.
pub(crate) fn capture(
    hub: &Arc<Hub>,
    mut event: Event<'static>,
    grouping: Fingerprint,
    complete: impl Fn(&mut Event<'static>) + Send + Sync + RefUnwindSafe + 'static,
) {
    event.logger = Some("tower_transaction_id".to_owned());
    let hub = Hub::new_from_top(hub);
    hub.configure_scope(|scope| {
        scope.add_event_processor(move |mut event| {
            if *event.fingerprint == ["{{ default }}"] {
                event.fingerprint.clone_from(&grouping);
            }
            complete(&mut event);
            Some(event)
        });
    });
    hub.capture_event(event);
}

pub(crate) fn response_context(status: StatusCode) -> ResponseContext {
    ResponseContext { status_code: Some(status.as_u16().into()), ..ResponseContext::default() }
}
