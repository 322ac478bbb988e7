//! The grilled hot dog: an answer that takes its time. The storefront writes the answer while the page
//! reads it, long after the handler returned, and the ID holds all the same.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use sentry::Level;
use serde_json::json;

use crate::menu::Dog;
use crate::storefront::{self, Storefront};
use crate::telemetry::COOKING;

const TURNS: u32 = 8;
const TURN: Duration = Duration::from_millis(750);

/// Answers with one line of JSON for each turn, and a last line for the outcome.
pub(crate) fn answer(shop: Arc<Storefront>) -> Response {
    let grill = Grill { shop, turns: 0, customer: Customer { waits: true } };
    let lines = Body::from_stream(stream::unfold(grill, Grill::next_line));
    ([(CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
}

struct Grill {
    shop: Arc<Storefront>,
    turns: u32,
    customer: Customer,
}

impl Grill {
    async fn next_line(mut self) -> Option<(Result<String, Infallible>, Self)> {
        if !self.customer.waits {
            return None;
        }
        if self.turns > 0 {
            tokio::time::sleep(TURN).await;
        }
        let line = if self.turns < TURNS {
            self.turns += 1;
            if self.turns == 1 {
                tracing::info!("the first line of the answer");
            }
            tracing::debug!(target: COOKING, "turn {} of {TURNS}", self.turns);
            json!({ "progress": format!("on the grill, {} of {TURNS}", self.turns) })
        } else {
            // The kitchen adds the bun, and the courier brings it. The body makes this call and
            // sends this message, after the handler returned, and both have the ID, too.
            let served = self.shop.serve(Dog::Grilled).await;
            self.customer.waits = false;
            // The performance transaction of the order ends after this line, not with the head of the answer.
            tracing::info!("the last line of the answer");
            storefront::answer(Dog::Grilled, served)
        };
        Some((Ok(format!("{line}\n")), self))
    }
}

/// The customer who waits for the answer. A customer who leaves closes the connection, and the server
/// drops the unfinished body, `Customer` included. The drop happens inside the scope of the request, so
/// that even its event has the ID.
struct Customer {
    waits: bool,
}

impl Drop for Customer {
    fn drop(&mut self) {
        if self.waits {
            sentry::capture_message("order abandoned", Level::Warning);
        }
    }
}
