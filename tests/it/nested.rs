//! One request through two of our layers, and a request inside another.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{HeaderMap, HeaderName, Request, Response};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_transaction_id::{BindTransactionIdLayer, TransactionId, Trust};

use crate::support::{Never, Sentry, capture, echo, echoed, get_with_ids, serve, story, tag};

async fn handler(headers: HeaderMap) -> String {
    capture("handled");
    let header = headers["x-transaction-id"].to_str().unwrap();
    format!("{header} {}", TransactionId::current().unwrap())
}

#[test]
fn the_inner_of_two_layers_keeps_the_id_of_the_outer_whatever_its_trust() {
    story(|sentry| async move {
        for inner in [Trust::always(), Trust::never(), Trust::when(|_| panic!("not asked"))] {
            for (outer, kept) in [(Trust::always(), true), (Trust::never(), false)] {
                let shown = format!("{inner:?} in {outer:?}");
                // A base of its own would show a second fork: its events go elsewhere.
                let elsewhere = Sentry::new();
                let inner = BindTransactionIdLayer::new().trust(inner.clone()).hub(&elsewhere.hub);
                let outer = BindTransactionIdLayer::new().trust(outer);
                let app = Router::new().route("/", get(handler)).layer(inner).layer(outer);
                let response = get_with_ids(serve(app).await, &[b"theirs"]).await;
                let id = echo(&response);
                assert_eq!(id == "theirs", kept, "{shown}");
                assert!(response.ends_with(&format!("{id} {id}")), "{shown}: {response}");
                assert_eq!(sentry.take(), [("handled".to_owned(), Some(id.to_owned()))], "{shown}");
                assert!(elsewhere.take().is_empty(), "{shown}");
            }
        }
    });
}

#[test]
fn a_request_made_inside_another_is_told_by_its_header() {
    story(|_| async {
        let inside = ServiceBuilder::new().layer(BindTransactionIdLayer::new()).service_fn(
            async |_: Request<Body>| {
                let current = TransactionId::current().unwrap().to_string();
                Ok::<_, Never>(Response::new(Body::from(current)))
            },
        );
        let outside = ServiceBuilder::new().layer(BindTransactionIdLayer::new()).service_fn(
            |_: Request<Body>| {
                let mut inside = inside.clone();
                async move {
                    let mut seen = Vec::new();
                    for header in [None, Some("same"), Some("other")] {
                        let mut request = Request::new(Body::empty());
                        if let Some(header) = header {
                            let header = header.parse().unwrap();
                            request.headers_mut().insert("x-transaction-id", header);
                        }
                        let response = inside.ready().await?.call(request).await?;
                        seen.push(echoed(response.headers()));
                        assert_eq!(TransactionId::current().unwrap(), "same");
                    }
                    assert_eq!(seen[0].len(), 32);
                    assert_eq!(seen[1..], ["same", "other"]);
                    Ok::<_, Never>(Response::new(Body::empty()))
                }
            },
        );
        let request = Request::builder().header("x-transaction-id", "same").body(Body::empty());
        let response = outside.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(echoed(response.headers()), "same");
    });
}

#[test]
fn an_id_that_is_merely_ambient_does_not_make_a_request_ours() {
    story(|_| async {
        let service = BindTransactionIdLayer::new().trust(Trust::never());
        let service = ServiceBuilder::new()
            .layer(service)
            .service_fn(async |_: Request<Body>| Ok::<_, Never>(Response::new(Body::empty())));
        let scope = tower_transaction_id::TransactionIdScope::new("ambient".parse().unwrap());
        let request = Request::builder().header("x-transaction-id", "theirs").body(Body::empty());
        let response = scope.bind(service.oneshot(request.unwrap())).await.unwrap();
        let id = echoed(response.headers());
        assert!(id != "ambient" && id != "theirs", "{id}");
    });
}

#[test]
fn across_a_hop_to_another_task_the_inner_trusts_for_itself_and_the_outer_echo_wins() {
    story(|sentry| async move {
        let inner = BindTransactionIdLayer::new().trust(Trust::never());
        let inner = ServiceBuilder::new().layer(inner).service_fn(async |_: Request<Body>| {
            capture("inside");
            Ok::<_, Never>(Response::new(Body::empty()))
        });
        let service = ServiceBuilder::new()
            .layer(BindTransactionIdLayer::new())
            .layer(tower::buffer::BufferLayer::new(4))
            .service(inner);
        let request = Request::builder().header("x-transaction-id", "outer").body(Body::empty());
        let response = service.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(echoed(response.headers()), "outer");
        let event = sentry.take_events().pop().unwrap();
        assert_ne!(tag(&event, "transaction_id").as_deref(), Some("outer"));
        assert_eq!(tag(&event, "upstream_transaction_id").as_deref(), Some("outer"));
    });
}

#[test]
fn layers_with_different_header_names_are_independent() {
    story(|sentry| async move {
        let name = HeaderName::from_static("x-correlation-id");
        let app = Router::new()
            .route("/", get(handler))
            .layer(BindTransactionIdLayer::new().header_name(name))
            .layer(BindTransactionIdLayer::new());
        let response = get_with_ids(serve(app).await, &[b"outer"]).await;
        assert_eq!(echo(&response), "outer");
        let correlation = crate::support::header_lines(&response, "x-correlation-id");
        assert_eq!(correlation.len(), 1);
        assert_ne!(correlation[0], "outer");
        let inner = Some(correlation[0].to_owned());
        assert_eq!(sentry.take(), [("handled".to_owned(), inner)]);
    });
}
