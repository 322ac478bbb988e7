//! A struct that holds the worker of a queue, and a future that is named.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use tower::Service;
use tower_transaction_id::TransactionIdScope;
use tower_transaction_id::errors::ReadableErrors;
use tower_transaction_id::messages::{
    BindMessage, BindMessageFuture, BindMessageLayer, MessageContext, OutboundContext,
};

pub struct Order {
    pub headers: HashMap<String, String>,
}

#[derive(Clone)]
pub struct Cook;

impl Service<Order> for Cook {
    type Response = ();
    type Error = io::Error;
    type Future = Ready<io::Result<()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Order) -> Self::Future {
        ready(Ok(()))
    }
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub layer: BindMessageLayer<Order>,
}

#[derive(Clone)]
pub struct Kitchen {
    pub worker: BindMessage<Cook, Order, ReadableErrors<io::Error>>,
}

type Attempt = BindMessageFuture<Ready<io::Result<()>>, ReadableErrors<io::Error>>;

pub fn kitchen(settings: &Settings) -> Kitchen {
    let layer = settings.layer.clone().read_errors(|error: &io::Error| error);
    Kitchen { worker: tower::Layer::layer(&layer, Cook) }
}

pub fn spawn(mut kitchen: Kitchen, order: Order) -> tokio::task::JoinHandle<io::Result<()>> {
    let attempt: Attempt = kitchen.worker.call(order);
    tokio::spawn(attempt)
}

pub fn settings() -> Settings {
    let read = |order: &Order| MessageContext::from(&order.headers);
    Settings { layer: BindMessageLayer::new("orders", read) }
}

/// Sends an order, and opens its scope at the other end.
pub fn send(settings: &Settings) -> TransactionIdScope {
    let mut headers = HashMap::new();
    OutboundContext::new().write(&mut headers);
    settings.layer.scope(&Order { headers })
}
