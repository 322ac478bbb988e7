//! An axum service whose log lines, Sentry events and response show the same transaction ID.
//!
//! ```sh
//! cargo run --example axum
//! ```

use std::error::Error;

use axum::routing::post;
use axum::{Router, http::StatusCode};
use sentry::{ClientOptions, Hub, Level, capture_message};
use tokio::net::TcpListener;
use tower_http::cors::{Any, CorsLayer};
use tower_transaction_id::{BindTransactionIdLayer, InScope, TransactionId, X_TRANSACTION_ID};

/// The handler takes the ID as an argument.
async fn order(id: TransactionId) -> (StatusCode, String) {
    // A spawned task has the ID only if the task is bound to the request's scope.
    let email = tokio::spawn(InScope::fork(async {
        capture_message("the mail server is away", Level::Warning);
    }));
    // The handler waits for the task only to keep the output in order.
    email.await.expect("the task does not panic");

    tracing::info!("out of mustard");
    capture_message("out of mustard", Level::Error);
    (StatusCode::SERVICE_UNAVAILABLE, format!("Sorry. Tell our support: {id}"))
}

fn shop() -> Router {
    // A page of another origin may send the header, and may read it.
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_headers([X_TRANSACTION_ID])
        .expose_headers([X_TRANSACTION_ID]);

    // In axum, the layer that is added last is the outermost.
    Router::new()
        .route("/orders", post(order))
        .layer(cors)
        // Log lines of the handler and of the spawned task show the fields of this span.
        .layer(BindTransactionIdLayer::new().hub(Hub::main()).make_span_with(|request, id| {
            tracing::info_span!("request", path = request.uri().path(), transaction_id = %id)
        }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().without_time().with_target(false).init();

    // A real service has a real DSN. This example prints each event, then drops the event.
    let options = ClientOptions::new().dsn("https://key@sentry.invalid/1").before_send(|event| {
        println!("Sentry: {:?}, tagged {:?}", event.message.unwrap_or_default(), event.tags);
        None
    });
    let _sentry = sentry::init(options);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/orders", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, shop()).into_future());

    for sent in ["from-the-page-42", "undefined"] {
        println!("\nA page orders with {sent:?}:");
        let request = reqwest::Client::new().post(&url);
        let response = request
            .header("Origin", "http://page.example")
            .header(X_TRANSACTION_ID, sent)
            .send()
            .await?;
        for header in ["access-control-expose-headers", "x-transaction-id"] {
            println!("{header}: {:?}", response.headers().get(header));
        }
        println!("{}, {}", response.status(), response.text().await?);
    }
    Ok(())
}
