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
    // The request ends with the answer 101. What is served afterwards runs in a task of its own,
    // which the layer does not see. So the scope is forked here, while the request is there, and
    // the task is bound to it by hand.
    let scope = TransactionIdScope::fork_current();
    upgrade.on_upgrade(async move |socket| match scope {
        Some(scope) => scope.bind(take_orders(socket)).await,
        // Without the layer there is no ID, and orders are taken all the same.
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
    // From here, too: a task that the socket's task starts is forked once more.
    let farewell = InScope::fork(async { capture_message("a customer left", Level::Info) });
    let _ = tokio::spawn(farewell).await;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Yours has a real DSN. Here each event is printed, and then dropped.
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
