//! tower-http follows redirects outside the client layer, and reqwest sends the requests. The layer
//! checks the host of each hop, so the stranger at the end of the chain does not receive the ID.
//!
//! ```sh
//! cargo run --example tower_reqwest
//! ```

use std::error::Error;
use std::net::SocketAddr;

use axum::http::{HeaderMap, Request};
use axum::{Router, response::Redirect, routing::get};
use reqwest::{Body, Client, redirect::Policy};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_reqwest::HttpClientLayer;
use tower_transaction_id::{
    AllowedHosts, InjectTransactionIdLayer, TransactionId, TransactionIdScope, X_TRANSACTION_ID,
};

async fn cook(headers: HeaderMap) -> Redirect {
    println!("kitchen received {:?}", headers.get(X_TRANSACTION_ID));
    Redirect::temporary("/bun")
}

async fn bake(headers: HeaderMap) -> &'static str {
    println!("bakery received {:?}", headers.get(X_TRANSACTION_ID));
    "a bun"
}

async fn serve(service: Router) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, service).into_future());
    Ok(address)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bakery = serve(Router::new().route("/bun", get(bake))).await?;
    let kitchen = Router::new()
        .route("/hot-dog", get(cook))
        .route("/bun", get(Redirect::temporary(&format!("http://{bakery}/bun"))));
    let kitchen = serve(kitchen).await?;

    // The kitchen is ours, and the bakery is not.
    let hosts = AllowedHosts::only([kitchen.to_string()])?;
    let mut client = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(InjectTransactionIdLayer::new(hosts))
        .layer(HttpClientLayer)
        .service(Client::builder().redirect(Policy::none()).build()?);

    let scope = TransactionIdScope::new(TransactionId::generate());
    println!("working on {}", scope.id());
    let request = Request::get(format!("http://{kitchen}/hot-dog")).body(Body::default())?;
    let call = async { client.ready().await?.call(request).await };
    let response = scope.bind(call).await?;
    let text = reqwest::Response::from(response).text().await?;
    println!("{text}");
    Ok(())
}
