//! The page: visitors who order, who leave, and who try again. Reports its own failures to the tracker.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rand::Rng;
use serde_json::json;
use tokio::task::JoinSet;
use tower_transaction_id::X_TRANSACTION_ID;

use crate::ledger::{Answer, Key, VisitRecord};
use crate::net::{self, BoxError};
use crate::plan::{Order, dice};
use crate::process::deliver;
use crate::world::World;

/// Lets all visitors order.
pub async fn run(world: World) -> turmoil::Result {
    let mut visitors = JoinSet::new();
    for order in world.plan.orders.clone() {
        let world = world.clone();
        visitors.spawn_local(async move {
            tokio::time::sleep(order.at).await;
            for attempt in 1..=order.attempts {
                let key = Key { order: order.number, attempt };
                if visit(&world, &order, key).await != End::Failed {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }
    while let Some(visitor) = visitors.join_next().await {
        visitor?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Served,
    /// The visitor left.
    Left,
    Failed,
}

async fn visit(world: &World, order: &Order, key: Key) -> End {
    let trace = order.traces.then(|| trace_of(world, key.order));
    let mut request = Request::post(format!("/orders/{}/{}", key.order, key.attempt))
        .header("host", "storefront");
    for id in order.sends.lines() {
        request = request.header(X_TRANSACTION_ID, id.as_bytes());
    }
    if order.is_partner {
        request = request.header("x-partner", "yes");
    }
    if let Some(trace) = &trace {
        request = request.header("sentry-trace", format!("{trace}-00000000000000aa"));
    }
    let request = request.body(Body::from(order.dog.name())).expect("a valid request");
    world.log("page", &format!("{key} orders {} with {:?}", order.dog.name(), order.sends));
    let asked = async {
        let response = net::exchange("storefront", request).await?;
        note_answer(world, key, &response);
        read(response, order.lines).await
    };
    let end = match tokio::time::timeout(order.patience, asked).await {
        Err(_) => End::Left,
        Ok(Err(error)) => {
            world.log("page", &format!("{key} breaks off: {error}"));
            End::Failed
        }
        Ok(Ok(end)) => end,
    };
    world.log("page", &format!("{key} ends: {end:?}"));
    if end == End::Failed {
        report(world, order, key, trace).await;
    }
    end
}

fn note_answer(world: &World, key: Key, response: &Response<Incoming>) {
    let ids = response.headers().get_all(X_TRANSACTION_ID).iter();
    let ids = ids.map(|id| id.to_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    let status = response.status().as_u16();
    let mut state = world.state();
    state.log("page", &format!("{key} is answered {status} under {ids:?}"));
    state.ledger.answers.insert(key, Answer { status, ids });
}

/// Reads the answer, or the number of lines after which the visitor leaves.
async fn read(response: Response<Incoming>, lines: Option<usize>) -> Result<End, BoxError> {
    let is_failure = response.status().is_server_error();
    let mut body = response.into_body();
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            text.push_str(&String::from_utf8_lossy(&data));
        }
        if lines.is_some_and(|lines| text.lines().count() > lines) {
            return Ok(End::Left);
        }
    }
    Ok(if is_failure || text.ends_with("failed\n") { End::Failed } else { End::Served })
}

/// Returns the trace of an order, which all its attempts share.
pub fn trace_of(world: &World, order: u32) -> String {
    format!("{:032x}", dice(world.plan.seed, "trace", order.into()).random::<u128>())
}

/// Reports a failure, as Sentry's SDK for browsers does, under the ID of the answer or, without an answer, under
/// the ID that the page sent.
async fn report(world: &World, order: &Order, key: Key, trace: Option<String>) {
    let answered =
        world.state().ledger.answers.get(&key).and_then(|answer| answer.ids.first().cloned());
    let Some(id) = answered.or_else(|| order.sends.valid().map(str::to_owned)) else {
        return;
    };
    let record = VisitRecord { process: "page", key, id: id.clone() };
    let name = format!("page/{key}");
    let serial = {
        let mut state = world.state();
        let serial = state.ledger.open(record);
        state.ledger.expected.insert((serial, "the order failed".to_owned()), 1);
        serial
    };
    let mut dice =
        dice(world.plan.seed, "event", u64::from(key.order) << 8 | u64::from(key.attempt));
    let event_id = format!("{:032x}", dice.random::<u128>());
    let mut event = json!({
        "event_id": event_id,
        "platform": "javascript",
        "level": "error",
        "message": "the order failed",
        "tags": {
            "process": "page",
            "visit": serial.to_string(),
            "order": key.to_string(),
            "transaction_id": id,
        },
    });
    if let Some(trace) = trace {
        event["contexts"]["trace"] =
            json!({ "type": "trace", "trace_id": trace, "span_id": "00000000000000aa" });
    }
    let lines = [json!({ "event_id": event_id }), json!({ "type": "event" }), event];
    let envelope = lines.map(|line| line.to_string()).join("\n").into_bytes();
    world.send_parcel("page", &name, &envelope);
    deliver(world, "page", &name, envelope).await;
}
