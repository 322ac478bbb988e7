//! The layers of an axum service, in an order in which each response has the ID, failures included.
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

/// `tests/it/peers.rs` puts these layers around its own routes, and tests the claims of the comments.
pub(crate) fn with_full_stack(routes: Router) -> Router {
    // In axum, the layer that is added last is the outermost: read this from the bottom up.
    routes
        // More than 16 bytes of body: 413.
        .layer(RequestBodyLimitLayer::new(16))
        // More than 512 requests at once: 503, without a queue. "Global" is one limit for all routes.
        // The error of a shed request becomes a response here, inside the ID layer, and so gets the ID.
        .layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::SERVICE_UNAVAILABLE))
                .layer(LoadShedLayer::new())
                .layer(GlobalConcurrencyLimitLayer::new(512)),
        )
        // Slower than 300 ms: 504. The layer drops the handler; events captured in the drop have the ID.
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            Duration::from_millis(300),
        ))
        // A panic becomes a 500 here, inside the ID layer, and so the 500 has the ID.
        .layer(CatchPanicLayer::new())
        // Logs each request. The layer is outside the layers that respond by themselves, so it logs
        // 413, 500, 503 and 504, too. `on_failure(())` turns off its error line for each failure:
        // sentry-tracing would send that line as an event of level error. The event would count as
        // the report of the failure, in place of the report below, which names route and status.
        .layer(TraceLayer::new_for_http().on_failure(()))
        // A page of another origin may send the ID, and may read the ID. The layer is outside the
        // layers that can fail, so the page can read a failure, too. It answers preflights by itself.
        .layer(
            CorsLayer::new()
                .allow_origin(Any)
                .allow_headers([CONTENT_TYPE, X_TRANSACTION_ID])
                .expose_headers([X_TRANSACTION_ID]),
        )
        // The ID layer is outermost, so each response has the ID, preflights included. Log lines get
        // the ID from the span; Sentry's events, transactions and reports get it from the hub. A 503
        // is not reported: a full shop would send an event for each customer it turns away.
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
    // A real service has a real DSN, and sets `traces_sample_rate`. This example prints each event,
    // then drops the event.
    let options = ClientOptions::new().dsn("https://key@sentry.invalid/1").before_send(|event| {
        let panic = event.exception.last().and_then(|panic| panic.value.clone());
        let text = event.message.or(panic).unwrap_or_default();
        println!("  Sentry: {text:?}, tagged {:?}", event.tags);
        None
    });
    // The integration is added last. It puts the ID on Sentry's logs and metrics, which have no tags,
    // and the origin of the ID on events.
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
