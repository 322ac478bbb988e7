//! Orders over NATS: a shop publishes each order with the ID and the trace of its request, and a worker in
//! another process handles the orders concurrently, each in a scope of its own.
//!
//! ```sh
//! nats-server --jetstream --store_dir /tmp/nats    # on Debian: apt-get install nats-server
//! cargo broker nats worker
//! cargo broker nats shop
//! curl -i --json '{"dog": "artisanal"}' http://127.0.0.1:3000/orders
//! ```
//!
//! The programs use JetStream, since NATS without it has no acknowledgement: an order is kept until a worker
//! has acknowledged it, and is delivered again if the worker refuses it or is killed. The headers of an order
//! are kept with it, so each delivery has the same ID.
//!
//! Settings, in the environment: `BROKER` and `LISTEN` (addresses), `SENTRY_DSN`, `TRACES_SAMPLE_RATE`, and
//! `COOKING_SECONDS`.

mod kitchen;

use std::time::Duration;

use async_nats::connection::State as Connection;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Context, Message, stream};
use async_nats::{Client, HeaderMap};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router, routing::post};
use futures_util::{StreamExt, TryStreamExt};
use sentry::Hub;
use tokio::{net::TcpListener, runtime::Runtime};
use tower::{ServiceBuilder, ServiceExt};
use tower_transaction_id::BindTransactionIdLayer;
use tower_transaction_id::messages::{BindMessageLayer, MessageContext, OutboundContext};

use kitchen::{NotServed, Order, answer, asked_to_end, cook, setting, start_sentry};

/// The stream and its subject.
const ORDERS: &str = "orders";
/// The number of orders that the worker cooks at a time.
const STOVES: u16 = 25;
const DELIVERIES: i64 = 3;
/// JetStream delivers an order again if it is not acknowledged within this time.
const LONGEST_ORDER: Duration = Duration::from_secs(8);

fn main() -> Result<(), async_nats::Error> {
    let role = std::env::args().nth(1).unwrap_or_default();
    let _sentry = start_sentry(&role)?;
    Runtime::new()?.block_on(async {
        let client = async_nats::connect(setting("BROKER", "nats://127.0.0.1:4222")).await?;
        let mut queue = jetstream::new(client);
        queue.set_timeout(Duration::from_secs(2));
        let config = stream::Config {
            name: ORDERS.to_owned(),
            // An order is removed once it is acknowledged.
            retention: stream::RetentionPolicy::WorkQueue,
            ..stream::Config::default()
        };
        let orders = queue.get_or_create_stream(config).await?;
        match &*role {
            "shop" => serve(queue).await,
            "worker" => work(orders, queue.client()).await,
            _ => Err("the first argument is neither `shop` nor `worker`".into()),
        }
    })
}

async fn serve(queue: Context) -> Result<(), async_nats::Error> {
    let layer = BindTransactionIdLayer::new().hub(Hub::main()).measure_performance(true);
    let app = Router::new().route("/orders", post(order)).with_state(queue).layer(layer);
    let listener = TcpListener::bind(setting("LISTEN", "127.0.0.1:3000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn order(State(queue): State<Context>, Json(order): Json<Order>) -> (StatusCode, String) {
    let message = OutboundContext::new().in_span(ORDERS);
    let id = message.id().clone();
    let sent = publish(&queue, &message, order).await;
    message.finish(&sent);
    answer(&id, sent)
}

async fn publish(
    queue: &Context,
    message: &OutboundContext,
    order: Order,
) -> Result<(), async_nats::Error> {
    // The client would keep the order, and send it after our answer that we did not take it.
    if queue.client().connection_state() != Connection::Connected {
        return Err("NATS is down".into());
    }
    let mut headers = HeaderMap::new();
    for (name, value) in message.pairs() {
        headers.insert(name, value);
    }
    // The first wait is for the sending, the second for JetStream's answer that it keeps the order.
    queue.publish_with_headers(ORDERS, headers, order.dog.into()).await?.await?;
    Ok(())
}

async fn work(orders: stream::Stream, client: Client) -> Result<(), async_nats::Error> {
    let config = pull::Config {
        durable_name: Some("kitchen".to_owned()),
        ack_wait: LONGEST_ORDER,
        max_deliver: DELIVERIES,
        // No order waits here for a stove, while its time runs.
        max_ack_pending: STOVES.into(),
        ..pull::Config::default()
    };
    let kitchen: PullConsumer = orders.get_or_create_consumer("kitchen", config).await?;
    let layer = BindMessageLayer::new(ORDERS, context_of)
        .hub(Hub::main())
        .capture_errors(true)
        .read_errors(|error: &NotServed| error)
        .measure_performance(true);
    let cook = ServiceBuilder::new()
        .layer(layer)
        .service_fn(async |order: Message| cook(&String::from_utf8_lossy(&order.payload)).await);
    println!("waiting for orders");
    let orders = kitchen.messages().await?.map_err(Into::into).take_until(asked_to_end());
    let each = |order: Message| {
        let served = cook.clone().oneshot(order.clone());
        async move {
            let answer = match served.await {
                Ok(()) => AckKind::Ack,
                Err(why) if why.is_final() => AckKind::Term,
                // JetStream delivers the order again in a second. The layer reads the same ID then.
                Err(_) => AckKind::Nak(Some(Duration::from_secs(1))),
            };
            order.ack_with(answer).await
        }
    };
    orders.try_for_each_concurrent(usize::from(STOVES), each).await?;
    // The client sends acknowledgements in the background.
    Ok(client.flush().await?)
}

/// Reads the headers of an order. Another program may have set a header twice, or in another case.
fn context_of(order: &Message) -> MessageContext {
    let headers = order.headers.iter().flat_map(HeaderMap::iter);
    MessageContext::read(
        headers.flat_map(|(name, values)| values.iter().map(move |value| (name, value))),
    )
}
