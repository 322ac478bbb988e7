//! A job outlives the request that ordered it, passes through a queue as bytes, and is run by a
//! worker under the ID of that request.
//!
//! ```sh
//! cargo run --example jobs
//! ```

use std::error::Error;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::{Router, routing::post};
use sentry::{ClientOptions, Hub};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_transaction_id::messages::{BindMessageLayer, MessageContext, OutboundContext};
use tower_transaction_id::{BindTransactionIdLayer, TransactionId, X_TRANSACTION_ID};

/// Stands for a broker, or for a table of jobs. Both carry bytes, and neither carries a hub.
type Queue = UnboundedSender<Vec<u8>>;

async fn order(State(queue): State<Queue>, wish: String) -> StatusCode {
    let message = OutboundContext::new();
    let job = json!({ "transaction_id": message.id().as_str(), "wish": wish });
    match queue.send(job.to_string().into_bytes()) {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn work(mut queue: UnboundedReceiver<Vec<u8>>) {
    // Each job has a scope with its own hub, so the next job does not get its tag. The layer checks the ID
    // as it checks a header: another program, a person, or an older version may have written the job.
    let layer = BindMessageLayer::new("orders", |job: &Value| {
        MessageContext::of_id(job["transaction_id"].as_str())
    })
    .hub(Hub::main())
    .capture_errors(true)
    .read_errors(|error: &io::Error| error);
    let mut worker = ServiceBuilder::new().layer(layer).service_fn(cook);
    while let Some(message) = queue.recv().await {
        let job: Value = serde_json::from_slice(&message).unwrap_or_default();
        // The layer has reported an error. A real worker would give such a job back to its queue.
        let _ = worker.call(job).await;
    }
}

async fn cook(job: Value) -> io::Result<()> {
    sleep(Duration::from_millis(10)).await;
    println!("Worker: {} under {:?}", job["wish"], TransactionId::current());
    match job["wish"].as_str() {
        Some("hot-dog") => Ok(()),
        Some(wish) => Err(io::Error::other(format!("out of {wish}"))),
        None => Err(io::Error::other("an order of nothing")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A real service has a real DSN. This example prints each event, then drops the event.
    let options = ClientOptions::new().dsn("https://key@sentry.invalid/1").before_send(|event| {
        let error = event.exception.last().and_then(|error| error.value.as_deref());
        println!("Sentry: {:?}, tagged {:?}", error.unwrap_or_default(), event.tags);
        None
    });
    let _sentry = sentry::init(options);

    let (queue, jobs) = unbounded_channel();
    let shop = Router::new()
        .route("/orders", post(order))
        .with_state(queue.clone())
        .layer(BindTransactionIdLayer::new().hub(Hub::main()));

    for (id, wish) in [("monday-1", "hot-dog"), ("monday-2", "mustard")] {
        let request = Request::post("/orders").header(X_TRANSACTION_ID, id);
        let response = shop.clone().oneshot(request.body(Body::from(wish))?).await?;
        let echoed = response.headers().get(X_TRANSACTION_ID);
        println!("Shop: {wish:?} answered {}, echoed {echoed:?}", response.status());
    }
    // Another program adds two jobs: one without an ID, and one whose ID is invalid because of a bug.
    for job in [json!({ "wish": "relish" }), json!({ "wish": "rye", "transaction_id": "null" })] {
        queue.send(job.to_string().into_bytes())?;
    }

    println!("The requests are over; the jobs are not.");
    drop((shop, queue));
    work(jobs).await;
    Ok(())
}
