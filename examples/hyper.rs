//! A service and its client on hyper alone, without a framework.
//!
//! ```sh
//! cargo run --example hyper
//! ```

use std::convert::Infallible;
use std::error::Error;

use futures_util::stream;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::{client::legacy::Client, server::conn::auto, service::TowerToHyperService};
use sentry::{ClientOptions, Hub, Level, capture_message};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, InjectTransactionIdLayer, TransactionId,
    TransactionIdScope, X_TRANSACTION_ID,
};

/// Responds while the hot dog is still on the grill: an event captured in the body has the ID, too.
async fn cook(
    _: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let hot_dog = stream::once(async {
        capture_message("the bun is burnt", Level::Warning);
        Ok(Frame::data(Bytes::from("a hot dog, well done")))
    });
    Ok(Response::new(StreamBody::new(Box::pin(hot_dog))))
}

async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let kitchen = ServiceBuilder::new()
        .layer(BindTransactionIdLayer::new().hub(Hub::main()))
        .service_fn(cook);
    loop {
        let (stream, _) = listener.accept().await?;
        let kitchen = TowerToHyperService::new(kitchen.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(stream), kitchen).await
        });
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // A real service has a real DSN. This example prints each event, then drops the event.
    let options = ClientOptions::new().dsn("https://key@sentry.invalid/1").before_send(|event| {
        println!("Sentry: {:?}, tagged {:?}", event.message.unwrap_or_default(), event.tags);
        None
    });
    let _sentry = sentry::init(options);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(serve(listener));

    let mut client = ServiceBuilder::new()
        .layer(InjectTransactionIdLayer::new(AllowedHosts::only(["127.0.0.1"])?))
        .service(Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());

    println!("A call outside any scope:");
    let request = Request::get(&url).body(Empty::new())?;
    let response = client.ready().await?.call(request).await?;
    println!("generated ID: {:?}", response.extensions().get::<TransactionId>());
    println!("echoed: {:?}", response.headers().get(X_TRANSACTION_ID));
    println!("{:?}", response.into_body().collect().await?.to_bytes());

    println!("\nA call inside a scope:");
    let scope = TransactionIdScope::new("evening-shift-1".parse()?);
    let request = Request::get(&url).body(Empty::new())?;
    // The layer reads the current ID in `call`, so `call` has to run inside the scope, too.
    let call = async { client.ready().await?.call(request).await };
    let response = scope.bind(call).await?;
    println!("echoed: {:?}", response.headers().get(X_TRANSACTION_ID));
    println!("{:?}", response.into_body().collect().await?.to_bytes());
    Ok(())
}
