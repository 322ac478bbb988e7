//! A page watches its order as server-sent events, each of which names the ID. A step that fails is
//! captured under the ID.
//!
//! ```sh
//! cargo run --example events
//! ```
//!
//! The page:
//!
//! ```js
//! const order = new EventSource("/orders/mustard");
//! order.addEventListener("step", (event) => show(JSON.parse(event.data).text));
//! order.addEventListener("end", (event) => {
//!     order.close(); // or the browser connects again, which orders again, under another ID
//!     const { text, transaction_id } = JSON.parse(event.data);
//!     show(`${text}. Tell our support: ${transaction_id}`);
//! });
//! ```

use std::error::Error;
use std::io;

use axum::extract::Path;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use axum::{Router, routing::get};
use futures_util::stream::{self, Stream, StreamExt};
use sentry::{ClientOptions, Hub, capture_error};
use serde_json::json;
use tokio::net::TcpListener;
use tower_transaction_id::{BindTransactionIdLayer, TransactionId, X_TRANSACTION_ID};

/// The stream is the body of the response. The layer polls the body in the scope of the request, so
/// nothing is bound by hand.
pub(crate) async fn order(
    Path(wish): Path<String>,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let steps = stream::iter(["grill a sausage", "cut a bun", "add", "wrap"]);
    let events = steps.scan(false, move |has_failed, step| {
        let event = match cook(step, &wish) {
            _ if *has_failed => None,
            Ok(done) => Some(event("step", &done)),
            Err(error) => {
                *has_failed = true;
                capture_error(&error);
                // The status 200 was sent long ago. Only an event can say that the order failed.
                Some(event("end", "Sorry, not today"))
            }
        };
        std::future::ready(event)
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn cook(step: &str, wish: &str) -> io::Result<String> {
    match step {
        "add" => Err(io::Error::other(format!("out of {wish}"))),
        _ => Ok(step.to_owned()),
    }
}

/// Names the ID in the data, since an `EventSource` shows no header of the response to its page. The
/// field `id:` is not for it: the browser sends the last `id:` back when it connects again, and a server
/// continues its stream after that event. So `id:` numbers the events, where a stream can be continued.
fn event(name: &str, text: &str) -> Result<Event, axum::Error> {
    let id = TransactionId::current();
    let id = id.as_ref().map(TransactionId::as_str);
    Event::default().event(name).json_data(json!({ "text": text, TransactionId::TAG: id }))
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

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let shop = Router::new()
        .route("/orders/{wish}", get(order))
        .layer(BindTransactionIdLayer::new().hub(Hub::main()));
    tokio::spawn(axum::serve(listener, shop).into_future());

    // An `EventSource` cannot set a header, so the server generates the ID.
    let response = reqwest::get(format!("http://{address}/orders/mustard")).await?;
    println!("{}, echoed {:?}", response.status(), response.headers().get(X_TRANSACTION_ID));
    let mut body = response.bytes_stream();
    while let Some(bytes) = body.next().await {
        print!("{}", String::from_utf8_lossy(&bytes?));
    }
    Ok(())
}
