//! Reads the header that carries the ID from a message, and sets it on a message.

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{InvalidTransactionId, TransactionId, TransactionIdRule, X_TRANSACTION_ID};

/// The headers that name the trace of a request.
pub(crate) static SENTRY_TRACE: HeaderName = HeaderName::from_static("sentry-trace");
pub(crate) static BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// The name of a header. `None` stands for [`X_TRANSACTION_ID`], a constant, for which nothing is cloned
/// and nothing dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdHeader(Option<HeaderName>);

/// Returns the first value of the header `name`. Every message is searched, so speed counts: to compare a
/// few names is quicker than to hash `name`.
pub(crate) fn first_line<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    if headers.len() > 8 {
        return headers.get(name);
    }
    headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
}

/// Reads the header `name` of a message.
#[inline]
fn read(headers: &HeaderMap, name: &HeaderName) -> Reading {
    // If the map has as many lines as names, no name has two lines. To compare the two numbers is
    // quicker than to count the lines.
    if headers.len() == headers.keys_len() {
        let id = first_line(headers, name).map(TransactionId::try_from);
        return Reading { id, is_one_line: true };
    }
    let lines = headers.get_all(name);
    let id = lines.iter().next().map(|first| match lines.iter().find(|line| *line != first) {
        Some(other) => Err(InvalidTransactionId::new(TransactionIdRule::OneValue, other.len())),
        None => first.try_into(),
    });
    Reading { id, is_one_line: lines.iter().nth(1).is_none() }
}

/// The ID that was read from the header of a message.
pub(crate) struct Reading {
    /// The one ID on which all lines agree, or the reason why there is none. `None` if there is no line.
    pub(crate) id: Option<Result<TransactionId, InvalidTransactionId>>,
    /// Whether there is no second line.
    pub(crate) is_one_line: bool,
}

impl TransactionId {
    /// Reads the ID from the header `name` of a request or a response.
    ///
    /// This is for the ID that *another* service answered with: its support can search for this ID, and an
    /// error of yours that shows it says where to look next. Some services use a header of another name, such
    /// as `x-request-id` or `request-id`.
    ///
    /// Returns `None` if there is no such header, if its value is not valid, or if it has two lines that
    /// differ.
    ///
    /// ```
    /// use http::{HeaderName, Response};
    /// use tower_transaction_id::{TransactionId, X_TRANSACTION_ID};
    ///
    /// let response = Response::builder().header("x-request-id", "req_8fJ2").body(()).unwrap();
    /// let theirs = HeaderName::from_static("x-request-id");
    /// assert_eq!(TransactionId::from_headers(response.headers(), &theirs).unwrap(), "req_8fJ2");
    /// assert_eq!(TransactionId::from_headers(response.headers(), &X_TRANSACTION_ID), None);
    /// ```
    #[must_use]
    pub fn from_headers(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        read(headers, name).id?.ok()
    }
}

impl IdHeader {
    pub(crate) fn new(name: HeaderName) -> Self {
        Self((name != X_TRANSACTION_ID).then_some(name))
    }

    pub(crate) fn name(&self) -> &HeaderName {
        static DEFAULT: HeaderName = X_TRANSACTION_ID;
        self.0.as_ref().unwrap_or(&DEFAULT)
    }

    fn owned_name(&self) -> HeaderName {
        self.0.clone().unwrap_or(X_TRANSACTION_ID)
    }

    pub(crate) fn read(&self, headers: &HeaderMap) -> Reading {
        read(headers, self.name())
    }

    /// Returns the ID in `headers`, if it is valid. Otherwise, `make` makes an ID, which becomes the only
    /// line.
    pub(crate) fn get_or_set(
        &self,
        headers: &mut HeaderMap,
        make: impl FnOnce() -> TransactionId,
    ) -> TransactionId {
        // Mostly there is no line. Then one look-up finds that out and inserts the new line.
        if let Ok(Entry::Vacant(vacant)) = headers.try_entry(self.owned_name()) {
            let id = make();
            if vacant.try_insert(id.header_value().clone()).is_err() {
                self.set_in_full_map(headers, id.header_value().clone());
            }
            return id;
        }
        self.read(headers).id.and_then(Result::ok).unwrap_or_else(|| {
            let id = make();
            self.set(headers, &id);
            id
        })
    }

    /// Sets `id` as the only line.
    pub(crate) fn set(&self, headers: &mut HeaderMap, id: &TransactionId) {
        self.set_value(headers, || id.header_value().clone());
    }

    /// Sets `id` as the only line of a response.
    ///
    /// Over HTTP/2 the line is marked as one that HPACK never indexes
    /// ([RFC 7541, section 7.1.3](https://www.rfc-editor.org/rfc/rfc7541#section-7.1.3)): an ID does
    /// not repeat, and its place in the table belongs to headers that do. `Debug` does not show the value
    /// of such a line.
    pub(crate) fn echo(&self, headers: &mut HeaderMap, id: &TransactionId, is_http2: bool) {
        self.set_value(headers, || {
            let mut value = id.header_value().clone();
            value.set_sensitive(is_http2);
            value
        });
    }

    fn set_value(&self, headers: &mut HeaderMap, value: impl Fn() -> HeaderValue) {
        if headers.try_insert(self.owned_name(), value()).is_err() {
            self.set_in_full_map(headers, value());
        }
    }

    /// Sets `value` in a map that is full. A map holds 24,576 names, and then refuses to insert, even
    /// under a name that it has. So the lines of this name are removed first, or those of another name if
    /// this name has no line.
    #[cold]
    fn set_in_full_map(&self, headers: &mut HeaderMap, value: HeaderValue) {
        if headers.remove(self.name()).is_none()
            && let Some(other) = headers.keys().last().cloned()
        {
            headers.remove(other);
        }
        let _ = headers.try_insert(self.owned_name(), value);
    }

    /// Removes the lines that hold `id`, and leaves all others.
    pub(crate) fn remove(&self, headers: &mut HeaderMap, id: &TransactionId) {
        let is_ours = |line: &HeaderValue| line == id.header_value();
        let lines = headers.get_all(self.name());
        if !lines.iter().any(is_ours) {
            return;
        }
        let others: Vec<_> = lines.iter().filter(|line| !is_ours(line)).cloned().collect();
        headers.remove(self.name());
        for line in others {
            headers.append(self.name(), line);
        }
    }
}
