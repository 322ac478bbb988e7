//! A server of the conformance suite: this crate, or its peer tower-http, as their documentation shows them.

use std::env;
use std::error::Error;

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_transaction_id::BindTransactionIdLayer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = Router::new().route("/", get(async || "hello"));
    let app = match env::args().nth(1).as_deref() {
        Some("ours") => app.layer(BindTransactionIdLayer::new()),
        Some("tower-http") => app.layer(
            ServiceBuilder::new()
                .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
                .layer(PropagateRequestIdLayer::x_request_id()),
        ),
        other => return Err(format!("ours or tower-http, and not {other:?}").into()),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
