//! One connection, many calls: each JSON-RPC call has an ID of its own, and the ID of its connection as a
//! second tag.
//!
//! A connection lives for hours under the one request that opened it. So the ID of that request finds too
//! much, and each call needs its own. A call carries the ID as the member `transaction_id` of its params:
//! JSON-RPC has no headers, and jsonrpsee drops members of a call that it does not know.

mod client;
mod server;
mod shop;

pub use client::InjectCall;
pub use server::{BindCall, CONNECTION_TAG, remember_connection};
pub use shop::{connect, start};
