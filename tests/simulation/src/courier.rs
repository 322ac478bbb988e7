//! The courier: a worker that takes its messages from the queue.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use futures_util::FutureExt;
use rand::Rng;
use sentry::Level;
use serde_json::Value;
use tower::{Layer, ServiceExt, service_fn};
use tower_transaction_id::messages::{BindMessageLayer, MessageContext};

use crate::ledger::Key;
use crate::net;
use crate::plan::{Dog, dice};
use crate::process::Process;
use crate::visit::{Ending, Visit};
use crate::world::World;

/// How long a delivery may take, and an answer of the queue.
const PATIENCE: Duration = Duration::from_millis(700);

/// The number of deliveries at the same time.
const BAGS: usize = 3;

#[derive(Clone)]
struct Message {
    number: u64,
    pairs: Vec<(String, String)>,
    key: Key,
    dog: Option<Dog>,
    /// How often this message was handed out.
    delivery: u32,
}

pub async fn run(world: World) -> turmoil::Result {
    let process = Process::start("courier", &world);
    let read = |message: &Message| MessageContext::read(message.pairs.iter().map(|(n, v)| (n, v)));
    let layer = BindMessageLayer::new("deliveries", read)
        .hub(&process.hub)
        .capture_errors(true)
        .read_errors(|error: &NotDelivered| error)
        .measure_performance(true);
    let bags = Arc::new(tokio::sync::Semaphore::new(BAGS));
    loop {
        let bag = Arc::clone(&bags).acquire_owned().await?;
        let Some(message) = next(&world).await else {
            tokio::time::sleep(Duration::from_millis(40)).await;
            continue;
        };
        let (process, layer) = (Arc::clone(&process), layer.clone());
        tokio::task::spawn_local(async move {
            let _bag = bag;
            let number = message.number;
            let courier =
                layer.layer(service_fn(|message: Message| deliver(Arc::clone(&process), message)));
            let delivered = tokio::time::timeout(PATIENCE, courier.oneshot(message));
            // A panic, and a delivery that takes too long, leave the message to the next try.
            if let Ok(Ok(_)) = std::panic::AssertUnwindSafe(delivered).catch_unwind().await {
                let done = Request::post(format!("http://queue/done/{number}"))
                    .body(Body::empty())
                    .expect("a valid request");
                let _ = net::ask("queue", done, PATIENCE).await;
            }
        });
    }
}

/// Asks the queue for a message.
async fn next(world: &World) -> Option<Message> {
    let request = Request::get("http://queue/next").body(Body::empty()).expect("a valid request");
    let (200, body) = net::ask("queue", request, PATIENCE).await.ok()? else { return None };
    let answer: Value = serde_json::from_slice(&body).ok()?;
    let number = answer["number"].as_u64()?;
    let message = &answer["message"];
    let mut state = world.state();
    let delivery = state.ledger.deliveries.entry(number).or_default();
    *delivery += 1;
    Some(Message {
        number,
        pairs: serde_json::from_value(message["pairs"].clone()).ok()?,
        key: Key::parse(message["key"].as_str()?)?,
        dog: Dog::named(message["dog"].as_str()?),
        delivery: *delivery,
    })
}

async fn deliver(process: Arc<Process>, message: Message) -> Result<(), NotDelivered> {
    let Message { number, pairs, key, dog, delivery } = message;
    let id = pairs.iter().find(|(name, _)| name == "X-Transaction-ID");
    let visit = Visit::open(&process, key, id.map_or("", |(_, id)| id));
    let mut ending = Ending::of(&visit);
    let mut dice = dice(process.world.plan.seed, "courier", number);
    for step in ["bag packed", "bell rung"] {
        tokio::time::sleep(Duration::from_millis(dice.random_range(10..200))).await;
        visit.check(step);
        visit.crumb(step);
    }
    let outcome = match dog {
        Some(Dog::Lunar) => {
            visit.expect("failure");
            Err(NotDelivered)
        }
        Some(Dog::Upset) => {
            visit.error("dropped it");
            Err(NotDelivered)
        }
        Some(Dog::Slippery) if delivery == 1 => {
            visit.expect("panic");
            ending.done();
            panic!("{}", net::ON_PURPOSE);
        }
        _ => {
            visit.message(Level::Info, "delivered");
            visit.log("delivered, and a tip");
            Ok(())
        }
    };
    visit.note(&format!(
        "{key} ends, {}",
        if outcome.is_ok() { "delivered" } else { "not delivered" }
    ));
    ending.done();
    outcome
}

#[derive(Debug)]
struct NotDelivered;

impl fmt::Display for NotDelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the hot dog comes back cold")
    }
}

impl std::error::Error for NotDelivered {}
