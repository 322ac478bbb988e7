//! Gives each message of a queue, a job framework, a socket or an RPC protocol its transaction ID.
//!
//! A request ends, but its work may go on in a queue. A hub does not fit into a queue, but the ID does: the
//! sender [writes](OutboundContext) the ID on the message, and the worker [reads](MessageContext) it and
//! opens a scope for each message, by [`BindMessageLayer`]. There is one context for each message, and not
//! one for a connection or a batch.

mod admission;
mod context;
mod layer;
mod outbound;
mod service;

pub use self::context::MessageContext;
pub use self::layer::BindMessageLayer;
pub use self::outbound::OutboundContext;
pub use self::service::{BindMessage, BindMessageFuture};
