//! The kitchen: a service, and a process, of its own.

use std::error::Error;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use sentry::Hub;
use sentry::protocol::Unit;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_transaction_id::{BindTransactionIdLayer, Failures};

use crate::child::closing_time;
use crate::menu::Dog;
use crate::telemetry::{self, COOKING};

/// Cooks until standard input ends: the input ends when the shop closes, and also when the shop is no
/// more.
pub(crate) fn run() -> Result<(), String> {
    let dsn = telemetry::dsn_from_env()?.ok_or("the kitchen is opened by the shop")?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let _sentry = telemetry::init("kitchen", dsn);
    runtime.block_on(serve()).map_err(|error| format!("the kitchen cannot serve: {error}"))
}

async fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, router()).with_graceful_shutdown(closing_time()).await
}

fn router() -> Router {
    Router::new()
        .route("/cook", post(cook))
        // A panic becomes a 500, and the connection lives on.
        .layer(CatchPanicLayer::new())
        // Added last, so this layer is outermost. The layer continues the trace of the storefront, and
        // reports each request that fails without an event. An error that `cook` captures by hand
        // stands for its request, and so does a panic: the layer does not report these requests again.
        .layer(
            BindTransactionIdLayer::new()
                .hub(Hub::main())
                .capture_failures(Failures::new())
                .measure_performance(true)
                .make_span_with(telemetry::request_span),
        )
}

async fn cook(Json(ticket): Json<Value>) -> Response {
    let Some(dog) = Dog::wanted(&ticket) else {
        let answer = json!({ "error": "not on the menu" });
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(answer)).into_response();
    };
    tracing::info!("one {dog} hot dog to cook");
    let started = Instant::now();
    match prepare(dog).await {
        Ok(()) => {
            let took = (started.elapsed().as_secs_f64() * 1000.0).round();
            sentry::metrics::distribution("cooking_time", took).unit(Unit::Millisecond).capture();
            Json(json!({ "cooked": dog.to_string() })).into_response()
        }
        Err(failure) => {
            // The layer would report the failed request, without a reason. Only this code knows the
            // error and its cause, so it captures both in an event of its own. The code sets no tag,
            // since the layer's scope has the tag.
            sentry::capture_error(&failure);
            let answer = json!({ "error": failure.to_string() });
            (StatusCode::INTERNAL_SERVER_ERROR, Json(answer)).into_response()
        }
    }
}

async fn prepare(dog: Dog) -> Result<(), DogNotServed> {
    step("bun warmed").await;
    step("sausage grilled").await;
    top(dog).map_err(|source| DogNotServed { dog, source })?;
    step("topped").await;
    Ok(())
}

async fn step(done: &str) {
    tokio::time::sleep(Duration::from_millis(60)).await;
    tracing::debug!(target: COOKING, "{done}");
}

/// Adds the mustard. Every hot dog but the artisanal one gets it from the bucket.
fn top(dog: Dog) -> Result<(), OutOfMustard> {
    match dog {
        Dog::Classic | Dog::Veggie | Dog::Lunar | Dog::Grilled => Ok(()),
        // A bug, as far as the kitchen is concerned.
        Dog::Chili => panic!("the chili boiled over"),
        Dog::Artisanal => Err(OutOfMustard { jar: "hand-ground, with figs" }),
    }
}

#[derive(Debug)]
struct DogNotServed {
    dog: Dog,
    source: OutOfMustard,
}

impl fmt::Display for DogNotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} hot dog today", self.dog)
    }
}

impl Error for DogNotServed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[derive(Debug)]
struct OutOfMustard {
    jar: &'static str,
}

impl fmt::Display for OutOfMustard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the mustard ({}) is used up", self.jar)
    }
}

impl Error for OutOfMustard {}
