//! The storefront: takes orders from the page, has the kitchen cook them, and sends them out.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use reqwest::Url;
use sentry::Hub;
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::cors::CorsLayer;
use tower_transaction_id::messages::OutboundContext;
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, Failures, InjectTransactionIdLayer, X_TRANSACTION_ID,
};

use crate::menu::Dog;
use crate::queue::{Message, NotSent, Sender};
use crate::{assets, grill, telemetry, tunnel};

/// The headers of Sentry's traces.
const TRACE: [&str; 2] = ["sentry-trace", "baggage"];

static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The rest of the shop, as the storefront knows it.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) kitchen: Url,
    /// The queue to the courier.
    pub(crate) deliveries: Arc<Sender>,
    pub(crate) client_layer: bool,
    /// The origin of another page that may order here.
    pub(crate) cors: Option<HeaderValue>,
    /// The address at which the collector shows its stories.
    pub(crate) stories_url: Option<String>,
    /// The address at which the tracker shows an ID, with `{id}` in place of the ID.
    pub(crate) search_url: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Storefront {
    http: reqwest::Client,
    to_kitchen: BoxCloneSyncService<reqwest::Request, reqwest::Response, reqwest::Error>,
    surroundings: Surroundings,
}

impl Storefront {
    pub(crate) fn new(surroundings: Surroundings) -> Result<Self, Box<dyn Error>> {
        // No proxy leads to loopback.
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10));
        let http = http.build()?;
        let to_kitchen = if surroundings.client_layer {
            // Only the kitchen may know the ID. Another port of its host is not the kitchen, so the
            // list names the port, too.
            let kitchen = &surroundings.kitchen;
            let host = kitchen.host_str().unwrap_or_default();
            let port = kitchen.port_or_known_default().unwrap_or_default();
            let hosts = AllowedHosts::only([format!("{host}:{port}")])?;
            let layer = InjectTransactionIdLayer::new(hosts)
                // A failed call is an event of its own. For the grilled hot dog it is the storefront's
                // only event, since the answer began with 200.
                .capture_failures(Failures::new())
                .read_errors(|error: &reqwest::Error| error)
                // The kitchen continues the trace of the order.
                .propagate_trace(true);
            BoxCloneSyncService::new(ServiceBuilder::new().layer(layer).service(http.clone()))
        } else {
            BoxCloneSyncService::new(http.clone())
        };
        Ok(Self { http, to_kitchen, surroundings })
    }

    pub(crate) fn router(self) -> Router {
        let cors = self.surroundings.cors.clone().map(cors);
        let shop = Arc::new(self);
        let files = Router::new()
            .route("/", get(page))
            .route("/early.js", get(async || assets::script(assets::EARLY_SCRIPT)))
            .route("/ids.js", get(async || assets::script(assets::IDS_SCRIPT)))
            .route("/shop.js", get(async || assets::script(assets::SHOP_SCRIPT)))
            .route("/copy.js", get(async || assets::script(assets::COPY_SCRIPT)))
            .route("/icon.svg", get(async || assets::icon()))
            .route("/style.css", get(async || assets::style()))
            .route("/sentry.js", get(tunnel::sdk))
            .route("/settings", get(settings))
            .route("/tunnel", post(tunnel::forward))
            .layer(DefaultBodyLimit::max(tunnel::LARGEST_ENVELOPE))
            .with_state(Arc::clone(&shop))
            // Added last, so this layer is outermost: all of the above happens under the ID. The layer
            // reports each request that fails, in one place, so no handler has to think of reports.
            .layer(server());
        // The files of a page are not worth a performance transaction; an order is.
        let orders = Router::new()
            .route("/orders", post(order))
            .with_state(shop)
            .layer(server().measure_performance(true));
        let router = files.merge(orders);
        match cors {
            // The only layer that stands further out, since it answers preflights by itself.
            Some(cors) => router.layer(cors),
            None => router,
        }
    }

    /// Has a hot dog cooked, and sends it out. The courier delivers it after the answer.
    pub(crate) async fn serve(&self, dog: Dog) -> Result<Served, NotServed> {
        let served = self.cook(dog).await?;
        match self.send_out(dog).await {
            Ok(()) => Ok(served),
            Err(error) => {
                // The layer would report the failed request, without a reason.
                sentry::capture_error(&error);
                let why = "Your hot dog is ready, but no courier can be called.";
                Err(NotServed { why, kitchen_id: served.kitchen_id })
            }
        }
    }

    /// Puts the delivery into the queue. The message carries the ID and the trace as pairs of strings:
    /// that is all that the courier needs to report under the same ID.
    async fn send_out(&self, dog: Dog) -> Result<(), NotSent> {
        // A span is added to the performance transaction of the order.
        let outbound = OutboundContext::new().in_span("deliveries");
        let pairs = outbound.pairs().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let delivery = json!({ "dog": dog.to_string(), "address": dog.address() });
        let message = Message::new(pairs.collect(), delivery.to_string());
        let sent = self.surroundings.deliveries.send(message).await;
        outbound.finish(&sent);
        sent
    }

    async fn cook(&self, dog: Dog) -> Result<Served, NotServed> {
        let url = format!("{}/cook", self.surroundings.kitchen.as_str().trim_end_matches('/'));
        let request = self.http.post(url).json(&json!({ "dog": dog.to_string() })).build();
        let answered = match request {
            Ok(request) => self.to_kitchen.clone().oneshot(request).await,
            Err(error) => Err(error),
        };
        // Nothing is captured here, since the client layer reports the call that failed.
        let why = "The kitchen could not serve your order.";
        let Ok(response) = answered else { return Err(NotServed { why, kitchen_id: None }) };
        let echoed = response.headers().get(X_TRANSACTION_ID);
        let kitchen_id = echoed.and_then(|id| id.to_str().ok()).map(str::to_owned);
        if response.status().is_success() {
            Ok(Served { kitchen_id })
        } else {
            Err(NotServed { why, kitchen_id })
        }
    }
}

/// The one layer that a service needs.
fn server() -> BindTransactionIdLayer {
    BindTransactionIdLayer::new()
        .hub(Hub::main())
        .capture_failures(Failures::new())
        // The page reads its own ID, for errors while it loads and for the first order.
        .server_timing(true)
        .make_span_with(telemetry::request_span)
}

/// Lets a page of `origin` send the ID, and read the ID of the response, which the browser hides from
/// the page otherwise.
fn cors(origin: HeaderValue) -> CorsLayer {
    // Sentry's SDK sends these headers if the page traces its requests.
    let trace = TRACE.map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(
            [CONTENT_TYPE, X_TRANSACTION_ID].into_iter().chain(trace).collect::<Vec<_>>(),
        )
        .expose_headers([X_TRANSACTION_ID])
}

/// A hot dog that was served, under the ID that the kitchen echoed. The answer repeats this ID so that
/// the first order, and a curious reader, can compare; a shop of your own has no use for it.
pub(crate) struct Served {
    pub(crate) kitchen_id: Option<String>,
}

/// No hot dog: the kitchen or the queue failed, or cannot be reached.
pub(crate) struct NotServed {
    /// For the visitor.
    why: &'static str,
    pub(crate) kitchen_id: Option<String>,
}

/// Serves the page, and writes its trace beside the ID into `Server-Timing`, the only header of a page that its
/// scripts can read. The first order of a visit has the ID of the page load, and continues this trace.
async fn page() -> Response {
    tracing::info!("the page was loaded");
    let mut response = assets::html(assets::SHOP_PAGE);
    let headers = response.headers_mut();
    // A page out of a cache would have the ID of another page load.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let trace = OutboundContext::new().with_trace();
    for (name, value) in trace.pairs().filter(|(name, _)| TRACE.contains(name)) {
        // The trace of a caller is in here, too. A value that would end the quotes is left out.
        if !value.contains(['"', '\\'])
            && let Ok(metric) = HeaderValue::try_from(format!("{name};desc=\"{value}\""))
        {
            headers.append(&SERVER_TIMING, metric);
        }
    }
    response
}

async fn order(State(shop): State<Arc<Storefront>>, Json(order): Json<Value>) -> Response {
    let Some(dog) = Dog::wanted(&order) else {
        // The visitor's mistake, not ours: nothing to report.
        let answer = json!({ "error": "We do not sell that." });
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(answer)).into_response();
    };
    tracing::info!("ordered: one {dog} hot dog");
    if matches!(dog, Dog::Grilled) {
        return grill::answer(shop);
    }
    let served = shop.serve(dog).await;
    let status = if served.is_ok() { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
    (status, Json(answer(dog, served))).into_response()
}

/// Returns the answer to the page. For a streamed answer, this is the last line.
pub(crate) fn answer(dog: Dog, served: Result<Served, NotServed>) -> Value {
    match served {
        Ok(Served { kitchen_id }) => json!({ "served": dog.to_string(), "kitchenId": kitchen_id }),
        Err(NotServed { why, kitchen_id }) => json!({ "error": why, "kitchenId": kitchen_id }),
    }
}

async fn settings(State(shop): State<Arc<Storefront>>) -> Json<Value> {
    let Surroundings { stories_url, search_url, .. } = &shop.surroundings;
    Json(tunnel::settings(stories_url.as_deref(), search_url.as_deref()))
}
