//! The header `Server-Timing`, through which the scripts of a page read the ID of their page.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::TransactionId;

static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Adds the metric `transaction_id` with `id` to the metrics of the response, unless it is the last line: an
/// inner layer or the service that answered a proxy may have added it. Scripts read the last metric of the name.
///
/// A full map stays as it is. The ID has its own header, and a metric is not worth the line of another.
pub(super) fn add(headers: &mut HeaderMap, id: &TransactionId, is_http2: bool) {
    // No valid ID has a quote or a backslash, so each is a quoted-string as it stands.
    let Ok(mut metric) = HeaderValue::try_from(format!("transaction_id;desc=\"{id}\"")) else {
        return;
    };
    if headers.get_all(&SERVER_TIMING).iter().next_back().is_some_and(|line| *line == metric) {
        return;
    }
    // As in `IdHeader::echo`: it does not repeat.
    metric.set_sensitive(is_http2);
    let _ = headers.try_append(&SERVER_TIMING, metric);
}
