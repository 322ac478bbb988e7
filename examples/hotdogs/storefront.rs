//! The storefront: takes orders from the page and has the kitchen cook them.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use sentry::Breadcrumb;
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::trace::TraceLayer;
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, InjectTransactionIdLayer, MakeTransactionIdSpan,
    X_TRANSACTION_ID,
};

use crate::menu::Dog;
use crate::{assets, tunnel};

/// What the storefront knows: the way to the kitchen, and where the stories are shown.
#[derive(Debug)]
pub(crate) struct Storefront {
    http: reqwest::Client,
    to_kitchen: BoxCloneSyncService<reqwest::Request, reqwest::Response, reqwest::Error>,
    cook_url: String,
    stories_url: Option<String>,
}

impl Storefront {
    pub(crate) fn new(
        kitchen: SocketAddr,
        client_layer: bool,
        stories_url: Option<String>,
    ) -> Result<Self, reqwest::Error> {
        // No proxy leads to loopback.
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10));
        let http = http.build()?;
        let to_kitchen = if client_layer {
            // The kitchen may know the ID. A host that is not named here would not get it.
            let layer = InjectTransactionIdLayer::new(AllowedHosts::only(["127.0.0.1"]));
            let client = ServiceBuilder::new().layer(layer).service(http.clone());
            BoxCloneSyncService::new(client)
        } else {
            BoxCloneSyncService::new(http.clone())
        };
        let cook_url = format!("http://{kitchen}/cook");
        Ok(Self { http, to_kitchen, cook_url, stories_url })
    }

    pub(crate) fn router(self) -> Router {
        let trace = TraceLayer::new_for_http().make_span_with(MakeTransactionIdSpan::new());
        Router::new()
            .route("/", get(async || assets::html(assets::SHOP_PAGE)))
            .route("/shop.js", get(async || assets::script(assets::SHOP_SCRIPT)))
            .route("/copy.js", get(async || assets::script(assets::COPY_SCRIPT)))
            .route("/icon.svg", get(async || assets::icon()))
            .route("/style.css", get(async || assets::style()))
            .route("/sentry.js", get(tunnel::sdk))
            .route("/settings", get(settings))
            .route("/tunnel", post(tunnel::forward))
            .layer(DefaultBodyLimit::max(tunnel::LARGEST_ENVELOPE))
            .route("/orders", post(order))
            .with_state(Arc::new(self))
            .layer(trace)
            // Added last, and so outermost: all of the above happens under the ID.
            .layer(BindTransactionIdLayer::new())
    }

    async fn cook(&self, dog: Dog) -> Result<Cooked, CookingFailed> {
        let ticket = json!({ "dog": dog.to_string() });
        let request = self.http.post(&self.cook_url).json(&ticket).build()?;
        let response = self.to_kitchen.clone().oneshot(request).await?;
        let status = response.status();
        let echoed = response.headers().get(X_TRANSACTION_ID);
        let kitchen_id = echoed.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let answer: Value = response.json().await?;
        if status.is_success() {
            return Ok(Cooked { kitchen_id });
        }
        let reason = answer["error"].as_str().unwrap_or("no reason given").to_owned();
        Err(CookingFailed::KitchenFailed { status: status.as_u16(), reason, kitchen_id })
    }
}

async fn order(State(shop): State<Arc<Storefront>>, Json(order): Json<Value>) -> Response {
    let Some(dog) = Dog::wanted(&order) else {
        // The visitor's mistake, not ours: nothing to report.
        let answer = json!({ "error": "We do not sell that." });
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(answer)).into_response();
    };
    tracing::info!("an order for one {dog} hot dog");
    sentry::add_breadcrumb(Breadcrumb {
        category: Some("order".to_owned()),
        message: Some(format!("one {dog} hot dog")),
        ..Breadcrumb::default()
    });
    match shop.cook(dog).await {
        Ok(Cooked { kitchen_id }) => {
            let answer = json!({ "served": dog.to_string(), "kitchenId": kitchen_id });
            Json(answer).into_response()
        }
        Err(failure) => {
            // No tag to set here: the layer's scope has it.
            sentry::capture_error(&failure);
            let answer = json!({
                "error": "The kitchen could not serve your order.",
                "kitchenId": failure.kitchen_id(),
            });
            (StatusCode::BAD_GATEWAY, Json(answer)).into_response()
        }
    }
}

async fn settings(State(shop): State<Arc<Storefront>>) -> Json<Value> {
    Json(tunnel::settings(shop.stories_url.as_deref()))
}

struct Cooked {
    kitchen_id: Option<String>,
}

#[derive(Debug)]
enum CookingFailed {
    KitchenFailed { status: u16, reason: String, kitchen_id: Option<String> },
    KitchenUnreachable { source: reqwest::Error },
}

impl CookingFailed {
    /// The ID that the kitchen worked under, for the reader who wants to compare.
    fn kitchen_id(&self) -> Option<&str> {
        match self {
            Self::KitchenFailed { kitchen_id, .. } => kitchen_id.as_deref(),
            Self::KitchenUnreachable { .. } => None,
        }
    }
}

impl From<reqwest::Error> for CookingFailed {
    fn from(source: reqwest::Error) -> Self {
        Self::KitchenUnreachable { source }
    }
}

impl fmt::Display for CookingFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KitchenFailed { status, reason, .. } => {
                write!(f, "the kitchen answered {status}: {reason}")
            }
            Self::KitchenUnreachable { .. } => f.write_str("no usable answer from the kitchen"),
        }
    }
}

impl Error for CookingFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::KitchenFailed { .. } => None,
            Self::KitchenUnreachable { source } => Some(source),
        }
    }
}
