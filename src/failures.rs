//! What counts as a failure that is worth an event, for both layers.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};

/// What a layer reports to Sentry: which statuses, and which errors.
///
/// By default the statuses 500 to 599 and, in responses of type `application/grpc*`, the codes
/// `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS`,
/// which are mostly the server's fault rather than the caller's. A caller who makes up paths gets
/// `UNIMPLEMENTED`, though: at a public edge, leave out [12](Self::grpc_codes).
///
/// The server layer finds a gRPC code at the head or at the end of a response; the client layer, which
/// leaves bodies alone, at the head only.
///
/// Errors are reported with their chain of sources. For that they must implement
/// [`std::error::Error`], or be boxed and [said to be](Self::boxed_errors).
///
/// ```
/// use tower_transaction_id::{AllowedHosts, Failures, InjectTransactionIdLayer};
///
/// let failures = Failures::new().statuses([404..=404, 500..=599]);
/// let layer = InjectTransactionIdLayer::new(AllowedHosts::any()).capture_failures(failures);
/// ```
pub struct Failures<K = ConcreteErrors> {
    rules: Arc<Rules>,
    kind: PhantomData<fn() -> K>,
}

/// The errors of [`Failures::new`]: of any type that implements [`std::error::Error`].
#[derive(Debug)]
pub enum ConcreteErrors {}

/// The errors of [`Failures::boxed_errors`]: `Box<dyn Error + Send + Sync>`.
#[derive(Debug)]
pub enum BoxedErrors {}

impl Failures {
    /// The statuses and codes named above, and errors that implement [`std::error::Error`].
    #[must_use]
    pub fn new() -> Self {
        Self::with(Rules {
            statuses: Box::new([500..=599]),
            grpc_codes: Box::new([2, 4, 12, 13, 14, 15]),
        })
    }

    /// For a service whose errors are boxed, such as tower's `Timeout`, `Buffer` or `LoadShed` inside
    /// of the layer.
    #[must_use]
    pub fn boxed_errors(self) -> Failures<BoxedErrors> {
        Failures { rules: self.rules, kind: PhantomData }
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Failures<K> {
    fn with(rules: Rules) -> Self {
        Self { rules: Arc::new(rules), kind: PhantomData }
    }

    /// The HTTP statuses that are failures, in place of 500 to 599.
    #[must_use]
    pub fn statuses(self, ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        let statuses = ranges.into_iter().collect();
        Self::with(Rules { statuses, grpc_codes: self.rules.grpc_codes.clone() })
    }

    /// The [gRPC status codes](https://grpc.github.io/grpc/core/md_doc_statuscodes.html) that are
    /// failures, in place of 2, 4, 12, 13, 14 and 15.
    #[must_use]
    pub fn grpc_codes(self, codes: impl IntoIterator<Item = i32>) -> Self {
        let grpc_codes = codes.into_iter().collect();
        Self::with(Rules { statuses: self.rules.statuses.clone(), grpc_codes })
    }
}

impl<K> Clone for Failures<K> {
    fn clone(&self) -> Self {
        Self { rules: Arc::clone(&self.rules), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Failures<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures")
            .field("statuses", &self.rules.statuses)
            .field("grpc_codes", &self.rules.grpc_codes)
            .finish()
    }
}

pub(crate) struct Rules {
    statuses: Box<[RangeInclusive<u16>]>,
    grpc_codes: Box<[i32]>,
}

impl Rules {
    pub(crate) fn status_fails(&self, status: StatusCode) -> bool {
        self.statuses.iter().any(|range| range.contains(&status.as_u16()))
    }

    pub(crate) fn grpc_code_fails(&self, code: i32) -> bool {
        self.grpc_codes.contains(&code)
    }

    /// The gRPC code in the headers of a Trailers-Only response or in trailers, where it is a
    /// failure.
    pub(crate) fn grpc_failure(&self, headers: &HeaderMap) -> Option<i32> {
        grpc_code(headers).filter(|code| self.grpc_code_fails(*code))
    }
}

pub(crate) fn grpc_code(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// By the type of its content. gRPC-Web counts, but has its trailers in the body, unseen.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// What a layer captures: nothing (`()`), or [`Failures`].
///
/// Sealed: it is a list of types, not something to implement.
pub trait Capture: sealed::Capture {}

/// A [`Capture`] that can read the error type `E` of the inner service.
///
/// Sealed: it is a list of types, not something to implement.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot report an error of type `{E}`",
    note = "`Failures::new()` reports errors that implement `std::error::Error`",
    note = "`Failures::new().boxed_errors()` reports `Box<dyn Error + Send + Sync>`"
)]
pub trait CapturesErrors<E>: Capture + sealed::CapturesErrors<E> {}

impl Capture for () {}
impl<K> Capture for Failures<K> {}

impl<E> CapturesErrors<E> for () {}
// Of a boxed error rustc would say that its size is not known, in place of the message above.
#[diagnostic::do_not_recommend]
impl<E: Error + 'static> CapturesErrors<E> for Failures {}
impl CapturesErrors<Box<dyn Error + Send + Sync>> for Failures<BoxedErrors> {}

pub(crate) mod sealed {
    use super::{Arc, Error, Rules};

    #[allow(unreachable_pub, private_interfaces)] // public in name only: nobody can implement it
    pub trait Capture: Clone {
        fn rules(&self) -> Option<&Arc<Rules>>;
    }

    #[allow(unreachable_pub)]
    pub trait CapturesErrors<E>: Capture {
        fn as_error(error: &E) -> Option<&(dyn Error + 'static)>;
    }
}

#[allow(private_interfaces)]
impl sealed::Capture for () {
    fn rules(&self) -> Option<&Arc<Rules>> {
        None
    }
}

impl<E> sealed::CapturesErrors<E> for () {
    fn as_error(_: &E) -> Option<&(dyn Error + 'static)> {
        None
    }
}

#[allow(private_interfaces)]
impl<K> sealed::Capture for Failures<K> {
    fn rules(&self) -> Option<&Arc<Rules>> {
        Some(&self.rules)
    }
}

impl<E: Error + 'static> sealed::CapturesErrors<E> for Failures {
    fn as_error(error: &E) -> Option<&(dyn Error + 'static)> {
        Some(error)
    }
}

impl sealed::CapturesErrors<Box<dyn Error + Send + Sync>> for Failures<BoxedErrors> {
    fn as_error(error: &Box<dyn Error + Send + Sync>) -> Option<&(dyn Error + 'static)> {
        Some(&**error)
    }
}
