//! The generator makes texts, or is one of tower-http's.

use tower_http::request_id::MakeRequestUuid;
use tower_transaction_id::{BindTransactionIdLayer, RequestHead};

fn text(_: RequestHead<'_>) -> String {
    "shop-1".to_owned()
}

pub fn makes_texts() -> BindTransactionIdLayer {
    BindTransactionIdLayer::new().make_id(text)
}

pub fn is_of_tower_http() -> BindTransactionIdLayer {
    BindTransactionIdLayer::new().make_id(MakeRequestUuid)
}
