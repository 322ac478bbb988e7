//! The closure of `read_errors` returns a box in place of the error in it, names no type, or captures.

use tower::BoxError;
use tower_transaction_id::BindTransactionIdLayer;

pub fn returns_a_box() {
    let _ = BindTransactionIdLayer::new().read_errors(|error: &BoxError| error);
}

pub fn names_no_type() {
    let _ = BindTransactionIdLayer::new().read_errors(|error| error);
}

pub fn captures(other: &'static std::io::Error) {
    let _ = BindTransactionIdLayer::new().read_errors(|_: &BoxError| other);
}
