//! A WebSocket outlives the request that opened it. Each message has an ID of its own, in both
//! directions, and the ID of that request as a second tag.
//!
//! ```sh
//! cargo run --example websocket
//! ```

use std::error::Error;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::{Router, response::Response, routing::any};
use futures_util::{SinkExt, StreamExt};
use sentry::{ClientOptions, Hub, Level, capture_message};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use tower_transaction_id::messages::{BindMessageLayer, MessageContext, OutboundContext};
use tower_transaction_id::{
    BindTransactionIdLayer, TransactionId, TransactionIdScope, X_TRANSACTION_ID,
};

/// Names the tag that all messages of one connection have in common.
pub(crate) const CONNECTION_TAG: &str = "connection_transaction_id";

pub(crate) async fn counter(upgrade: WebSocketUpgrade) -> Response {
    // The request ends with the response 101. A task of its own then serves the socket, and the layer
    // does not see that task. So the handler forks the scope of the request, and binds the task to
    // the fork.
    let connection = TransactionIdScope::fork_current();
    upgrade.on_upgrade(async move |socket| match connection {
        Some(connection) => {
            if let Some(hub) = connection.hub() {
                hub.configure_scope(|hub| {
                    hub.set_tag(CONNECTION_TAG, connection.id());
                    // The span of the request ends with the response. Each message has its own trace.
                    hub.set_span(None);
                });
            }
            connection.bind(serve(socket)).await;
        }
        // Without the layer there is no scope. The socket works all the same, without a second tag.
        None => serve(socket).await,
    })
}

/// Reads the ID that a message brings. The layer has no hub of its own (`.hub(..)`), so the scope of a
/// message forks the current hub, which is that of the connection, and inherits the second tag.
fn messages() -> BindMessageLayer<Value> {
    BindMessageLayer::new("counter", |message: &Value| {
        MessageContext::of_id(message[TransactionId::TAG].as_str())
    })
}

async fn serve(mut socket: WebSocket) {
    // No message asked for this one, so it has a new ID.
    let news = TransactionIdScope::new(TransactionId::generate());
    let mut is_open = news.bind(send(&mut socket, "the grill is hot")).await;

    let orders = messages();
    while is_open && let Some(Ok(message)) = socket.recv().await {
        // Pings and the last message, the close, pass by. The socket answers both by itself.
        let Message::Text(order) = message else { continue };
        let order: Value = serde_json::from_str(&order).unwrap_or_default();
        let take = async {
            let wish = order["wish"].as_str().unwrap_or("nothing");
            capture_message(&format!("out of {wish}"), Level::Error);
            send(&mut socket, "not today").await
        };
        is_open = orders.scope(&order).bind(take).await;
    }
}

/// Sends a message with the current ID. Returns whether the socket is still open.
async fn send(socket: &mut WebSocket, text: &str) -> bool {
    let message = json!({ TransactionId::TAG: OutboundContext::new().id().as_str(), "text": text });
    socket.send(message.to_string().into()).await.is_ok()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A real service has a real DSN. This example prints each event, then drops the event.
    let options = ClientOptions::new().dsn("https://key@sentry.invalid/1").before_send(|event| {
        println!("Sentry: {:?}, tagged {:?}", event.message.unwrap_or_default(), event.tags);
        None
    });
    let _sentry = sentry::init(options);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let shop = Router::new()
        .route("/counter", any(counter))
        .layer(BindTransactionIdLayer::new().hub(Hub::main()));
    tokio::spawn(axum::serve(listener, shop).into_future());

    let mut request = format!("ws://{address}/counter").into_client_request()?;
    request.headers_mut().insert(X_TRANSACTION_ID, "visit-42".parse()?);
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await?;
    println!("{}, echoed {:?}", response.status(), response.headers().get(X_TRANSACTION_ID));

    // The first order brings an ID, the second an invalid one, and the third none.
    let orders = [
        json!({ "wish": "mustard", TransactionId::TAG: "order-1" }),
        json!({ "wish": "pickles", TransactionId::TAG: "null" }),
        json!({ "wish": "relish" }),
    ];
    for order in orders {
        socket.send(tungstenite::Message::text(order.to_string())).await?;
    }
    socket.close(None).await?;

    // The client does its part of a message under the ID of the message, too.
    let received = messages();
    while let Some(message) = socket.next().await {
        if let tungstenite::Message::Text(text) = message? {
            let message: Value = serde_json::from_str(&text)?;
            let read = || println!("{} under {:?}", message["text"], TransactionId::current());
            received.scope(&message).run(read);
        }
    }
    Ok(())
}
