//! Clients can make up methods and paths. Neither creates Sentry issues.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::{Method, Request, Response, StatusCode};
use sentry::ClientOptions;
use sentry::protocol::{EnvelopeItem, Event};
use tower::{ServiceBuilder, ServiceExt};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, Failures, InjectTransactionIdLayer,
};

use crate::support::{Never, story, story_with, text};

const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

const KNOWN: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Methods that HTTP does not define. HTTP's own methods are in upper case.
fn invented() -> impl Iterator<Item = Method> {
    let invented = (0..50).map(|n| format!("FLOOD{n}"));
    let names = invented.chain(["get", "Post", "GETS"].map(str::to_owned));
    names.map(|name| name.parse().unwrap())
}

fn captures() -> BindTransactionIdLayer {
    BindTransactionIdLayer::new().capture_failures(Failures::new())
}

/// The key by which Sentry groups an event. Sentry's default is the text of the event.
fn grouping(event: &Event<'_>) -> Vec<String> {
    let by_text = |part: &str| part.replace("{{ default }}", &text(event));
    event.fingerprint.iter().map(|part| by_text(part)).collect()
}

async fn call(app: &Router, method: Method, path: &str) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), FAILED);
}

#[test]
fn methods_that_nobody_knows_are_one() {
    story(|sentry| async move {
        let app = Router::new().route("/pay/{id}", any(async || FAILED)).layer(captures());
        for method in invented() {
            call(&app, method.clone(), "/pay/17").await;
            let event = sentry.take_events().pop().unwrap();
            let expected = ["http.server", "_OTHER /pay/{id}", "500 Internal Server Error"];
            assert_eq!(event.fingerprint[..], expected, "{method}");
            assert_eq!(event.transaction.as_deref(), Some("_OTHER /pay/{id}"));
            assert_eq!(text(&event), "_OTHER /pay/{id} answered 500 Internal Server Error");
            // The details of the event show the real method.
            assert_eq!(event.request.unwrap().method.as_deref(), Some(method.as_str()));
        }
        for method in KNOWN {
            call(&app, method.parse().unwrap(), "/pay/17").await;
            let event = sentry.take_events().pop().unwrap();
            assert_eq!(event.transaction, Some(format!("{method} /pay/{{id}}")));
            assert_eq!(event.fingerprint[1], format!("{method} /pay/{{id}}"));
        }

        // The service itself fails.
        let breaks = async |_: Request<()>| Err::<Response<()>, _>(std::fmt::Error);
        let service = ServiceBuilder::new().layer(captures()).service_fn(breaks);
        let request = Request::builder().method("FLOOD").uri("/pay").body(()).unwrap();
        service.oneshot(request).await.unwrap_err();
        let event = sentry.take_events().pop().unwrap();
        assert_eq!(event.transaction.as_deref(), Some("_OTHER /pay"));
    });
}

#[test]
fn the_transactions_of_methods_that_nobody_knows_have_one_name() {
    let options = ClientOptions::new().traces_sample_rate(1.0);
    story_with(options, |sentry| async move {
        let app = Router::new()
            .route("/pay", any(async || FAILED))
            .layer(BindTransactionIdLayer::new().measure_performance(true));
        let mut names = BTreeSet::new();
        for method in invented().chain([Method::PATCH]) {
            call(&app, method, "/pay").await;
            for envelope in sentry.transport.fetch_and_clear_envelopes() {
                for item in envelope.items() {
                    let EnvelopeItem::Transaction(transaction) = item else { continue };
                    names.extend(transaction.name.clone());
                }
            }
        }
        let expected = ["PATCH /pay", "_OTHER /pay"].map(str::to_owned);
        assert_eq!(names, expected.into());
    });
}

#[test]
fn methods_that_a_proxy_passes_on_are_one() {
    story(|sentry| async move {
        for method in invented() {
            let fails = async |_: Request<()>| {
                Ok::<_, Never>(Response::builder().status(FAILED).body(()).unwrap())
            };
            let layer = InjectTransactionIdLayer::new(AllowedHosts::any());
            let client = ServiceBuilder::new()
                .layer(layer.capture_failures(Failures::new()))
                .service_fn(fails);
            let request = Request::builder().method(method.clone()).uri("http://kitchen.test/");
            client.oneshot(request.body(()).unwrap()).await.unwrap();
            let event = sentry.take_events().pop().unwrap();
            assert_eq!(event.fingerprint[1], "_OTHER kitchen.test", "{method}");
            assert_eq!(event.request.unwrap().method.as_deref(), Some(method.as_str()));
        }
    });
}

#[test]
fn paths_are_no_part_of_a_fingerprint() {
    fn grpc(answer: &[(&str, &str)]) -> Response<Body> {
        let mut response = Response::builder().header("content-type", "application/grpc");
        for (name, value) in answer {
            response = response.header(*name, *value);
        }
        response.body(Body::empty()).unwrap()
    }
    story(|sentry| async move {
        // Plain and gRPC requests, each with several responses.
        for (is_grpc, code) in [
            (false, None),
            (true, None),
            (true, Some("13")),
            (true, Some("12")),
            (false, Some("2")),
        ] {
            let shown = format!("gRPC: {is_grpc}, code: {code:?}");
            let fallback = async move || match code {
                Some(code) => grpc(&[("grpc-status", code)]),
                None => Response::builder().status(FAILED).body(Body::empty()).unwrap(),
            };
            let app = Router::new().fallback(fallback).layer(captures());
            let mut groupings = BTreeSet::new();
            for n in 0..50 {
                let request = Request::post(format!("/flood.Service{n}/flood{n}"));
                let request = if is_grpc {
                    request.header("content-type", "application/grpc")
                } else {
                    request
                };
                let request = request.body(Body::empty()).unwrap();
                app.clone().oneshot(request).await.unwrap();
                let event = sentry.take_events().pop().expect("a report");
                groupings.insert(grouping(&event));
            }
            assert_eq!(groupings.len(), 1, "{shown}: {groupings:?}");
            let parts = groupings.into_iter().flatten();
            assert!(parts.into_iter().all(|part| !part.contains("flood")), "{shown}");
        }

        // Routes are part of a fingerprint, because an application has only a few.
        let answers = async || grpc(&[("grpc-status", "13")]);
        let app = Router::new()
            .route("/shop.Kitchen/{method}", any(answers))
            .route("/shop.Counter/{method}", any(answers))
            .layer(captures());
        for service in ["Kitchen", "Counter"] {
            for method in ["Cook", "flood"] {
                let request = Request::post(format!("/shop.{service}/{method}"));
                app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
                let event = sentry.take_events().pop().expect("a report");
                let route = format!("POST /shop.{service}/{{method}}");
                assert_eq!(event.fingerprint[..], ["http.server", &route, "gRPC 13"]);
            }
        }
    });
}
