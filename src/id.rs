//! The transaction ID: decides which values are valid, and generates IDs.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use uuid::Uuid;

use crate::{flags, random};

/// Names the header that carries the ID: `x-transaction-id`, written `X-Transaction-ID` in Sentry's
/// guide.
///
/// Both layers use this header by default. For a page of another origin, add it to `allow_headers`
/// **and** to `expose_headers` of `CorsLayer`, as the guide [shows](crate::guide::servers#cors).
pub const X_TRANSACTION_ID: HeaderName = HeaderName::from_static("x-transaction-id");

/// The length of the longest valid ID in bytes. Sentry shortens longer values of tags.
const MAX_LEN: usize = 200;

/// The words that a front end with a bug sends in place of an ID. As IDs, these words would tie the
/// requests of strangers together. The longest word is the first one.
const PLACEHOLDERS: [&str; 5] = ["undefined", "null", "nan", "none", "nil"];

/// Identifies one piece of work in every service that takes part in it.
///
/// A `TransactionId` is valid by construction and ready to be sent as a header. It is neither a Sentry
/// *transaction* (a performance measurement) nor a trace ID.
///
/// # Valid IDs
///
/// A valid ID is kept byte for byte: never lower-cased, cut or trimmed. It has
///
/// - 1 to 200 bytes, which is
///   [Sentry's limit for a tag](https://docs.sentry.io/platforms/rust/enriching-events/tags/);
/// - no bytes but `A-Z a-z 0-9 - _ . : + / = @ ~`;
/// - at least one letter, or one digit other than `0`;
/// - neither `..` nor `://`.
///
/// It is none of the placeholders `undefined`, `null`, `nan`, `none` and `nil`, in any case.
///
/// UUIDs in their usual spellings, ULIDs, nginx's `$request_id`, AWS's `Root=1-…` (but not its list
/// with `;`) and W3C trace IDs are valid. A valid ID is safe in a log line, in HTML text, in JSON and in
/// Sentry's search. A change of these rules would be a breaking change of this crate.
///
/// ```
/// use tower_transaction_id::TransactionId;
///
/// let generated = TransactionId::generate();
/// assert_eq!(generated.as_str().len(), 32);
///
/// let kept: TransactionId = "Root=1-67891233-abcdef012345678912345678".parse()?;
/// assert_eq!(kept.to_string(), "Root=1-67891233-abcdef012345678912345678");
///
/// assert!("undefined".parse::<TransactionId>().is_err());
/// # Ok::<(), tower_transaction_id::InvalidTransactionId>(())
/// ```
///
/// # Cost
///
/// A clone counts a reference and copies nothing. An ID that was read from a request keeps the buffer of
/// that request's headers alive, so a long-lived store of IDs should hold strings. A fork of a
/// [`TransactionIdScope`](crate::TransactionIdScope) holds a copy.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(HeaderValue);

impl TransactionId {
    /// Names the ID wherever it is recorded: Sentry tag, log attribute, span field.
    pub const TAG: &'static str = "transaction_id";

    /// Generates an ID: a random (version 4) UUID in 32 lower-case hexadecimal digits.
    ///
    /// The random bits come from the operating system's generator. A buffer of the thread makes one
    /// system call for 32 IDs. The ID shows neither time nor host. The function allocates once.
    ///
    /// # Panics
    ///
    /// Panics if the operating system has no random numbers.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_uuid(uuid::Builder::from_random_bytes(random::bytes()).into_uuid())
    }

    fn from_uuid(uuid: Uuid) -> Self {
        let mut digits = [0; uuid::fmt::Simple::LENGTH];
        uuid.simple().encode_lower(&mut digits);
        // `from_owner` counts references from the start, while other buffers allocate on the first clone.
        let digits = Bytes::from_owner(digits);
        Self(
            HeaderValue::from_maybe_shared(digits).expect("hexadecimal digits make a header value"),
        )
    }

    /// Checks an ID and copies it.
    pub(crate) fn from_bytes(value: &[u8]) -> Result<Self, InvalidTransactionId> {
        check(value)?;
        let copy = HeaderValue::from_maybe_shared(Bytes::from_owner(value.to_owned()));
        copy.map(Self).map_err(|_| InvalidTransactionId::new(TransactionIdRule::Bytes, value.len()))
    }

    /// Returns the same ID in a buffer of its own.
    pub(crate) fn unshared(&self) -> Self {
        HeaderValue::from_bytes(self.0.as_bytes()).map_or_else(|_| self.clone(), Self)
    }

    /// Returns the ID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Every byte of a valid ID is ASCII, so `to_str` never fails.
        self.0.to_str().unwrap_or_default()
    }

    /// Returns the ID as the value of a header.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.0
    }
}

/// Writes the UUID in 32 lower-case hexadecimal digits. Only the nil UUID is an error.
impl TryFrom<Uuid> for TransactionId {
    type Error = InvalidTransactionId;

    fn try_from(uuid: Uuid) -> Result<Self, Self::Error> {
        if uuid.is_nil() {
            let len = uuid::fmt::Simple::LENGTH;
            return Err(InvalidTransactionId::new(TransactionIdRule::Meaning, len));
        }
        Ok(Self::from_uuid(uuid))
    }
}

impl FromStr for TransactionId {
    type Err = InvalidTransactionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_bytes(text.as_bytes())
    }
}

impl TryFrom<&HeaderValue> for TransactionId {
    type Error = InvalidTransactionId;

    fn try_from(value: &HeaderValue) -> Result<Self, Self::Error> {
        check(value.as_bytes())?;
        let mut value = value.clone();
        // HTTP/2 may have marked the value as sensitive. An ID is no secret, and `Debug` must show it.
        value.set_sensitive(false);
        Ok(Self(value))
    }
}

impl TryFrom<HeaderValue> for TransactionId {
    type Error = InvalidTransactionId;

    fn try_from(value: HeaderValue) -> Result<Self, Self::Error> {
        Self::try_from(&value)
    }
}

impl From<TransactionId> for HeaderValue {
    fn from(id: TransactionId) -> Self {
        id.0
    }
}

impl AsRef<str> for TransactionId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for TransactionId {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for TransactionId {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TransactionId").field(&self.as_str()).finish()
    }
}

/// A byte that no ID may have. This constant and the next two are flags in [`BYTES`].
const FORBIDDEN: u8 = 1;
/// A letter, or a digit other than `0`.
const MEANS_SOMETHING: u8 = 2;
/// A dot or a colon. A search for `..` and `://` is needed only in a value that has one of them.
const MAY_LEAD_AWAY: u8 = 4;

static BYTES: flags::Table = flags::table!(|byte| match byte {
    b'A'..=b'Z' | b'a'..=b'z' | b'1'..=b'9' => MEANS_SOMETHING,
    b'0' | b'-' | b'_' | b'+' | b'/' | b'=' | b'@' | b'~' => 0,
    b'.' | b':' => MAY_LEAD_AWAY,
    _ => FORBIDDEN,
});

/// Checks `value` against the rules, in the order in which [`TransactionIdRule`] lists them.
fn check(value: &[u8]) -> Result<(), InvalidTransactionId> {
    first_broken(value).map_or(Ok(()), |rule| Err(InvalidTransactionId::new(rule, value.len())))
}

fn first_broken(value: &[u8]) -> Option<TransactionIdRule> {
    if value.is_empty() || value.len() > MAX_LEN {
        return Some(TransactionIdRule::Length);
    }
    let flags = flags::any(value, &BYTES);
    if flags & FORBIDDEN != 0 {
        return Some(TransactionIdRule::Bytes);
    }
    if flags & MEANS_SOMETHING == 0 {
        return Some(TransactionIdRule::Meaning);
    }
    if may_lead_away(flags) {
        if value.windows(2).any(|pair| pair == b"..") {
            return Some(TransactionIdRule::Path);
        }
        if value.windows(3).any(|triple| triple == b"://") {
            return Some(TransactionIdRule::Url);
        }
    }
    let is_placeholder = |word: &&str| value.eq_ignore_ascii_case(word.as_bytes());
    let is_short = value.len() <= PLACEHOLDERS[0].len();
    (is_short && PLACEHOLDERS.iter().any(is_placeholder)).then_some(TransactionIdRule::Placeholder)
}

/// Whether a value with these flags is worth a search for `..` and `://`.
fn may_lead_away(flags: u8) -> bool {
    flags & MAY_LEAD_AWAY != 0
}

/// Reports a value that is no [`TransactionId`]: the rule that it broke, and its length.
///
/// The value itself is never kept, so that printing the error can do no harm.
///
/// ```
/// use tower_transaction_id::{TransactionId, TransactionIdRule};
///
/// let why = "<script>".parse::<TransactionId>().unwrap_err();
/// assert_eq!((why.rule(), why.value_len()), (TransactionIdRule::Bytes, 8));
/// assert!(!why.to_string().contains("script"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InvalidTransactionId {
    rule: TransactionIdRule,
    // A `u32`, because each scope that was opened in place of an invalid ID holds this error.
    len: u32,
}

impl InvalidTransactionId {
    pub(crate) fn new(rule: TransactionIdRule, len: usize) -> Self {
        Self { rule, len: u32::try_from(len).unwrap_or(u32::MAX) }
    }

    /// Returns the first rule that the value broke.
    #[must_use]
    pub fn rule(&self) -> TransactionIdRule {
        self.rule
    }

    /// Returns the length of the value in bytes. If header lines differ, this is the length of the first
    /// line that differs from the top line.
    #[must_use]
    pub fn value_len(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for InvalidTransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a transaction ID ({} bytes): {}", self.len, self.rule)
    }
}

/// Prints the sentence of `Display`, since `unwrap` and `main` print this.
impl fmt::Debug for InvalidTransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for InvalidTransactionId {}

/// Names a rule for a [`TransactionId`]. The rules are tried in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransactionIdRule {
    /// Requires one value of all header lines.
    OneValue,
    /// Requires 1 to 200 bytes.
    Length,
    /// Requires ASCII letters, digits and `-_.:+/=@~`, and no other bytes.
    Bytes,
    /// Requires a letter, or a digit other than `0`.
    Meaning,
    /// Forbids `..`.
    Path,
    /// Forbids `://`.
    Url,
    /// Forbids `undefined`, `null`, `nan`, `none` and `nil`.
    Placeholder,
}

impl fmt::Display for TransactionIdRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneValue => "several values that differ",
            Self::Length => "it must have 1 to 200 bytes",
            Self::Bytes => "only ASCII letters, digits and -_.:+/=@~ are allowed",
            Self::Meaning => "it needs a letter, or a digit other than 0",
            Self::Path => "`..` is not allowed",
            Self::Url => "`://` is not allowed",
            Self::Placeholder => "it is a placeholder",
        })
    }
}
