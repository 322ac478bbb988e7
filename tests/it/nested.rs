//! One request through two of our layers, and a request inside another.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{HeaderMap, HeaderName, Request, Response};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_transaction_id::{BindTransactionIdLayer, Failures, TransactionId, Trust};

use crate::support::{
    Never, Sentry, capture, echo, echoed, get_with_ids, header_lines, raw, serve, story, tag, text,
};

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
                // The inner layer has another base: a second fork would send its events elsewhere.
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
fn an_error_passes_through_two_layers_and_is_reported_once() {
    story(|sentry| async move {
        let layer = BindTransactionIdLayer::new().capture_failures(Failures::new());
        let app = ServiceBuilder::new()
            .layer(layer.clone())
            .layer(layer)
            .service_fn(async |_: Request<()>| Err::<Response<()>, _>(std::fmt::Error));
        let request = Request::get("/").header("x-transaction-id", "theirs").body(()).unwrap();
        app.oneshot(request).await.unwrap_err();
        let [(_, id)] = &sentry.take()[..] else { panic!("not one event") };
        assert_eq!(id.as_deref(), Some("theirs"));
    });
}

#[test]
fn a_second_line_that_a_middleware_adds_is_gone_behind_the_inner_layer() {
    story(|_| async {
        let repeats = |mut request: Request<()>| {
            let id = request.headers()["x-transaction-id"].clone();
            request.headers_mut().append("x-transaction-id", id);
            request
        };
        let app = ServiceBuilder::new()
            .layer(BindTransactionIdLayer::new())
            .map_request(repeats)
            .layer(BindTransactionIdLayer::new())
            .service_fn(async |request: Request<()>| {
                let lines = request.headers().get_all("x-transaction-id").iter().count();
                Ok::<_, Never>(Response::new(lines))
            });
        let response = app.oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.into_body().into_inner().into_inner(), 1);
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

#[test]
fn one_value_in_two_headers_is_no_way_past_an_inner_trust() {
    story(|sentry| async move {
        let other = HeaderName::from_static("x-request-id");
        let never = BindTransactionIdLayer::new().trust(Trust::never());
        let outer = BindTransactionIdLayer::new().header_name(other.clone());
        let app = Router::new().route("/", get(handler)).layer(never.clone()).layer(outer);
        let head = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-request-id: theirs\r\n\
            x-transaction-id: theirs\r\n\r\n";
        let response = raw(serve(app).await, head).await;
        assert_eq!(header_lines(&response, "x-request-id"), ["theirs"]);
        let id = echo(&response).to_owned();
        assert_ne!(id, "theirs");
        assert!(response.ends_with(&format!("{id} {id}")), "{response}");
        let event = sentry.take_events().pop().unwrap();
        assert_eq!(tag(&event, "transaction_id"), Some(id));
        assert_eq!(tag(&event, "upstream_transaction_id").as_deref(), Some("theirs"));

        // With the same header name, the inner layer keeps the ID of the outer layer.
        let never = never.header_name(other);
        let handler = async || {
            capture("handled");
            TransactionId::current().unwrap().to_string()
        };
        let app = Router::new().route("/", get(handler)).layer(never.clone()).layer(never);
        let response = raw(serve(app).await, head).await;
        let [id] = header_lines(&response, "x-request-id")[..] else { panic!("{response}") };
        assert_ne!(id, "theirs");
        assert!(response.ends_with(id), "{response}");
        let event = sentry.take_events().pop().unwrap();
        assert_eq!(tag(&event, "transaction_id").as_deref(), Some(id));
        assert_eq!(tag(&event, "upstream_transaction_id").as_deref(), Some("theirs"));
    });
}

#[test]
fn a_request_made_inside_another_has_an_upstream_of_its_own_or_none() {
    story(|sentry| async move {
        for (trust, sent, upstream) in [
            (Trust::never(), None, None),
            (Trust::never(), Some("of-the-handler"), Some("of-the-handler")),
            (Trust::always(), Some("of-the-handler"), None),
            (Trust::always(), Some("<invalid>"), None),
        ] {
            let inner = Router::new()
                .fallback(async || capture("inner"))
                .layer(BindTransactionIdLayer::new().trust(trust.clone()));
            let handler = async move || {
                capture("before");
                let mut request = Request::new(Body::empty());
                if let Some(sent) = sent {
                    request.headers_mut().insert("x-transaction-id", sent.parse().unwrap());
                }
                inner.oneshot(request).await.unwrap();
                capture("after");
            };
            let layer = BindTransactionIdLayer::new().trust(Trust::never());
            let app = Router::new().fallback(handler).layer(layer);
            get_with_ids(serve(app).await, &[b"theirs"]).await;
            let upstreams: Vec<_> = sentry
                .take_events()
                .iter()
                .map(|event| (text(event), tag(event, "upstream_transaction_id")))
                .collect();
            let expected =
                [("before", Some("theirs")), ("inner", upstream), ("after", Some("theirs"))];
            let expected =
                expected.map(|(text, upstream)| (text.to_owned(), upstream.map(str::to_owned)));
            assert_eq!(upstreams, expected, "{sent:?}, {trust:?}");
        }
    });
}
