//! An event shows the request that it was captured in, and the calls that the request made.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::future::{BoxFuture, FutureExt, join};
use futures_util::{poll, stream};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use sentry::integrations::panic::PanicIntegration;
use sentry::protocol::{self, Breadcrumb, Context, Event};
use sentry::{ClientOptions, Hub, Level, SentryFutureExt};
use tokio::sync::Notify;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_http::catch_panic::CatchPanicLayer;
use tower_transaction_id::{
    AllowedHosts, Failures, InScope, InjectTransactionIdLayer, TransactionId, TransactionIdScope,
};

use crate::support::{Buffer, CaptureOnDrop, Never, capture, each_way, raw, serve, tag, text};

const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

/// A `POST` of an order under the ID `mine`, with a secret in each place that can hold one.
fn order(place: &str) -> Request<Body> {
    let mut authorization = HeaderValue::from_static("Bearer secret");
    authorization.set_sensitive(true);
    let mut signature = HeaderValue::from_static("secret");
    signature.set_sensitive(true);
    let uri = format!("http://alice:secret@shop.test/orders/{place}?coupon=secret");
    Request::post(uri)
        .header("host", "shop.test")
        .header("user-agent", "browser")
        .header("content-type", "application/json")
        .header("content-length", "2")
        .header("accept", "*/*")
        .header("authorization", authorization)
        .header("cookie", "session=secret")
        .header("x-signature", signature)
        .header("x-transaction-id", "mine")
        .body(Body::from("{}"))
        .unwrap()
}

/// Sends an order to `app`, and reads the answer.
async fn send(app: &Router, place: &str) {
    let response = app.clone().oneshot(order(place)).await.unwrap();
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
}

const FOUR_HEADERS: [(&str, &str); 4] = [
    ("content-length", "2"),
    ("content-type", "application/json"),
    ("host", "shop.test"),
    ("user-agent", "browser"),
];

fn headers(request: &protocol::Request) -> Vec<(&str, &str)> {
    request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn url(request: &protocol::Request) -> &str {
    request.url.as_ref().unwrap().as_str()
}

#[track_caller]
fn assert_shows_the_order(event: &Event<'_>, place: &str, way: &str) {
    let way = format!("{:?} in {place}, {way}", text(event));
    assert_eq!(tag(event, "transaction_id").as_deref(), Some("mine"), "{way}");
    assert_eq!(event.transaction.as_deref(), Some("POST /orders/{place}"), "{way}");
    let request = event.request.as_ref().unwrap_or_else(|| panic!("no request on {way}"));
    assert_eq!(request.method.as_deref(), Some("POST"), "{way}");
    assert_eq!(url(request), format!("http://shop.test/orders/{place}"), "{way}");
    assert_eq!(headers(request), FOUR_HEADERS, "{way}");
    let Some(Context::Other(context)) = event.contexts.get("transaction_id") else {
        panic!("no context on {way}: {:?}", event.contexts)
    };
    assert_eq!(context["source"], "inbound", "{way}");
    assert!(!format!("{event:?}").contains("secret"), "{way}: {event:?}");
}

#[track_caller]
fn assert_shows_no_request(event: &Event<'_>, way: &str) {
    let shown = (&event.request, &event.transaction);
    assert_eq!(shown, (&None, &None), "{:?}, {way}", text(event));
}

/// Captures an event in the place that the path names.
async fn captures_in(Path(place): Path<String>) -> Response {
    match place.as_str() {
        "handler" => capture("handled"),
        "later-poll" => {
            tokio::task::yield_now().await;
            capture("handled later");
        }
        "inner-hub" => Hub::run(Hub::new_from_top(Hub::current()).into(), || capture("inside")),
        "with-scope" => sentry::with_scope(|scope| scope.set_tag("own", "1"), || capture("with")),
        "fork" => tokio::spawn(InScope::fork(async { capture("forked") })).await.unwrap(),
        "thread" => {
            tokio::task::spawn_blocking(InScope::fork_fn(|| capture("blocked"))).await.unwrap();
        }
        "rest" => {
            let rest = InScope::rest_of_request(async { capture("moved") });
            tokio::spawn(rest).await.unwrap();
        }
        "drop" => drop(CaptureOnDrop("dropped")),
        "cancelled" => {
            let _guard = CaptureOnDrop("cancelled");
            pending::<()>().await;
        }
        "body" => {
            let frame = async {
                capture("in the body");
                tokio::task::yield_now().await;
                capture("in the body, later");
                Ok::<_, Never>("hot dog")
            };
            return Body::from_stream(stream::once(frame)).into_response();
        }
        "body-drop" => {
            let guard = CaptureOnDrop("with the body");
            let frame = async move {
                let _guard = guard;
                pending::<Result<&str, Never>>().await
            };
            return Body::from_stream(stream::once(frame)).into_response();
        }
        "panic" => panic!("out of mustard"),
        "report" => return FAILED.into_response(),
        other => panic!("nothing captures in {other}"),
    }
    "hot dog".into_response()
}

#[test]
fn an_event_shows_its_request_wherever_it_is_captured() {
    let options = || ClientOptions::new().add_integration(PanicIntegration::default());
    each_way(options, async |sentry, way, layer| {
        let layer = layer.capture_failures(Failures::new());
        let app = Router::new().route("/orders/{place}", post(captures_in));
        let catches_inside = app.clone().layer(CatchPanicLayer::new()).layer(layer.clone());
        let catches_outside = app.layer(layer).layer(CatchPanicLayer::new());
        for (place, expected) in [
            ("handler", &["handled"][..]),
            ("later-poll", &["handled later"]),
            ("inner-hub", &["inside"]),
            ("with-scope", &["with"]),
            ("fork", &["forked"]),
            ("thread", &["blocked"]),
            ("rest", &["moved"]),
            ("drop", &["dropped"]),
            ("body", &["in the body", "in the body, later"]),
            // CatchPanic logs the second line, and the tests' subscriber sends it to Sentry.
            ("panic", &["out of mustard", "Service panicked: out of mustard"]),
            ("report", &["POST /orders/{place} answered 500 Internal Server Error"]),
        ] {
            send(&catches_inside, place).await;
            let events = sentry.take_events();
            assert_eq!(events.iter().map(text).collect::<Vec<_>>(), expected, "{way}");
            for event in &events {
                assert_shows_the_order(event, place, way);
            }
        }
        for place in ["cancelled", "body-drop"] {
            let mut waiting = Box::pin(catches_inside.clone().oneshot(order(place)));
            let polled = poll!(&mut waiting);
            assert_eq!(sentry.take(), [], "{place}, {way}");
            // Either without an answer or with one whose body was not read.
            drop((waiting, polled));
            let [event] = &sentry.take_events()[..] else { panic!("{place}, {way}") };
            assert_shows_the_order(event, place, way);
        }
        send(&catches_outside, "panic").await;
        let events = sentry.take_events();
        let [panicked, logged] = &events[..] else { panic!("{events:?}") };
        assert_shows_the_order(panicked, "panic", way);
        assert_shows_no_request(logged, way);
    });
}

#[test]
fn over_a_socket_the_url_comes_from_the_host_and_nothing_else() {
    each_way(ClientOptions::new, async |sentry, way, layer| {
        // Longer than any domain name, and so not kept from one request to the next.
        let long = "shop.".repeat(60) + "test";
        let long_url = format!("http://{long}/orders/handler");
        // In the second app, the layer sees no route.
        let app = Router::new().route("/orders/{place}", post(captures_in));
        let outside = Router::new().fallback_service(layer.layer(app.clone()));
        for (app, transaction) in
            [(app.layer(layer), Some("POST /orders/{place}")), (outside, None)]
        {
            let address = serve(app).await;
            for (host, expected) in [
                ("shop.test:8080", Some("http://shop.test:8080/orders/handler")),
                ("alice:secret@shop.test", Some("http://shop.test/orders/handler")),
                ("other.test", Some("http://other.test/orders/handler")),
                ("shop.test:8080", Some("http://shop.test:8080/orders/handler")),
                ("shop.test/else?where#else", Some("http://shop.test/orders/handler")),
                ("not a host", None),
                (long.as_str(), Some(long_url.as_str())),
                (long.as_str(), Some(long_url.as_str())),
            ] {
                let head = format!(
                    "POST /orders/handler?coupon=secret HTTP/1.1\r\nhost: {host}\r\n\
                     x-transaction-id: mine\r\ncookie: secret\r\nconnection: close\r\n\r\n"
                );
                raw(address, head.as_bytes()).await;
                let [event] = &sentry.take_events()[..] else { panic!("{host}, {way}") };
                let request = event.request.as_ref().unwrap();
                assert_eq!(request.url.as_ref().map(ToString::to_string).as_deref(), expected);
                let host = host.rsplit('@').next().unwrap();
                assert_eq!(headers(request), [("host", host)], "{way}");
                assert_eq!(event.transaction.as_deref(), transaction, "{way}");
                assert!(!format!("{event:?}").contains("secret"), "{way}: {event:?}");
            }
        }
    });
}

#[test]
fn with_personal_data_an_event_shows_the_query_and_all_headers_but_secrets() {
    let options = || ClientOptions::new().send_default_pii(true);
    each_way(options, async |sentry, way, layer| {
        let layer = layer.capture_failures(Failures::new());
        let app = Router::new().route("/orders/{place}", post(captures_in)).layer(layer);
        for place in ["handler", "fork", "body", "report"] {
            send(&app, place).await;
            let events = sentry.take_events();
            assert!(!events.is_empty());
            for event in events {
                let request = event.request.as_ref().unwrap();
                let expected = format!("http://shop.test/orders/{place}?coupon=secret");
                assert_eq!(url(request), expected, "{way}");
                let expected = [
                    ("accept", "*/*"),
                    ("authorization", "[Filtered]"),
                    ("content-length", "2"),
                    ("content-type", "application/json"),
                    ("cookie", "[Filtered]"),
                    ("host", "shop.test"),
                    ("user-agent", "browser"),
                    ("x-signature", "[Filtered]"),
                    ("x-transaction-id", "mine"),
                ];
                assert_eq!(headers(request), expected, "{place}, {way}");
            }
        }
    });
}

#[test]
fn a_header_that_is_marked_as_sensitive_is_never_shown() {
    for pii in [false, true] {
        let options = || ClientOptions::new().send_default_pii(pii);
        each_way(options, async |sentry, way, layer| {
            let app = Router::new().route("/orders/{place}", post(captures_in)).layer(layer);
            let mut request = order("handler");
            request.headers_mut().get_mut("user-agent").unwrap().set_sensitive(true);
            app.oneshot(request).await.unwrap();
            let [event] = &sentry.take_events()[..] else { panic!("{way}") };
            let headers = &event.request.as_ref().unwrap().headers;
            assert_eq!(headers["user-agent"], "[Filtered]", "{way}, personal data: {pii}");
        });
    }
}

#[test]
fn a_request_that_is_not_recorded_shows_in_the_report_of_its_failure_alone() {
    async fn warns() -> StatusCode {
        call("/one").await;
        sentry::capture_message("captured", Level::Warning);
        FAILED
    }
    each_way(ClientOptions::new, async |sentry, way, layer| {
        let layer = layer.record_request(false);
        let silent = Router::new().route("/orders/{place}", post(warns)).layer(layer.clone());
        let layer = layer.capture_failures(Failures::new());
        let reports = Router::new().route("/orders/{place}", post(warns)).layer(layer);
        for app in [silent, reports.clone()] {
            send(&app, "one").await;
            let event = sentry.take_events().remove(0);
            assert_shows_no_request(&event, way);
            assert_eq!(trail(&event), ["/one"], "{way}");
        }
        send(&reports, "one").await;
        let [captured, report] = &sentry.take_events()[..] else { panic!("{way}") };
        assert_shows_no_request(captured, way);
        assert_shows_the_order(report, "one", way);
    });
}

#[test]
fn an_event_keeps_a_request_and_a_transaction_of_its_own() {
    async fn captures() {
        let request = protocol::Request { method: Some("PUT".into()), ..Default::default() };
        let event = Event { request: Some(request.clone()), ..Event::default() };
        sentry::capture_event(event);
        let event = Event { transaction: Some("own".into()), ..Event::default() };
        sentry::capture_event(event);
        sentry::configure_scope(|scope| scope.set_transaction(Some("of the scope")));
        sentry::capture_event(Event::default());
    }
    each_way(ClientOptions::new, async |sentry, way, layer| {
        let app = Router::new().route("/orders/{place}", post(captures)).layer(layer);
        send(&app, "one").await;
        let events = sentry.take_events();
        let shown: Vec<_> = events
            .iter()
            .map(|event| {
                let method = event.request.as_ref().unwrap().method.as_deref().unwrap();
                (method, event.transaction.as_deref().unwrap())
            })
            .collect();
        let route = "POST /orders/{place}";
        assert_eq!(shown, [("PUT", route), ("POST", "own"), ("POST", "of the scope")], "{way}");
    });
}

/// Calls another service, which answers.
async fn call(path: &str) {
    let request = Request::get(format!("http://kitchen.test{path}?token=secret")).body(());
    send_call(request.unwrap()).await;
}

async fn send_call(request: Request<()>) {
    let client = ServiceBuilder::new()
        .layer(InjectTransactionIdLayer::new(AllowedHosts::any()))
        .service_fn(async |_: Request<()>| Ok::<_, Never>(http::Response::new(())));
    client.oneshot(request).await.unwrap();
}

fn add_breadcrumb(message: &str) {
    sentry::add_breadcrumb(Breadcrumb { message: Some(message.into()), ..Default::default() });
}

/// The breadcrumbs of an event, each as its message, or as the path of its call.
fn trail(event: &Event<'_>) -> Vec<String> {
    let name = |crumb: &Breadcrumb| match &crumb.message {
        Some(message) => message.clone(),
        None => crumb.data["url"].as_str().unwrap().replace("http://kitchen.test", ""),
    };
    event.breadcrumbs.iter().map(name).collect()
}

#[test]
fn calls_are_among_the_breadcrumbs_by_time_as_if_they_had_been_added() {
    /// Adds a breadcrumb for each word, or makes a call to each path.
    async fn walk(steps: &str) {
        for step in steps.split(' ') {
            if step.starts_with('/') {
                call(step).await;
            } else {
                add_breadcrumb(step);
            }
        }
    }
    fn edit(mut crumb: Breadcrumb) -> Option<Breadcrumb> {
        let path = crumb.data.get("url").map(|url| url.as_str().unwrap().to_owned());
        if path.as_ref().is_some_and(|path| path.ends_with("/hidden")) {
            return None;
        }
        let name = crumb.message.or(path).unwrap();
        crumb.message = Some(name.replace("http://kitchen.test", "") + "!");
        Some(crumb)
    }
    fn limit(most: usize) -> ClientOptions {
        ClientOptions::new().max_breadcrumbs(most)
    }
    fn edits() -> ClientOptions {
        ClientOptions::new().before_breadcrumb(edit)
    }
    fn asks_in_vain() -> ClientOptions {
        limit(0).before_breadcrumb(|_| panic!("asked about a breadcrumb that is not kept"))
    }
    type Row = (fn() -> ClientOptions, &'static str, &'static str);
    let table: [Row; 10] = [
        (ClientOptions::new, "/1 /2", "/1 /2"),
        (ClientOptions::new, "/1 a /2 b /3", "/1 a /2 b /3"),
        (ClientOptions::new, "a b /1", "a b /1"),
        (edits, "/1 a /hidden /2", "/1! a! /2!"),
        (edits, "/hidden", ""),
        (|| limit(3), "/1 a /2 b", "a /2 b"),
        (|| limit(3), "a /1 /2 /3 /4 /5", "/3 /4 /5"),
        (|| limit(3), "/1 a b c", "a b c"),
        (|| limit(0), "/1 a", ""),
        (asks_in_vain, "/1", ""),
    ];
    for (options, steps, expected) in table {
        each_way(options, async |sentry, way, layer| {
            let handler = async move || {
                walk(steps).await;
                capture("first");
                // The next event shows the same breadcrumbs.
                capture("second");
            };
            let app = Router::new().route("/orders/{place}", post(handler)).layer(layer.clone());
            send(&app, "one").await;
            let events = sentry.take_events();
            for event in &events {
                assert_eq!(trail(event).join(" "), expected, "{steps}, {way}");
            }
            assert_eq!(events[0].breadcrumbs, events[1].breadcrumbs, "{steps}, {way}");
            // The report of the failure shows them too.
            let handler = async move || {
                walk(steps).await;
                FAILED
            };
            let layer = layer.capture_failures(Failures::new());
            let app = Router::new().route("/orders/{place}", post(handler)).layer(layer);
            send(&app, "one").await;
            let [report] = &sentry.take_events()[..] else { panic!("{steps}, {way}") };
            assert_eq!(trail(report).join(" "), expected, "{steps}, {way}");
        });
    }
}

#[test]
fn without_a_call_the_breadcrumbs_stay_in_the_order_of_the_event() {
    async fn handler() {
        for (message, timestamp) in [("late", SystemTime::now()), ("early", UNIX_EPOCH)] {
            let message = Some(message.to_owned());
            sentry::add_breadcrumb(Breadcrumb { message, timestamp, ..Default::default() });
        }
        capture("handled");
    }
    each_way(ClientOptions::new, async |sentry, way, layer| {
        let app = Router::new().route("/orders/{place}", post(handler)).layer(layer);
        send(&app, "one").await;
        assert_eq!(trail(&sentry.take_events()[0]), ["late", "early"], "{way}");
    });
}

#[test]
fn a_call_is_shown_by_events_of_a_hub_that_was_forked_before_it() {
    async fn handler() {
        let inner = Arc::new(Hub::new_from_top(Hub::current()));
        async {
            call("/inside").await;
            capture("inside");
        }
        .bind_hub(inner)
        .await;
        capture("outside");
    }
    each_way(ClientOptions::new, async |sentry, way, layer| {
        let app = Router::new().route("/orders/{place}", post(handler)).layer(layer);
        send(&app, "one").await;
        for event in sentry.take_events() {
            let text = text(&event);
            assert_eq!(trail(&event), ["/inside"], "{text}, {way}");
        }
    });
}

#[test]
fn a_fork_shows_the_calls_before_it_and_then_its_own() {
    async fn handler() {
        call("/before").await;
        add_breadcrumb("before");
        let fork = TransactionIdScope::fork_current().unwrap();
        let rest = InScope::rest_of_request(async {
            call("/rest").await;
            capture("rest");
        });
        call("/request").await;
        let fork = fork.bind(async {
            call("/fork").await;
            add_breadcrumb("fork");
            let nested = InScope::fork(async {
                call("/nested").await;
                capture("nested");
            });
            tokio::spawn(nested).await.unwrap();
            capture("fork");
        });
        tokio::spawn(fork).await.unwrap();
        tokio::spawn(rest).await.unwrap();
        capture("request");
    }
    each_way(ClientOptions::new, async |sentry, way, layer| {
        let app = Router::new().route("/orders/{place}", post(handler)).layer(layer);
        send(&app, "one").await;
        let events = sentry.take_events();
        let trails: BTreeMap<_, _> =
            events.iter().map(|event| (text(event), trail(event).join(" "))).collect();
        let expected = [
            ("fork", "/before before /fork fork"),
            ("nested", "/before before /fork fork /nested"),
            ("request", "/before before /request"),
            ("rest", "/before before /rest"),
        ];
        let expected = expected.map(|(text, trail)| (text.to_owned(), trail.to_owned()));
        assert_eq!(trails, BTreeMap::from(expected), "{way}");
        for event in &events {
            assert_shows_the_order(event, "one", way);
        }
    });
}

#[test]
fn a_job_inside_of_a_request_shows_nothing_of_it() {
    async fn handler() {
        call("/request").await;
        // A job is work of its own, even under the ID of the request.
        for id in ["job", "mine"] {
            let job = TransactionIdScope::new(id.parse().unwrap());
            let work = async {
                capture("at the start");
                call("/job").await;
                capture("after a call");
            };
            job.bind(work).await;
        }
        capture("request");
    }
    each_way(ClientOptions::new, async |sentry, way, layer| {
        let app = Router::new().route("/orders/{place}", post(handler)).layer(layer);
        send(&app, "one").await;
        let mut events = sentry.take_events();
        let request = events.pop().unwrap();
        for (event, id) in events.iter().zip(["job", "job", "mine", "mine"]) {
            assert_eq!(tag(event, "transaction_id").as_deref(), Some(id), "{way}");
            assert_shows_no_request(event, way);
            assert!(!event.contexts.contains_key("transaction_id"), "{way}");
            let expected: &[&str] = if text(event) == "after a call" { &["/job"] } else { &[] };
            assert_eq!(trail(event), expected, "{way}");
        }
        assert_eq!(trail(&request), ["/request"], "{way}");
        assert_shows_the_order(&request, "one", way);
    });
}

/// A future that one request leaves for another to poll.
type Shelf = Arc<Mutex<Option<BoxFuture<'static, ()>>>>;

#[test]
fn a_task_with_the_hub_alone_never_shows_another_request() {
    each_way(ClientOptions::new, async |sentry, way, layer| {
        let (shelf, wake) = (Shelf::default(), Arc::new(Notify::new()));
        let (left, woken) = (shelf.clone(), wake.clone());
        let leaves = async move || {
            call("/mine").await;
            let task = async move {
                woken.notified().await;
                capture("in a task");
            };
            tokio::spawn(task.bind_hub(Hub::current()));
            let work = async {
                capture("in another request");
            };
            *left.lock().unwrap() = Some(work.bind_hub(Hub::current()).boxed());
        };
        let takes = async move || {
            call("/another").await;
            wake.notify_one();
            // The task runs while this request waits.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            let work = shelf.lock().unwrap().take();
            work.unwrap().await;
            capture("of its own");
        };
        let app = Router::new()
            .route("/orders/{place}", post(leaves))
            .route("/another", post(takes))
            .layer(layer);
        send(&app, "one").await;
        let another = Request::post("http://another.test/another")
            .header("x-transaction-id", "another")
            .body(Body::empty());
        app.oneshot(another.unwrap()).await.unwrap();
        let mut events = sentry.take_events();
        let of_its_own = events.pop().unwrap();
        assert_eq!(of_its_own.transaction.as_deref(), Some("POST /another"), "{way}");
        assert_eq!(trail(&of_its_own), ["/another"], "{way}");
        assert_eq!(events.len(), 2, "{way}");
        for event in &events {
            assert_eq!(tag(event, "transaction_id").as_deref(), Some("mine"), "{way}");
            assert!(!format!("{event:?}").contains("another.test"), "{way}: {event:?}");
            assert!(!trail(event).contains(&"/another".to_owned()), "{way}: {event:?}");
        }
    });
}

#[test]
fn requests_that_use_the_same_memory_show_their_own_calls_and_headers() {
    async fn handler(Path(number): Path<usize>) -> String {
        for part in 0..number % 4 {
            call(&format!("/{number}/{part}")).await;
            tokio::task::yield_now().await;
        }
        match number % 5 {
            0 => {}
            1 => sentry::configure_scope(|scope| scope.set_tag("own", number)),
            _ => add_breadcrumb("own"),
        }
        sentry::capture_message(&number.to_string(), Level::Warning);
        TransactionId::current().unwrap().to_string()
    }
    each_way(ClientOptions::new, async |sentry, way, layer| {
        let app = Router::new().route("/orders/{number}", post(handler)).layer(layer);
        let send = async |number: usize| {
            let mut request = Request::post(format!("http://shop.test/orders/{number}"))
                .header("x-transaction-id", format!("id-{number}"));
            if number.is_multiple_of(2) {
                request = request.header("user-agent", format!("browser {number}"));
            }
            let request = request.body(Body::empty()).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        };
        // One request alone and two at once, in turns.
        for number in (0..99).step_by(3) {
            send(number).await;
            join(send(number + 1), send(number + 2)).await;
        }
        let events = sentry.take_events();
        assert_eq!(events.len(), 99);
        for event in events {
            let number: usize = text(&event).parse().unwrap();
            assert_eq!(tag(&event, "transaction_id"), Some(format!("id-{number}")), "{way}");
            assert_eq!(tag(&event, "own"), (number % 5 == 1).then(|| number.to_string()), "{way}");
            let request = event.request.as_ref().unwrap();
            assert_eq!(url(request), format!("http://shop.test/orders/{number}"), "{way}");
            let agent = format!("browser {number}");
            let agent = [("user-agent", agent.as_str())];
            let expected = if number.is_multiple_of(2) { &agent[..] } else { &[] };
            assert_eq!(headers(request), expected, "{number}, {way}");
            let mut expected: Vec<_> =
                (0..number % 4).map(|part| format!("/{number}/{part}")).collect();
            expected.extend((number % 5 > 1).then(|| "own".to_owned()));
            assert_eq!(trail(&event), expected, "{number}, {way}");
        }
        capture("outside");
        let [outside] = &sentry.take_events()[..] else { panic!("{way}") };
        assert_shows_no_request(outside, way);
        assert_eq!(trail(outside), Vec::<String>::new(), "{way}");
    });
}

#[test]
fn an_event_below_two_hubs_that_complete_it_shows_each_call_once() {
    async fn handler() {
        // The hub of the request has the event processor, and so has a scope that is opened on a fork.
        let fork = Arc::new(Hub::new_from_top(Hub::current()));
        let job = Hub::run(fork, || TransactionIdScope::new("a-job".parse().unwrap()));
        let work = async {
            call("/once").await;
            capture("of the job");
        };
        job.bind(work).await;
    }
    each_way(ClientOptions::new, async |sentry, way, layer| {
        let app = Router::new().route("/orders/{place}", post(handler)).layer(layer);
        send(&app, "one").await;
        let [event] = &sentry.take_events()[..] else { panic!("{way}") };
        assert_eq!(trail(event), ["/once"], "{way}");
    });
}

#[test]
fn an_open_stream_keeps_no_buffer_of_its_request() {
    each_way(ClientOptions::new, async |_, way, layer| {
        let alive = Arc::new(AtomicUsize::new(0));
        let of_call = alive.clone();
        let handler = async move || {
            let uri = Buffer::uri("http://kitchen.test/cook", &of_call);
            send_call(Request::get(uri).body(()).unwrap()).await;
            let frame = pending::<Result<&str, Never>>();
            Body::from_stream(stream::once(frame))
        };
        let app = Router::new().fallback(handler).layer(layer);
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Buffer::uri("/orders/one", &alive);
        for (name, value) in [("x-transaction-id", "mine"), ("user-agent", "browser")] {
            request.headers_mut().insert(name, Buffer::header_value(value, &alive));
        }
        let mut response = app.oneshot(request).await.unwrap();
        // Drops the buffer of the echo, which a server has written by then.
        response.headers_mut().clear();
        assert!(alive.load(SeqCst) > 0, "{way}");
        for _ in 0..2 {
            assert!(poll!(response.body_mut().frame()).is_pending());
        }
        assert_eq!(alive.load(SeqCst), 0, "{way}");
    });
}
