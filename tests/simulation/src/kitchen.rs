//! The kitchen: a service that the storefront calls.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rand::Rng;
use sentry::Level;
use tower_http::catch_panic::CatchPanicLayer;
use tower_transaction_id::{BindTransactionIdLayer, Failures, InScope};

use crate::ledger::Key;
use crate::net;
use crate::plan::{Dog, dice};
use crate::process::Process;
use crate::visit::{Ending, Visit};
use crate::world::World;

pub async fn run(world: World) -> turmoil::Result {
    let process = Process::start("kitchen", &world);
    let layer = BindTransactionIdLayer::new()
        .hub(&process.hub)
        .make_id(process.make_id())
        .capture_failures(Failures::new())
        .measure_performance(true);
    let router = Router::new()
        .route("/cook/{order}/{attempt}/{dog}", post(cook))
        .layer(CatchPanicLayer::new())
        .with_state(process)
        .layer(layer);
    net::serve(router).await
}

async fn cook(
    State(process): State<Arc<Process>>,
    Path((order, attempt, dog)): Path<(u32, u32, String)>,
    headers: HeaderMap,
) -> StatusCode {
    let key = Key { order, attempt };
    let visit = Visit::open(&process, key, &net::one_id(&process.world, &headers));
    let mut ending = Ending::of(&visit);
    let mut dice = dice(process.world.plan.seed, "kitchen", order.into());
    for step in ["bun warmed", "sausage grilled"] {
        tokio::time::sleep(Duration::from_millis(dice.random_range(5..120))).await;
        visit.check(step);
        visit.crumb(step);
    }
    let status = match Dog::named(&dog) {
        Some(Dog::Artisanal) => {
            visit.error("out of mustard");
            StatusCode::INTERNAL_SERVER_ERROR
        }
        Some(Dog::Chili) => {
            visit.expect("panic");
            ending.done();
            panic!("{}", net::ON_PURPOSE);
        }
        Some(Dog::Burnt | Dog::Charred) => {
            visit.message(Level::Warning, "smoke");
            visit.expect("failure");
            StatusCode::INTERNAL_SERVER_ERROR
        }
        Some(Dog::Frozen) => {
            tokio::time::sleep(Duration::from_secs(2)).await;
            StatusCode::OK
        }
        Some(Dog::Probed) => {
            let probe = visit.clone();
            let probed = thread::spawn(InScope::fork_fn(move || {
                probe.check("in a thread");
                sentry::configure_scope(|scope| scope.set_tag("task", "probe"));
                probe.message(Level::Info, "task: temperature");
            }));
            visit.process.world.check(probed.join().is_ok(), || "the thread panicked".to_owned());
            StatusCode::OK
        }
        Some(_) => StatusCode::OK,
        None => StatusCode::NOT_FOUND,
    };
    visit.check("at the end");
    if status == StatusCode::OK {
        visit.metric("cooked");
    }
    visit.note(&format!("{key} ends with {}", status.as_u16()));
    ending.done();
    status
}
