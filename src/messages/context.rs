//! Reads the ID and the trace of a message.

use std::collections::HashMap;
use std::fmt;

use http::{HeaderMap, HeaderValue};

use crate::header::{BAGGAGE, IdHeader, SENTRY_TRACE};
use crate::scope::record::IncomingTrace;
use crate::telemetry::trace::MAX_BAGGAGE;
use crate::{InvalidTransactionId, TransactionId, TransactionIdRule};

/// The name of the pair that carries the ID. Many brokers distinguish the case of names, so every message
/// is written with this case. A reader ignores the case.
pub(crate) const ID_PAIR: &str = "X-Transaction-ID";

/// The length in bytes beyond which a `sentry-trace` counts as absent. A valid one has 51 at most.
const MAX_SENTRY_TRACE: usize = 128;

/// Holds the ID and the trace that a message brings.
///
/// The ID is distrusted as a header is: it must be valid by the rules of [`TransactionId`], and if there
/// are several values, they must agree.
///
/// ```
/// use std::collections::HashMap;
/// use tower_transaction_id::messages::MessageContext;
///
/// let headers = HashMap::from([("X-Transaction-ID".to_owned(), "order-7".to_owned())]);
/// let context = MessageContext::from(&headers);
/// assert_eq!(context.id().unwrap(), "order-7");
///
/// // The headers of any broker's client, as pairs.
/// let headers = [("X-Transaction-ID", "order-7"), ("x-transaction-id", "order-8")];
/// let context = MessageContext::read(headers);
/// assert!(context.id().is_none(), "the values differ");
/// ```
#[derive(Clone, Default)]
pub struct MessageContext {
    pub(crate) id: Option<Result<TransactionId, InvalidTransactionId>>,
    pub(crate) trace: Option<Box<IncomingTrace>>,
}

impl MessageContext {
    /// Reads `X-Transaction-ID`, `sentry-trace` and `baggage` from the pairs of a message. The case of the
    /// names does not matter, and other pairs are passed over.
    ///
    /// A value may be text or bytes. A `sentry-trace` counts as absent if it is longer than 128 bytes or if
    /// two values differ, and the `baggage` if all its values together are longer than 8192 bytes.
    #[must_use]
    pub fn read<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let mut context = Self::default();
        let mut sentry_trace = OneValue::None;
        let (mut baggage, mut left) = (Vec::new(), Some(MAX_BAGGAGE));
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            if name.eq_ignore_ascii_case(ID_PAIR) {
                context.id = Some(add_value(context.id, value));
            } else if name.eq_ignore_ascii_case(SENTRY_TRACE.as_str()) {
                sentry_trace = sentry_trace.and(value);
            } else if name.eq_ignore_ascii_case(BAGGAGE.as_str()) {
                left = left.and_then(|left| left.checked_sub(value.len()));
                baggage.extend(left.and_then(|_| HeaderValue::from_bytes(value).ok()));
            }
        }
        if let OneValue::Some(sentry_trace) = sentry_trace {
            let baggage = left.map(|_| baggage).unwrap_or_default();
            context.trace =
                Some(Box::new(IncomingTrace { sentry_trace: vec![sentry_trace], baggage }));
        }
        context
    }

    /// Takes the ID from a field of the message. There is no trace.
    #[must_use]
    pub fn of_id(id: Option<&str>) -> Self {
        Self { id: id.map(str::parse), trace: None }
    }

    /// Takes `id` if the message brings none, such as the broker's own ID of the message. So all attempts
    /// of a message have one ID, even if its sender set none. The rules apply to `id`, too.
    #[must_use]
    pub fn or_id(mut self, id: Option<&str>) -> Self {
        if self.id.is_none() {
            self.id = id.map(str::parse);
        }
        self
    }

    /// Returns the ID of the message, if it is valid.
    #[must_use]
    pub fn id(&self) -> Option<&TransactionId> {
        self.id.as_ref()?.as_ref().ok()
    }
}

/// Returns the one ID on which all values agree, or the reason why there is none.
fn add_value(
    seen: Option<Result<TransactionId, InvalidTransactionId>>,
    value: &[u8],
) -> Result<TransactionId, InvalidTransactionId> {
    match seen {
        None => TransactionId::from_bytes(value),
        Some(Ok(id)) if id.as_str().as_bytes() != value => {
            Err(InvalidTransactionId::new(TransactionIdRule::OneValue, value.len()))
        }
        Some(seen) => seen,
    }
}

/// The value of a pair that may be there once.
enum OneValue {
    None,
    Some(HeaderValue),
    Differing,
}

impl OneValue {
    fn and(self, value: &[u8]) -> Self {
        let is_short = value.len() <= MAX_SENTRY_TRACE;
        match (self, HeaderValue::from_bytes(value)) {
            (Self::None, Ok(value)) if is_short => Self::Some(value),
            (Self::Some(seen), Ok(value)) if seen == value => Self::Some(seen),
            _ => Self::Differing,
        }
    }
}

/// Takes an ID that is known, without a trace.
impl From<TransactionId> for MessageContext {
    fn from(id: TransactionId) -> Self {
        Self { id: Some(Ok(id)), trace: None }
    }
}

/// Reads the headers of a message.
impl From<&HeaderMap> for MessageContext {
    fn from(headers: &HeaderMap) -> Self {
        let reading = IdHeader::default().read(headers);
        let has_trace = headers.contains_key(&SENTRY_TRACE);
        let trace = has_trace.then(|| Box::new(IncomingTrace::of(headers)));
        Self { id: reading.id, trace }
    }
}

/// Reads pairs of strings, as [`MessageContext::read`] does.
impl<S> From<&HashMap<String, String, S>> for MessageContext {
    fn from(pairs: &HashMap<String, String, S>) -> Self {
        Self::read(pairs)
    }
}

impl fmt::Debug for MessageContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageContext")
            .field("id", &self.id)
            .field("has_trace", &self.trace.is_some())
            .finish()
    }
}
