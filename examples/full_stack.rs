//! The layers of an axum service in the order that keeps the ID on all that can go wrong.
//!
//! ```sh
//! cargo run --example full_stack
//! ```

use std::{error::Error, time::Duration};

use axum::error_handling::HandleErrorLayer;
use axum::http::{Method, StatusCode, header::CONTENT_TYPE};
use axum::{BoxError, Router, routing::post};
use sentry::{ClientOptions, Hub};
use tokio::{net::TcpListener, time::sleep};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_transaction_id::{
    BindTransactionIdLayer, Failures, TransactionIdIntegration, X_TRANSACTION_ID,
};

async fn order(wish: String) -> &'static str {
    match wish.as_str() {
        "panic" => panic!("out of mustard"),
        "slow" => sleep(Duration::from_secs(60)).await,
        _ => {}
    }
    "enjoy"
}

fn shop() -> Router {
    with_full_stack(Router::new().route("/orders", post(order)))
}

/// Also put around routes of its own by `tests/it/peers.rs`, which holds it to what is said here.
pub(crate) fn with_full_stack(routes: Router) -> Router {
    // In axum, the layer that is added last is the outermost: read this from the bottom up.
    routes
        // Too much to read: 413.
        .layer(RequestBodyLimitLayer::new(16))
        // Too many at once: 503, without a queue. One limit for all routes, hence "global"; the
        // error of the shed request becomes a response right here, where it still has its ID.
        .layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::SERVICE_UNAVAILABLE))
                .layer(LoadShedLayer::new())
                .layer(GlobalConcurrencyLimitLayer::new(512)),
        )
        // Too slow: 504. It drops the handler, and what that captures in its drop has the ID.
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            Duration::from_millis(300),
        ))
        // A panic becomes a 500 here, inside of the ID, and so it is answered with it.
        .layer(CatchPanicLayer::new())
        // A line for each request. Outside of the layers that answer by themselves, so that 413, 500,
        // 503 and 504 are logged, too. Its own line on each failure would be an error: with
        // sentry-tracing, that event would stand for the failure, in place of the report below, which
        // names route and status.
        .layer(TraceLayer::new_for_http().on_failure(()))
        // A page of another origin may send the ID, and may read it. Outside of what can fail, so
        // that a failure can be read, too. It answers preflights by itself.
        .layer(
            CorsLayer::new()
                .allow_origin(Any)
                .allow_headers([CONTENT_TYPE, X_TRANSACTION_ID])
                .expose_headers([X_TRANSACTION_ID]),
        )
        // The ID: outermost, so that there is no answer without it, preflights included. Log lines have
        // it from the span, and Sentry's events, transactions and reports from the hub. Not every 503
        // is worth an event: when the shop is full, Sentry would hear it a thousand times.
        .layer(
            BindTransactionIdLayer::new()
                .hub(Hub::main())
                .capture_failures(Failures::new().statuses([500..=502, 504..=599]))
                .measure_performance(true)
                .make_span_with(|request, id| {
                    let (method, path) = (request.method(), request.uri().path());
                    tracing::info_span!("request", %method, path, transaction_id = %id)
                }),
        )
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Yours has a real DSN, and a rate of traces. Here each event is printed, and then dropped.
    let options = ClientOptions::new().dsn("https://key@sentry.invalid/1").before_send(|event| {
        let panic = event.exception.last().and_then(|panic| panic.value.clone());
        let text = event.message.or(panic).unwrap_or_default();
        println!("  Sentry: {text:?}, tagged {:?}", event.tags);
        None
    });
    // Last: the ID on logs and metrics, which have no tags, and where it came from on events.
    let _sentry = sentry::init(options.add_integration(TransactionIdIntegration::new()));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, shop()).into_future());

    println!("One of these requests panics, and the panic is printed: that is part of the show.");
    for (id, method, path, wish) in [
        ("ok", Method::POST, "/orders", "hot-dog"),
        ("not-found", Method::POST, "/nowhere", "hot-dog"),
        ("too-large", Method::POST, "/orders", "all the hot dogs of the world"),
        ("panic", Method::POST, "/orders", "panic"),
        ("timeout", Method::POST, "/orders", "slow"),
        ("preflight", Method::OPTIONS, "/orders", ""),
    ] {
        println!("{id}:");
        let request = reqwest::Client::new().request(method, format!("{url}{path}")).body(wish);
        let request = request.header("Origin", "http://page.example").header(X_TRANSACTION_ID, id);
        let response = request.header("Access-Control-Request-Method", "POST").send().await?;
        let echoed = response.headers().get(X_TRANSACTION_ID);
        println!("  status {}, echoed {echoed:?}", response.status().as_u16());
    }
    Ok(())
}
