//! The queue: takes messages from the storefront, and hands each to the courier at least once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rand::Rng;
use serde_json::{Value, json};
use tower_transaction_id::X_TRANSACTION_ID;

use crate::net;
use crate::plan::dice;
use crate::world::World;

/// The time after which a message that is not acknowledged is handed out again.
const AGAIN_AFTER: Duration = Duration::from_millis(900);

/// The messages that wait for the courier.
#[derive(Default)]
pub struct Shelf {
    messages: VecDeque<Waiting>,
    count: u64,
}

struct Waiting {
    number: u64,
    message: Value,
    /// The time from which on it may be handed out.
    from: Duration,
    /// How often it is handed out without a pause.
    copies: u32,
}

impl Shelf {
    /// Returns the number of messages that the queue has taken.
    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

pub async fn run(world: World) -> turmoil::Result {
    world.start("queue");
    let router = Router::new()
        .route("/publish/{order}/{attempt}", post(publish))
        .route("/next", get(next))
        .route("/done/{number}", post(done))
        .with_state(Arc::new(world));
    net::serve(router).await
}

async fn publish(State(world): State<Arc<World>>, headers: HeaderMap, body: String) -> StatusCode {
    for name in [X_TRANSACTION_ID.as_str(), "sentry-trace", "baggage"] {
        world.check(!headers.contains_key(name), || format!("the queue got the header {name}"));
    }
    let Ok(message) = serde_json::from_str::<Value>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut state = world.state();
    state.shelf.count += 1;
    let number = state.shelf.count;
    let mut dice = dice(world.plan.seed, "queue", number);
    let (settings, from) = (&world.plan.settings, state.now);
    let key = message["key"].as_str().unwrap_or_default().to_owned();
    if dice.random_bool(settings.losses) {
        state.log("queue", &format!("loses message {number} of {key}"));
        state.ledger.lost_messages.insert(number, key);
    } else {
        let copies = if dice.random_bool(settings.duplicates) { 2 } else { 1 };
        state.log("queue", &format!("takes message {number} of {key}"));
        state.shelf.messages.push_back(Waiting { number, message, from, copies });
    }
    StatusCode::OK
}

async fn next(State(world): State<Arc<World>>) -> Response {
    let mut state = world.state();
    let now = state.now;
    let Some(waiting) = state.shelf.messages.iter_mut().find(|waiting| waiting.from <= now) else {
        return StatusCode::NO_CONTENT.into_response();
    };
    waiting.copies -= 1;
    if waiting.copies == 0 {
        waiting.copies = 1;
        waiting.from = now + AGAIN_AFTER;
    }
    let number = waiting.number;
    let answer = json!({ "number": number, "message": waiting.message }).to_string();
    state.log("queue", &format!("hands out message {number}"));
    answer.into_response()
}

async fn done(State(world): State<Arc<World>>, Path(number): Path<u64>) -> StatusCode {
    let mut state = world.state();
    state.shelf.messages.retain(|waiting| waiting.number != number);
    StatusCode::OK
}
