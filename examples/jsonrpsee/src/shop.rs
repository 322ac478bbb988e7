//! A shop that takes orders over JSON-RPC, and its client.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use jsonrpsee::core::client::{Client, Error};
use jsonrpsee::core::middleware::RpcServiceBuilder;
use jsonrpsee::core::{RegisterMethodError, SubscriptionError};
use jsonrpsee::server::{PendingSubscriptionSink, RpcModule, Server, ServerConfig, ServerHandle};
use jsonrpsee::types::{ErrorCode, ErrorObjectOwned, Params};
use jsonrpsee::ws_client::{HeaderMap, RpcService, WsClientBuilder};
use sentry::{Hub, Level, capture_message};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tower::ServiceBuilder;
use tower_transaction_id::{BindTransactionIdLayer, InScope, TransactionId, X_TRANSACTION_ID};

use crate::client::InjectCall;
use crate::server::{BindCall, remember_connection};

/// In bytes. A single response and the responses to a batch have the same limit.
const MAX_RESPONSE_SIZE: u32 = 1 << 20;

/// Starts the shop on a free port of loopback. Its requests and calls start from `hub`.
pub async fn start(hub: &Arc<Hub>) -> io::Result<(SocketAddr, ServerHandle)> {
    let http = ServiceBuilder::new()
        .layer(BindTransactionIdLayer::new().hub(hub))
        .map_request(remember_connection);
    let rpc = RpcServiceBuilder::new()
        .layer_fn(|service| BindCall::new(service, MAX_RESPONSE_SIZE as usize));
    let config = ServerConfig::builder().max_response_body_size(MAX_RESPONSE_SIZE).build();
    let server = Server::builder()
        .set_config(config)
        .set_http_middleware(http)
        .set_rpc_middleware(rpc)
        .build("127.0.0.1:0")
        .await?;
    Ok((server.local_addr()?, server.start(methods().map_err(io::Error::other)?)))
}

fn methods() -> Result<RpcModule<()>, RegisterMethodError> {
    let mut methods = RpcModule::new(());
    methods.register_method("order", |params, (), _| order(&params))?;
    methods.register_subscription("watch", "news", "unwatch", |_, pending, _, _| {
        // jsonrpsee runs the subscription in a task of its own.
        InScope::fork(watch(pending))
    })?;
    Ok(methods)
}

fn order(params: &Params<'_>) -> Result<Value, ErrorObjectOwned> {
    let order: Value = params.parse()?;
    let wish = order["wish"].as_str().unwrap_or("nothing");
    if wish == "hot-dog" {
        return Ok(json!("here you are"));
    }
    capture_message(&format!("out of {wish}"), Level::Error);
    // A response has no headers either. The data of an error has room for the ID.
    let id = TransactionId::current();
    let data = id.map(|id| json!({ TransactionId::TAG: id.as_str() }));
    Err(ErrorObjectOwned::owned(ErrorCode::ServerError(-32000).code(), "not today", data))
}

/// Pushes news. Each message carries the ID of the call that subscribed.
async fn watch(pending: PendingSubscriptionSink) -> Result<(), SubscriptionError> {
    let sink = pending.accept().await?;
    for news in ["the grill is hot", "the grill is on fire"] {
        if news.ends_with("fire") {
            capture_message(news, Level::Error);
        }
        let id = TransactionId::current();
        let message =
            json!({ "news": news, TransactionId::TAG: id.as_ref().map(TransactionId::as_str) });
        sink.send(to_raw_value(&message)?).await?;
    }
    Ok(())
}

/// Connects to a shop under `id`. The calls of the client have IDs of their own.
pub async fn connect(
    shop: SocketAddr,
    id: &TransactionId,
) -> Result<Client<InjectCall<RpcService>>, Error> {
    let headers = HeaderMap::from_iter([(X_TRANSACTION_ID, id.header_value().clone())]);
    WsClientBuilder::new()
        .set_headers(headers)
        // This counts attempts: the client follows no redirect, which would give the ID to another host.
        .max_redirections(1)
        .set_rpc_middleware(RpcServiceBuilder::new().layer_fn(InjectCall::new))
        .build(format!("ws://{shop}"))
        .await
}
