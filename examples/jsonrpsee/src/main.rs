//! A client orders over one connection, and each order has an ID of its own.
//!
//! ```sh
//! cargo run --manifest-path examples/jsonrpsee/Cargo.toml
//! ```

use std::error::Error;

use jsonrpsee::core::client::{ClientT, SubscriptionClientT};
use jsonrpsee::core::params::{BatchRequestBuilder, ObjectParams};
use jsonrpsee_example::{connect, start};
use sentry::test::TestTransport;
use sentry::{ClientOptions, Hub};
use serde_json::Value;
use tower_transaction_id::{TransactionId, TransactionIdScope};

fn order(wish: &str) -> Result<ObjectParams, serde_json::Error> {
    let mut params = ObjectParams::new();
    params.insert("wish", wish)?;
    Ok(params)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A real service has a real DSN and transport. This example prints each event, then drops the event.
    let options = ClientOptions::new()
        .dsn("https://key@sentry.invalid/1")
        .transport(TestTransport::new())
        .before_send(|event| {
            println!("Sentry: {:?}, tagged {:?}", event.message.unwrap_or_default(), event.tags);
            None
        });
    let _sentry = sentry::init(options);

    let (shop, server) = start(&Hub::main()).await?;
    let client = connect(shop, &"visit-42".parse()?).await?;

    // Inside a scope, a call carries the ID of the scope.
    let work = TransactionIdScope::new("order-1".parse()?);
    let answer: Result<Value, _> =
        work.bind(async { client.request("order", order("mustard")?).await }).await;
    println!("The client got {answer:?}");

    // Outside a scope, each call has a new ID, and so has each call of a batch.
    let mut batch = BatchRequestBuilder::new();
    for wish in ["pickles", "relish"] {
        batch.insert("order", order(wish)?)?;
    }
    for answer in client.batch_request::<Value>(batch).await? {
        println!("The client got {answer:?}");
    }

    // A message that the server pushes carries an ID as well. The client does its part under this ID.
    let mut watched = client.subscribe::<Value, _>("watch", ObjectParams::new(), "unwatch").await?;
    for _ in 0..2 {
        let message = watched.next().await.ok_or("the shop is closed")??;
        let id = message[TransactionId::TAG].as_str().unwrap_or_default().parse();
        TransactionIdScope::new(id.unwrap_or_else(|_| TransactionId::generate())).run(|| {
            println!("{} under {:?}", message["news"], TransactionId::current());
        });
    }

    server.stop()?;
    Ok(())
}
