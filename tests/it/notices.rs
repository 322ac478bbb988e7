//! The lines that the layers log about a setup that cannot work or that may surprise, and how often.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use sentry::{ClientOptions, Hub, SentryFutureExt, TransactionContext};
use sentry_tower::{NewSentryLayer, SentryHttpLayer};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, InjectTransactionIdLayer, TransactionIdScope,
};

use crate::support::{Never, printed, story, story_with};

/// The lines of this crate on this thread that contain `part`.
fn said(part: &str) -> Vec<String> {
    let printed = printed();
    let lines = printed.lines().filter(|line| line.contains(" tower_transaction_id::"));
    lines.filter(|line| line.contains(part)).map(str::to_owned).collect()
}

/// The one line that contains `part`.
#[track_caller]
fn said_once(level: &str, part: &str) -> String {
    let lines = said(part);
    assert_eq!(lines.len(), 1, "{part:?} in {}", printed());
    assert!(lines[0].contains(&format!(" {level} ")), "{lines:?}");
    lines[0].clone()
}

fn no_client() -> Arc<Hub> {
    Arc::new(Hub::new(None, Arc::default()))
}

async fn answers(_: Request<Body>) -> Result<Response<Body>, Never> {
    Ok(Response::new(Body::empty()))
}

fn order() -> Request<Body> {
    Request::post("/orders").body(Body::empty()).unwrap()
}

/// Serves three requests, on clones of one service.
async fn serve_three(layer: &BindTransactionIdLayer) {
    let service = ServiceBuilder::new().layer(layer.clone()).service_fn(answers);
    for _ in 0..3 {
        service.clone().oneshot(order()).await.unwrap();
    }
}

/// Sends three requests to `uri` through clones of one client.
async fn send_three(hosts: &AllowedHosts, uri: &str, id: Option<&str>) {
    let layer = InjectTransactionIdLayer::new(hosts.clone());
    let client = ServiceBuilder::new().layer(layer).service_fn(answers);
    for _ in 0..3 {
        let mut request = Request::get(uri);
        if let Some(id) = id {
            request = request.header("x-transaction-id", id);
        }
        client.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    }
}

#[test]
fn without_a_client_each_layer_says_once_that_nothing_is_tagged() {
    const PART: &str = "nothing is tagged";
    story(|sentry| async move {
        let layer = BindTransactionIdLayer::new();
        serve_three(&layer).await;
        assert!(said(PART).is_empty(), "there is a client");

        let hub = no_client();
        for expected in 1..=2 {
            let layer = BindTransactionIdLayer::new();
            for _ in 0..2 {
                serve_three(&layer).bind_hub(hub.clone()).await;
            }
            assert_eq!(said(PART).len(), expected);
        }
        assert!(said(PART)[0].contains(" DEBUG "), "{}", printed());
        // A base has its client wherever the request is served, so the layer logs nothing.
        let with_base = layer.hub(&sentry.hub);
        serve_three(&with_base).bind_hub(hub).await;
        assert_eq!(said(PART).len(), 2);
    });
}

#[test]
fn a_base_without_a_client_is_a_warning_that_names_the_fix() {
    story(|_| async {
        // An operator may leave out the DSN on purpose, so the layer does not warn.
        let disabled = Hub::new(Some(Arc::new(ClientOptions::new().into())), Arc::default());
        serve_three(&BindTransactionIdLayer::new().hub(Arc::new(disabled))).await;
        assert!(said("base hub").is_empty(), "{}", printed());

        let layer = BindTransactionIdLayer::new().hub(no_client());
        serve_three(&layer).await;
        serve_three(&layer).await;
        assert!(said_once("WARN", "base hub").contains("call sentry::init first"));
    });
}

/// Serves three requests.
async fn serve(service: impl Service<Request<Body>, Error = Never> + Clone) {
    for _ in 0..3 {
        drop(service.clone().oneshot(order()).await);
    }
}

#[test]
fn a_sentry_layer_outside_of_a_base_is_a_warning() {
    const PART: &str = "a Sentry span is active outside";
    let options = || ClientOptions::new().traces_sample_rate(1.0);
    let sentrys = || {
        ServiceBuilder::new()
            .layer(NewSentryLayer::new_from_top())
            .layer(SentryHttpLayer::new().enable_transaction())
    };
    story_with(options(), |sentry| async move {
        let with_base = || BindTransactionIdLayer::new().hub(&sentry.hub);
        // Sentry's layers may be inside. They may be outside a forked hub, too, since it has the span.
        let inside = ServiceBuilder::new().layer(with_base()).layer(sentrys());
        serve(inside.clone().service_fn(answers)).await;
        serve(Router::new().fallback(async || ()).layer(inside)).await;
        let forked = Router::new().fallback(async || ()).layer(BindTransactionIdLayer::new());
        serve(forked.layer(sentrys())).await;
        assert!(said(PART).is_empty(), "{}", printed());

        // In one builder, the layers outside have no span yet when they call the layer inside.
        let builder = || ServiceBuilder::new().layer(sentrys()).layer(with_base());
        serve(builder().service_fn(answers)).await;
        said_once("WARN", PART);
        serve(Router::new().fallback(async || ()).layer(builder())).await;
        assert_eq!(said(PART).len(), 2);
        // Added one by one, axum calls the layer inside when it is polled, and by then there is a span.
        let one_by_one = Router::new().fallback(async || ()).layer(with_base()).layer(sentrys());
        serve(one_by_one.clone()).await;
        serve(one_by_one).await;
        assert_eq!(said(PART).len(), 3, "{}", printed());
    });
}

#[test]
fn after_its_first_requests_a_layer_no_longer_looks_around() {
    story_with(ClientOptions::new().traces_sample_rate(1.0), |sentry| async move {
        let layer = BindTransactionIdLayer::new().hub(&sentry.hub);
        let service = ServiceBuilder::new().layer(layer).service_fn(answers);
        // As many as its counter has values.
        for _ in 0..256 {
            service.clone().oneshot(order()).await.unwrap();
        }
        let transaction = sentry.hub.start_transaction(TransactionContext::new("job", "task"));
        sentry.hub.configure_scope(|scope| scope.set_span(Some(transaction.clone().into())));
        service.oneshot(order()).await.unwrap();
        assert!(said("a Sentry span is active outside").is_empty(), "{}", printed());
        transaction.finish();
    });
}

#[test]
fn a_list_of_hosts_around_a_client_without_hosts_is_a_warning() {
    const PART: &str = "names no host";
    story(|_| async {
        send_three(&AllowedHosts::any(), "/a.B/C", None).await;
        assert!(said(PART).is_empty(), "{}", printed());
        let list = AllowedHosts::only(["kitchen.internal"]).unwrap();
        send_three(&list, "/a.B/C", None).await;
        send_three(&list, "/a.B/C", None).await;
        assert!(said_once("WARN", PART).contains("AllowedHosts::any()"));
        // The layer of another client warns once more.
        send_three(&AllowedHosts::only(["grill.internal"]).unwrap(), "/a.B/C", None).await;
        assert_eq!(said(PART).len(), 2);
    });
}

#[test]
fn a_host_that_is_not_on_the_list_and_a_generated_id_are_said_for_each_call() {
    story(|_| async {
        let list = AllowedHosts::only(["kitchen.internal"]).unwrap();
        send_three(&list, "http://stranger.test/a?secret", Some("<secret>")).await;
        let lines = said("not on the list");
        assert_eq!(lines.len(), 3, "{}", printed());
        for line in &lines {
            assert!(line.contains(" DEBUG ") && line.contains("host=\"stranger.test\""), "{line}");
        }
        assert!(said("no current transaction ID").is_empty(), "to a stranger, none is generated");

        // A refused value is replaced, and no line shows the value.
        for id in [None, Some("<secret>")] {
            send_three(&list, "http://kitchen.internal/a?secret", id).await;
        }
        let lines = said("no current transaction ID");
        assert_eq!(lines.len(), 6, "{}", printed());
        assert!(lines.iter().all(|line| line.contains(" DEBUG ")), "{lines:?}");

        // A current ID, or an ID that the caller set, causes no line.
        let scope = TransactionIdScope::new("mine".parse().unwrap());
        scope.bind(async { send_three(&list, "http://kitchen.internal/", None).await }).await;
        send_three(&list, "http://kitchen.internal/", Some("by-hand")).await;
        assert_eq!(said("").len(), 9, "{}", printed());
        assert!(!printed().contains("secret"), "{}", printed());
    });
}
