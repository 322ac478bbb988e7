//! The tracker: stores the envelopes that arrive.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;

use crate::net;
use crate::parcel;
use crate::world::World;

pub async fn run(world: World) -> turmoil::Result {
    world.start("tracker");
    let router = Router::new().route("/envelope", post(store)).with_state(Arc::new(world));
    net::serve(router).await
}

/// Stores a parcel. A parcel that comes again, since the answer was lost, counts once: Sentry knows events by
/// their IDs.
async fn store(State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let name = headers.get("x-parcel").and_then(|name| name.to_str().ok()).unwrap_or_default();
    let items = match parcel::read(&body) {
        Ok(items) => items,
        Err(error) => {
            world.violation(format!("the tracker cannot read {name}: {error}"));
            return StatusCode::BAD_REQUEST;
        }
    };
    let mut state = world.state();
    let Some(parcel) = state.ledger.parcels.get_mut(name) else {
        return StatusCode::BAD_REQUEST;
    };
    let line = match parcel.arrived {
        Some(_) => format!("{name} comes again"),
        None => format!("stores {name}"),
    };
    parcel.arrived.get_or_insert(items);
    state.log("tracker", &line);
    StatusCode::OK
}
