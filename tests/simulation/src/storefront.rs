//! The storefront: takes the orders of the page, calls the kitchen, and puts deliveries into the queue.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream;
use hyper_util::client::legacy;
use sentry::Level;
use serde_json::json;
use tower::{ServiceBuilder, ServiceExt};
use tower_transaction_id::messages::OutboundContext;
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, Failures, InScope, InjectTransactionIdLayer, Trust,
    X_TRANSACTION_ID,
};

use crate::ledger::Key;
use crate::net::{self, BoxError};
use crate::plan::{Dog, WhomToTrust};
use crate::process::Process;
use crate::visit::{Ending, Visit};
use crate::world::World;

/// How long the storefront waits for the kitchen and for the queue.
const PATIENCE: Duration = Duration::from_millis(1200);

type ToOthers =
    tower::util::BoxCloneSyncService<Request, Response<hyper::body::Incoming>, legacy::Error>;

pub struct Storefront {
    process: Arc<Process>,
    /// Sends the ID to the kitchen, and not to the queue.
    client: ToOthers,
}

pub async fn run(world: World) -> turmoil::Result {
    let process = Process::start("storefront", &world);
    let trust = match world.plan.settings.trust {
        WhomToTrust::All => Trust::always(),
        WhomToTrust::None => Trust::never(),
        WhomToTrust::Partners => Trust::when(|request| request.headers().contains_key("x-partner")),
    };
    let layer = BindTransactionIdLayer::new()
        .hub(&process.hub)
        .make_id(process.make_id())
        .trust(trust)
        .capture_failures(Failures::new())
        .measure_performance(true);
    let inject = InjectTransactionIdLayer::new(AllowedHosts::only(["http://kitchen"])?)
        .capture_failures(Failures::new())
        .read_errors(|error: &legacy::Error| error)
        .propagate_trace(true);
    let client = ServiceBuilder::new().layer(inject).service(net::client());
    let shop = Arc::new(Storefront { process, client: ToOthers::new(client) });
    let router =
        Router::new().route("/orders/{order}/{attempt}", post(order)).with_state(shop).layer(layer);
    net::serve(router).await
}

async fn order(
    State(shop): State<Arc<Storefront>>,
    Path((order, attempt)): Path<(u32, u32)>,
    request: Request,
) -> Response {
    let key = Key { order, attempt };
    let id = net::one_id(&shop.process.world, request.headers());
    let visit = Visit::open(&shop.process, key, &id);
    let mut ending = Ending::of(&visit);
    let body = to_bytes(request.into_body(), 1000).await.unwrap_or_default();
    visit.check("after the body of the request");
    let Some(dog) = str::from_utf8(&body).ok().and_then(Dog::named) else {
        ending.done();
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    visit.log("ordered");
    if matches!(dog, Dog::Grilled | Dog::Charred) {
        let grill = Grill { shop, visit, ending, dog, turns: 0 };
        let lines = stream::unfold(grill, Grill::line);
        return Body::from_stream(lines).into_response();
    }
    if dog == Dog::Party {
        party(&visit);
    }
    let outcome = shop.serve(&visit, dog).await;
    visit.check("at the end");
    if let Err(NotServed { status, is_reported }) = &outcome {
        visit.note(&format!("{key} fails with {}", status.as_u16()));
        if !is_reported {
            visit.expect("failure");
        }
    }
    ending.done();
    outcome.map_or_else(|not| not.status, |()| StatusCode::OK).into_response()
}

/// Starts tasks that outlive the request: one that belongs to the request, and one that is not bound.
fn party(visit: &Visit) {
    let guest = visit.clone();
    tokio::task::spawn_local(InScope::fork(async move {
        guest.check("at the start of a task");
        sentry::configure_scope(|scope| scope.set_tag("task", "guest"));
        tokio::time::sleep(Duration::from_millis(300)).await;
        guest.check("in a task");
        guest.message(Level::Info, "task: balloons");
        guest.log("task: confetti");
    }));
    let process = Arc::clone(&visit.process);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        process.capture_unbound("stranger");
    });
}

struct NotServed {
    status: StatusCode,
    /// Whether an event stands for the failure already.
    is_reported: bool,
}

impl NotServed {
    fn with(status: StatusCode) -> Self {
        Self { status, is_reported: false }
    }
}

impl Storefront {
    async fn serve(&self, visit: &Visit, dog: Dog) -> Result<(), NotServed> {
        self.cook(visit, dog).await?;
        visit.check("after the kitchen");
        visit.crumb("cooked");
        if !self.send_out(visit, dog).await {
            visit.error("no courier");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(NotServed { status, is_reported: true });
        }
        visit.metric("sold");
        Ok(())
    }

    async fn cook(&self, visit: &Visit, dog: Dog) -> Result<(), NotServed> {
        let Key { order, attempt } = visit.key;
        let url = format!("http://kitchen/cook/{order}/{attempt}/{}", dog.name());
        let Some(response) = self.call(visit, &url, Body::empty()).await? else {
            return Err(NotServed::with(StatusCode::BAD_GATEWAY));
        };
        let echoed = response.headers().get_all(X_TRANSACTION_ID);
        let echoed = echoed.iter().map(|id| id.to_str().unwrap_or_default()).collect::<Vec<_>>();
        self.process.world.check(echoed == [&visit.id], || {
            format!("the kitchen answered {} under {echoed:?}, not {}", visit.key, visit.id)
        });
        if response.status() == StatusCode::OK {
            Ok(())
        } else {
            Err(NotServed::with(StatusCode::BAD_GATEWAY))
        }
    }

    /// Calls another host. Returns `None` if the call failed, which the client layer reports.
    async fn call(
        &self,
        visit: &Visit,
        url: &str,
        body: Body,
    ) -> Result<Option<Response<hyper::body::Incoming>>, NotServed> {
        let request = Request::post(url).body(body).expect("a valid request");
        match tokio::time::timeout(PATIENCE, self.client.clone().oneshot(request)).await {
            // The call is cancelled, and did not fail.
            Err(_) => {
                visit.note(&format!("{} has waited too long for {url}", visit.key));
                Err(NotServed::with(StatusCode::GATEWAY_TIMEOUT))
            }
            Ok(Err(_)) => {
                visit.expect("failed call");
                Ok(None)
            }
            Ok(Ok(response)) => {
                if response.status().is_server_error() {
                    visit.expect("failed call");
                }
                Ok(Some(response))
            }
        }
    }

    /// Puts the delivery into the queue. The message carries the ID and the trace.
    async fn send_out(&self, visit: &Visit, dog: Dog) -> bool {
        let outbound = OutboundContext::new().in_span("deliveries");
        let pairs = outbound.pairs().collect::<Vec<_>>();
        let message = json!({ "pairs": pairs, "key": visit.key.to_string(), "dog": dog.name() });
        let Key { order, attempt } = visit.key;
        let url = format!("http://queue/publish/{order}/{attempt}");
        let sent = match self.call(visit, &url, message.to_string().into()).await {
            Ok(Some(response)) if response.status() == StatusCode::OK => Ok(()),
            _ => Err(()),
        };
        outbound.finish(&sent);
        sent.is_ok()
    }
}

/// An answer that takes its time: the body grills, calls the kitchen and sends the dog out.
struct Grill {
    shop: Arc<Storefront>,
    visit: Visit,
    ending: Ending,
    dog: Dog,
    turns: u32,
}

impl Grill {
    async fn line(mut self) -> Option<(Result<String, BoxError>, Self)> {
        self.turns += 1;
        let line = match self.turns {
            1..=3 => {
                tokio::time::sleep(Duration::from_millis(90)).await;
                self.visit.check("in the body");
                self.visit.crumb("turned");
                self.visit.message(Level::Info, "turned");
                "turned\n".to_owned()
            }
            4 => {
                let outcome = self.shop.serve(&self.visit, self.dog).await;
                self.visit.check("at the end of the body");
                self.ending.done();
                if outcome.is_ok() { "served\n".to_owned() } else { "failed\n".to_owned() }
            }
            _ => return None,
        };
        Some((Ok(line), self))
    }
}
