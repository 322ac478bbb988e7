//! A WebSocket outlives the request that opened it, and keeps the ID of that request.
//!
//! ```sh
//! cargo run --example websocket
//! ```

use std::error::Error;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::{Router, response::Response, routing::any};
use futures_util::{SinkExt, StreamExt};
use sentry::{ClientOptions, Hub, Level, capture_message};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use tower_transaction_id::{
    BindTransactionIdLayer, InScope, TransactionId, TransactionIdScope, X_TRANSACTION_ID,
};

async fn counter(upgrade: WebSocketUpgrade) -> Response {
    // The request ends with the response 101. A task of its own then serves the socket, and the layer
    // does not see that task. So the handler forks the scope of the request, and binds the task to
    // the fork.
    let scope = TransactionIdScope::fork_current();
    upgrade.on_upgrade(async move |socket| match scope {
        Some(scope) => scope.bind(take_orders(socket)).await,
        // Without the layer there is no scope. The socket takes orders all the same, without an ID.
        None => take_orders(socket).await,
    })
}

async fn take_orders(mut socket: WebSocket) {
    while let Some(Ok(Message::Text(wish))) = socket.recv().await {
        capture_message(&format!("out of {wish}"), Level::Error);
        let id = TransactionId::current();
        let id = id.as_ref().map_or("none", TransactionId::as_str);
        let sorry = format!("No {wish} today. Tell our support: {id}");
        if socket.send(sorry.into()).await.is_err() {
            return;
        }
    }
    // A task that the socket's task spawns has the ID only if it gets a fork of its own.
    let farewell = InScope::fork(async { capture_message("a customer left", Level::Info) });
    let _ = tokio::spawn(farewell).await;
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

    for wish in ["mustard", "pickles"] {
        socket.send(tungstenite::Message::text(wish)).await?;
        if let Some(answer) = socket.next().await {
            println!("{}", answer?);
        }
    }
    socket.close(None).await?;
    // The server closes its end when its task is done.
    while socket.next().await.is_some() {}
    Ok(())
}
