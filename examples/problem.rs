//! Error answers that name the transaction ID: a body of JSON for programs, a page for people.
//!
//! ```sh
//! cargo run --example problem              # sends some requests, and checks the answers
//! cargo run --example problem -- --serve   # stays open for a browser
//! ```
//!
//! `problem/answers.rs` writes the bodies. Visitors read the ID there, and support finds in Sentry the
//! details that visitors may not see.

#[path = "problem/answers.rs"]
mod answers;
#[path = "problem/story.rs"]
mod story;

use std::any::Any;
use std::error::Error;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::{Router, middleware, routing::get};
use sentry::{ClientOptions, Hub};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_transaction_id::{BindTransactionIdLayer, Failures};

use answers::Problem;

async fn hot_dog(Path(name): Path<String>) -> Result<&'static str, Problem> {
    match name.as_str() {
        "classic" => Ok("enjoy"),
        "chili" => panic!("the pot boiled over"),
        "artisanal" => {
            // Sentry has the cause, and the visitor has the ID.
            sentry::capture_error(&std::io::Error::other("no fig mustard in cellar 7"));
            Err(Problem {
                kind: "https://shop.example/problems/sold-out",
                title: "Sold out".into(),
                detail: "The artisanal hot dog is sold out. You have paid nothing.".into(),
                status: StatusCode::INTERNAL_SERVER_ERROR,
            })
        }
        // The words of the visitor, in a page: they are escaped there.
        other => Err(Problem {
            detail: format!("We have no hot dog of the name {other}.").into(),
            ..Problem::of(StatusCode::NOT_FOUND)
        }),
    }
}

/// The answer to a panic is like that to any other error. Its message is not for the visitor.
fn panicked(_message: Box<dyn Any + Send>) -> Response {
    Problem::of(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}

fn shop() -> Router {
    Router::new()
        .route("/", get(async || Html(include_str!("problem/menu.html"))))
        .route("/dogs/{name}", get(hot_dog))
        // In axum, the layer that is added last is the outermost: read this from the bottom up.
        .layer(CatchPanicLayer::custom(panicked))
        // Inside the ID layer, and so the bodies can name the ID. Outside all that can fail.
        .layer(middleware::from_fn(answers::describe))
        .layer(BindTransactionIdLayer::new().hub(Hub::main()).capture_failures(Failures::new()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Prints each event. With `SENTRY_DSN` the events are also sent, and otherwise they are dropped.
    let mut options = ClientOptions::new().server_name("shop").before_send(|event| {
        story::show(&event);
        std::env::var_os("SENTRY_DSN").map(|_| event)
    });
    if std::env::var_os("SENTRY_DSN").is_none() {
        options = options.dsn("https://key@sentry.invalid/1");
    }
    let _sentry = sentry::init(options);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(axum::serve(listener, shop()).into_future());
    if std::env::args().any(|argument| argument == "--serve") {
        println!("listening on {url}");
        tokio::select! {
            ended = serving => ended??,
            pressed = tokio::signal::ctrl_c() => pressed?,
        }
        return Ok(());
    }
    story::tell(&url).await
}
