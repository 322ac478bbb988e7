//! Reads what a message brings: its ID and its trace.

use std::collections::HashMap;
use std::fmt;

use http::{HeaderMap, HeaderValue};

use crate::header::{BAGGAGE, IdHeader, SENTRY_TRACE};
use crate::scope::record::IncomingTrace;
use crate::{InvalidTransactionId, TransactionId, TransactionIdRule};

/// The name of the pair that carries the ID. Many brokers distinguish the case of names, so every message
/// is written with this case.
pub(crate) const ID_PAIR: &str = "X-Transaction-ID";

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
/// // The headers of any broker's client. This one has several values for a name.
/// let headers = [("X-Transaction-ID", "order-7"), ("X-Transaction-ID", "order-8")];
/// let context = MessageContext::read(|name| {
///     headers.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value)
/// });
/// assert!(context.id().is_none());
/// ```
#[derive(Clone, Default)]
pub struct MessageContext {
    pub(crate) id: Option<Result<TransactionId, InvalidTransactionId>>,
    pub(crate) trace: Option<Box<IncomingTrace>>,
}

impl MessageContext {
    /// Reads the pairs of a message by `values`, which returns the values of the pair with a name.
    ///
    /// The names are `X-Transaction-ID`, `sentry-trace` and `baggage`. If there is no value for
    /// `X-Transaction-ID`, the function asks for `x-transaction-id`.
    #[must_use]
    pub fn read<I>(values: impl Fn(&'static str) -> I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let id = one_id(values(ID_PAIR)).or_else(|| one_id(values("x-transaction-id")));
        let lines = |name| {
            let values = values(name).into_iter();
            values.filter_map(|value| HeaderValue::from_str(value.as_ref()).ok()).collect()
        };
        let sentry_trace: Vec<_> = lines(SENTRY_TRACE.as_str());
        let trace = (!sentry_trace.is_empty())
            .then(|| Box::new(IncomingTrace { sentry_trace, baggage: lines(BAGGAGE.as_str()) }));
        Self { id, trace }
    }

    /// Takes the ID from a field of the message. There is no trace.
    #[must_use]
    pub fn of_id(id: Option<&str>) -> Self {
        Self { id: id.map(str::parse), trace: None }
    }

    /// Returns the ID of the message, if it is valid.
    #[must_use]
    pub fn id(&self) -> Option<&TransactionId> {
        self.id.as_ref()?.as_ref().ok()
    }
}

/// Returns the one ID on which all values agree, or the reason why there is none.
fn one_id<I>(values: I) -> Option<Result<TransactionId, InvalidTransactionId>>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let mut values = values.into_iter();
    let first = values.next()?;
    let first = first.as_ref();
    Some(match values.find(|value| value.as_ref() != first) {
        Some(other) => {
            Err(InvalidTransactionId::new(TransactionIdRule::OneValue, other.as_ref().len()))
        }
        None => first.parse(),
    })
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

/// Reads pairs of strings. The case of their names does not matter.
impl<S> From<&HashMap<String, String, S>> for MessageContext {
    fn from(pairs: &HashMap<String, String, S>) -> Self {
        Self::read(|name| {
            let named = move |(other, _): &(&String, _)| other.eq_ignore_ascii_case(name);
            pairs.iter().filter(named).map(|(_, value)| value)
        })
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
