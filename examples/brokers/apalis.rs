//! Orders over Redis, with apalis: a shop pushes each order as a task whose metadata has the ID and the trace
//! of the request, and a worker in another process has `BindMessageLayer` among its Tower layers.
//!
//! ```sh
//! redis-server                                     # on Debian: apt-get install redis-server
//! cargo broker apalis worker
//! cargo broker apalis shop
//! curl -i --json '{"dog": "artisanal"}' http://127.0.0.1:3000/orders
//! ```
//!
//! Redis keeps the metadata with the task, so each attempt has the same ID: also if the task is scheduled
//! again after an error, and if another worker takes over the tasks of one that was killed.
//!
//! Settings, in the environment: `BROKER` and `LISTEN` (addresses), `SENTRY_DSN`, `TRACES_SAMPLE_RATE`, and
//! `COOKING_SECONDS`.

mod kitchen;

use std::error::Error;
use std::process;
use std::time::Duration;

use apalis::prelude::*;
use apalis_redis::{Config, RedisStorage};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router, routing};
use sentry::Hub;
use tokio::{net::TcpListener, runtime::Runtime, time::timeout};
use tower_transaction_id::BindTransactionIdLayer;
use tower_transaction_id::messages::{BindMessageLayer, MessageContext, OutboundContext};

use kitchen::{Order, answer, asked_to_end, setting, start_sentry};

const ORDERS: &str = "orders";
/// The number of orders that the worker cooks at a time.
const STOVES: usize = 25;
const ATTEMPTS: usize = 2;
const LONGEST_PUSH: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let role = std::env::args().nth(1).unwrap_or_default();
    let _sentry = start_sentry(&role)?;
    Runtime::new()?.block_on(async {
        let redis = apalis_redis::connect(setting("BROKER", "redis://127.0.0.1:6379")).await?;
        // A worker counts as dead after three seconds without a sign of life.
        let config = Config::default()
            .queue(ORDERS)
            .heartbeat_interval(Duration::from_secs(1))
            .missed_heartbeats(3);
        let orders = RedisStorage::new(redis).with_config(config);
        match &*role {
            "shop" => serve(orders).await,
            "worker" => work(orders).await,
            _ => Err("the first argument is neither `shop` nor `worker`".into()),
        }
    })
}

async fn serve(orders: RedisStorage<Order>) -> Result<(), Box<dyn Error>> {
    let layer = BindTransactionIdLayer::new().hub(Hub::main()).measure_performance(true);
    let app = Router::new().route("/orders", routing::post(order)).with_state(orders).layer(layer);
    let listener = TcpListener::bind(setting("LISTEN", "127.0.0.1:3000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn order(
    State(mut orders): State<RedisStorage<Order>>,
    Json(order): Json<Order>,
) -> (StatusCode, String) {
    let message = OutboundContext::new().in_span(ORDERS);
    let id = message.id().clone();
    let metadata = message.pairs().collect::<MetadataStore>();
    let task = TaskBuilder::new(order).with_metadata(metadata).build();
    // Without this limit, an order would wait for several attempts to connect to Redis.
    let sent = match timeout(LONGEST_PUSH, orders.push_task(task)).await {
        Ok(sent) => sent.map_err(BoxDynError::from),
        Err(late) => Err(late.into()),
    };
    message.finish(&sent);
    answer(&id, sent)
}

async fn work(orders: RedisStorage<Order>) -> Result<(), Box<dyn Error>> {
    let layer = BindMessageLayer::new(ORDERS, context_of)
        .hub(Hub::main())
        .capture_errors(true)
        .read_errors(|error: &BoxDynError| &**error)
        .measure_performance(true);
    println!("waiting for orders");
    WorkerBuilder::new(format!("kitchen-{}", process::id()))
        .backend(orders.poll_with_interval(Duration::from_millis(100)))
        .concurrency(STOVES)
        // The first layer is the outermost. If you use apalis' `retry`, add it before this line, so that each
        // of its attempts has a scope and a report.
        .layer(layer)
        .build(cook)
        .run_until(asked_to_end())
        .await?;
    Ok(())
}

/// Fails with an error that makes apalis schedule the order again, or with one that does not.
async fn cook(order: Order, attempt: Attempt) -> Result<(), BoxDynError> {
    match kitchen::cook(&order.dog).await {
        // After any other error, apalis-redis schedules an order again, up to 25 times.
        Err(why) if why.is_final() || attempt.current() >= ATTEMPTS => {
            Err(AbortError::new(why).into())
        }
        served => Ok(served?),
    }
}

fn context_of(order: &Task<Order>) -> MessageContext {
    MessageContext::from(order.metadata().as_map())
}
