//! Decides, for both layers, which answers are failures that are worth an event, and reads errors.

use std::error::Error;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};

use crate::header::first_line;

/// Selects the answers that a layer reports to Sentry as failures.
///
/// By default these are
///
/// - the statuses 500 to 599;
/// - in responses of type `application/grpc*`, the codes `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`,
///   `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS`, which are mostly the server's fault. A caller who invents
///   paths gets `UNIMPLEMENTED`, though: at a public edge, leave out [12](Self::grpc_codes).
///
/// An error of the inner service is always a failure.
///
/// The server layer finds a gRPC code in the headers or the trailers of a response. The client layer finds
/// it in the headers only, since it leaves bodies alone.
///
/// ```
/// use tower_transaction_id::{AllowedHosts, Failures, InjectTransactionIdLayer};
///
/// let failures = Failures::new().statuses([404..=404, 500..=599]);
/// let layer = InjectTransactionIdLayer::new(AllowedHosts::any()).capture_failures(failures);
/// ```
#[derive(Clone)]
pub struct Failures(Arc<Rules>);

#[derive(Clone)]
struct Rules {
    statuses: Box<[RangeInclusive<u16>]>,
    grpc_codes: Box<[i32]>,
}

impl Failures {
    /// Selects the statuses 500 to 599, and the gRPC codes 2, 4, 12, 13, 14 and 15.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Rules {
            statuses: Box::new([500..=599]),
            grpc_codes: Box::new([2, 4, 12, 13, 14, 15]),
        }))
    }

    /// Sets the HTTP statuses that are failures, in place of 500 to 599. With an empty list, no status is a
    /// failure.
    #[must_use]
    pub fn statuses(mut self, ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        Arc::make_mut(&mut self.0).statuses = ranges.into_iter().collect();
        self
    }

    /// Sets the [gRPC status codes](https://grpc.github.io/grpc/core/md_doc_statuscodes.html) that are
    /// failures, in place of 2, 4, 12, 13, 14 and 15. With an empty list, no code is a failure.
    ///
    /// ```
    /// use tower_transaction_id::{BindTransactionIdLayer, Failures};
    ///
    /// // For a public edge: without 12, `UNIMPLEMENTED`, which a caller who invents paths gets.
    /// let failures = Failures::new().grpc_codes([2, 4, 13, 14, 15]);
    /// let layer = BindTransactionIdLayer::new().capture_failures(failures);
    /// ```
    #[must_use]
    pub fn grpc_codes(mut self, codes: impl IntoIterator<Item = i32>) -> Self {
        Arc::make_mut(&mut self.0).grpc_codes = codes.into_iter().collect();
        self
    }

    pub(crate) fn has_status(&self, status: StatusCode) -> bool {
        self.0.statuses.iter().any(|range| range.contains(&status.as_u16()))
    }

    pub(crate) fn has_grpc_code(&self, code: i32) -> bool {
        self.0.grpc_codes.contains(&code)
    }

    /// Returns the gRPC code in `headers`, if it is a failure. `headers` are those of a Trailers-Only
    /// response, or trailers.
    pub(crate) fn grpc_failure(&self, headers: &HeaderMap) -> Option<i32> {
        grpc_code(headers).filter(|code| self.has_grpc_code(*code))
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures")
            .field("statuses", &self.0.statuses)
            .field("grpc_codes", &self.0.grpc_codes)
            .finish()
    }
}

/// Returns the gRPC code in the headers of a response. Only a gRPC response without a body has the code
/// there.
pub(crate) fn grpc_answer(headers: &HeaderMap) -> Option<i32> {
    if is_grpc(headers) { grpc_code(headers) } else { None }
}

pub(crate) fn grpc_code(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Returns whether a message is gRPC by its content type. gRPC-Web counts, but its trailers are in the
/// body, which no layer reads.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = first_line(headers, &header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Reads no errors. This is the default of both layers. A report then names only the type of an error.
#[derive(Clone, Copy, Debug)]
pub struct OpaqueErrors(());

impl OpaqueErrors {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

/// Reads errors of type `E`, so that a report contains their texts and sources.
///
/// It is a part of a layer's type after
/// [`BindTransactionIdLayer::read_errors`](crate::BindTransactionIdLayer::read_errors) or
/// [`InjectTransactionIdLayer::read_errors`](crate::InjectTransactionIdLayer::read_errors).
pub struct ReadableErrors<E>(fn(&E) -> &(dyn Error + 'static));

impl<E> ReadableErrors<E> {
    pub(crate) fn new(read: fn(&E) -> &(dyn Error + 'static)) -> Self {
        Self(read)
    }
}

impl<E> Clone for ReadableErrors<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for ReadableErrors<E> {}

impl<E> fmt::Debug for ReadableErrors<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadableErrors<{}>", std::any::type_name::<E>())
    }
}

/// Reads an error of type `E` for a layer: [`OpaqueErrors`] or [`ReadableErrors<E>`].
///
/// The trait is sealed. It lists types, and cannot be implemented.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot read an error of type `{E}`",
    note = "the closure that `read_errors` is given takes a reference to the error of the service inside: `|error: &{E}| ..`"
)]
pub trait ReadErrors<E>: Copy + sealed::ReadErrors<E> {}

impl<E> ReadErrors<E> for OpaqueErrors {}
impl<E> ReadErrors<E> for ReadableErrors<E> {}

mod sealed {
    use std::error::Error;

    #[allow(unreachable_pub)] // public in name only: nobody else can implement it
    pub trait ReadErrors<E> {
        fn read<'e>(&self, error: &'e E) -> Option<&'e (dyn Error + 'static)>;
    }
}

impl<E> sealed::ReadErrors<E> for OpaqueErrors {
    fn read<'e>(&self, _: &'e E) -> Option<&'e (dyn Error + 'static)> {
        None
    }
}

impl<E> sealed::ReadErrors<E> for ReadableErrors<E> {
    fn read<'e>(&self, error: &'e E) -> Option<&'e (dyn Error + 'static)> {
        Some((self.0)(error))
    }
}
