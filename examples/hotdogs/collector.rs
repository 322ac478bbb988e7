//! A stand-in for Sentry: takes the envelopes of the SDKs and shows them as stories. The collector
//! drops a report without a transaction ID, since the report belongs to no story.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};

use crate::story::{Stories, Story};
use crate::{assets, envelope};

const LARGEST_ENVELOPE: usize = 1024 * 1024;

/// `shop` is the address of the shop's page, to which the page of stories leads back.
pub(crate) fn router(stories: Arc<Stories>, shop: &str) -> Router {
    let settings = Json(json!({ "shop": shop }));
    Router::new()
        .route("/api/{project}/envelope/", post(take))
        .layer(DefaultBodyLimit::max(LARGEST_ENVELOPE))
        .route("/live", get(live))
        .route("/", get(async || assets::html(assets::STORIES_PAGE)))
        .route("/stories.js", get(async || assets::script(assets::STORIES_SCRIPT)))
        .route("/search.js", get(async || assets::script(assets::SEARCH_SCRIPT)))
        .route("/settings", get(async move || settings.clone()))
        .route("/copy.js", get(async || assets::script(assets::COPY_SCRIPT)))
        .route("/icon.svg", get(async || assets::icon()))
        .route("/style.css", get(async || assets::style()))
        .with_state(stories)
}

/// Takes an envelope of an SDK. The answer comes after the envelope was read: once a client has
/// flushed, its part of the story is there.
async fn take(State(stories): State<Arc<Stories>>, headers: HeaderMap, body: Bytes) -> Response {
    // Neither the Rust SDK nor the browser SDK compresses its envelopes, so nothing here unpacks them.
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    for (id, entry) in envelope::entries(&body) {
        stories.add(id, entry);
    }
    Json(json!({})).into_response()
}

/// Sends every story until now, and then each story that changes. A page that falls behind loses its
/// connection: it connects again, and receives all the stories.
async fn live(
    State(stories): State<Arc<Stories>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (kept, news) = stories.follow();
    let news = BroadcastStream::new(news).map_while(Result::ok);
    let events = tokio_stream::iter(kept)
        .chain(news)
        .map(|story: Story| Ok(Event::default().event("story").data(story.to_json().to_string())));
    Sse::new(events).keep_alive(KeepAlive::default())
}
