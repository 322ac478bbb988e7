//! Messages of any protocol: each has its own ID, in a queue, a batch and a retry, and a performance
//! transaction in the trace of its sender.

use std::collections::{BTreeSet, HashMap};
use std::future::pending;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue};
use sentry::protocol::{self, Event, SpanStatus};
use sentry::{ClientOptions, Hub, Level, capture_message};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_transaction_id::messages::{BindMessageLayer, MessageContext, OutboundContext};
use tower_transaction_id::{
    BindTransactionIdLayer, InScope, TransactionId, TransactionIdIntegration, TransactionIdScope,
    X_TRANSACTION_ID,
};

use crate::support::{
    CaptureOnDrop, Sentry, capture, printed, story, story_with, tag, text, trace,
};

const TRACE: &str = "09e04486820349518ac7b5d2adbf6ba5";
const PARENT: &str = "9438b6a1d9b86aa4";

#[derive(Clone, Debug, Default)]
struct Order {
    headers: HashMap<String, String>,
    wish: String,
}

fn order(wish: &str, headers: &[(&str, &str)]) -> Order {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Order { headers: headers.iter().map(own).collect(), wish: wish.to_owned() }
}

fn layer() -> BindMessageLayer<Order> {
    BindMessageLayer::new("orders", |order: &Order| MessageContext::from(&order.headers))
}

/// Fails for every wish but a hot dog.
async fn cook(order: Order) -> io::Result<TransactionId> {
    tokio::task::yield_now().await;
    match order.wish.as_str() {
        "hot dog" => Ok(TransactionId::current().expect("a message is in a scope")),
        wish => Err(io::Error::other(format!("out of {wish}"))),
    }
}

fn context<'a>(event: &'a Event<'_>) -> &'a protocol::Map<String, protocol::Value> {
    match &event.contexts["transaction_id"] {
        protocol::Context::Other(context) => context,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_keeps_its_id_and_each_failed_attempt_is_one_event() {
    for base in [false, true] {
        story(async |sentry| {
            let mut layer = layer().capture_errors(true);
            if base {
                layer = layer.hub(&sentry.hub);
            }
            let layer = layer.read_errors(|error: &io::Error| error);
            let worker = ServiceBuilder::new().layer(layer).service_fn(cook);
            for id in ["order-7", "order-7", "order-8"] {
                let order = order("rye", &[("x-transaction-id", id)]);
                worker.clone().oneshot(order).await.unwrap_err();
            }
            let events = sentry.take_events();
            let seen: Vec<_> = events.iter().map(|event| tag(event, "transaction_id")).collect();
            assert_eq!(seen, ["order-7", "order-7", "order-8"].map(|id| Some(id.to_owned())));
            for event in &events {
                let [exception] = &event.exception.values[..] else { panic!("{event:?}") };
                assert_eq!(exception.value.as_deref(), Some("out of rye"));
                let mechanism = exception.mechanism.as_ref().unwrap();
                assert_eq!(
                    (mechanism.ty.as_str(), mechanism.handled),
                    ("auto.queue.tower", Some(true))
                );
                assert_eq!(event.transaction.as_deref(), Some("orders"));
                assert_eq!(event.fingerprint[..2], ["queue.process", "orders"]);
                assert_eq!(context(event)["source"], "inbound");
                assert_eq!(event.request, None);
            }
            // The attempts are work of their own, in traces of their own.
            let traces: BTreeSet<_> =
                events.iter().map(|event| trace(&event.contexts).trace_id.to_string()).collect();
            assert_eq!(traces.len(), 3, "{traces:?}");

            let kept = worker.oneshot(order("hot dog", &[("X-Transaction-ID", "order-9")])).await;
            assert_eq!(kept.unwrap(), "order-9");
            assert_eq!(sentry.take(), []);
            assert_eq!(TransactionId::current(), None);
        });
    }
}

#[test]
fn an_error_is_reported_once_and_only_if_asked() {
    story_with(
        ClientOptions::new().add_integration(TransactionIdIntegration::new()),
        async |sentry| {
            let by_hand = |_: Order| async {
                capture("out of mustard");
                Err::<(), _>("no dog")
            };
            let silent = ServiceBuilder::new().layer(layer()).service_fn(by_hand);
            silent.oneshot(order("rye", &[])).await.unwrap_err();
            assert_eq!(sentry.take().len(), 1, "the event of the service");

            let layer = layer().capture_errors(true);
            let reports = ServiceBuilder::new().layer(layer.clone()).service_fn(by_hand);
            reports.oneshot(order("rye", &[])).await.unwrap_err();
            let events = sentry.take_events();
            assert_eq!(events.iter().map(text).collect::<Vec<_>>(), ["out of mustard"]);
            assert_eq!(events[0].transaction.as_deref(), Some("orders"));

            // The type of this error cannot be read as an `Error`, so its name has to do.
            let fails = ServiceBuilder::new().layer(layer).service_fn(|_: Order| async {
                capture_message("a warning stands for nothing", Level::Warning);
                Err::<(), _>("no dog")
            });
            fails.oneshot(order("rye", &[("x-transaction-id", "order-7")])).await.unwrap_err();
            let events = sentry.take_events();
            let [_, report] = &events[..] else { panic!("{events:?}") };
            assert_eq!(report.exception[0].ty, "&str");
            assert_eq!(tag(report, "transaction_id").as_deref(), Some("order-7"));
        },
    );
}

#[test]
fn every_message_of_a_batch_has_its_own_id() {
    story(async |sentry| {
        let worker = ServiceBuilder::new().layer(layer()).service_fn(async |order: Order| {
            Hub::current().configure_scope(|scope| scope.set_tag("wish", &order.wish));
            // All messages wait for each other, so all are under way at once.
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            capture(&order.wish);
            let part = InScope::fork(async { TransactionId::current() });
            tokio::spawn(part).await.map_err(io::Error::other)
        });
        let attempts = (0..50).map(|n| {
            let id = format!("order-{n}");
            worker.clone().oneshot(order(&id, &[("x-transaction-id", &id)]))
        });
        let ids = join_all(attempts).await;
        for (n, id) in ids.into_iter().enumerate() {
            assert_eq!(id.unwrap().unwrap(), format!("order-{n}").as_str());
        }
        let events = sentry.take_events();
        assert_eq!(events.len(), 50);
        for event in events {
            assert_eq!(tag(&event, "transaction_id"), event.message, "{event:?}");
            assert_eq!(tag(&event, "wish"), event.message, "{event:?}");
        }
    });
}

#[test]
fn an_id_that_is_hostile_or_not_trusted_is_replaced_and_the_refusal_is_recorded() {
    story(async |sentry| {
        let worker = |layer: BindMessageLayer<Order>| {
            ServiceBuilder::new().layer(layer.capture_errors(true)).service_fn(cook)
        };
        let hostile = "<script>alert(1)</script>";
        let several = [("X-Transaction-ID", "order-7"), ("x-transaction-ID", "order-8")];
        for (headers, rule) in [
            (
                &[("X-Transaction-ID", hostile)][..],
                "only ASCII letters, digits and -_.:+/=@~ are allowed",
            ),
            (&[("X-Transaction-ID", "")], "it must have 1 to 200 bytes"),
            (&[("X-Transaction-ID", "null")], "it is a placeholder"),
            (&several, "several values that differ"),
        ] {
            worker(layer()).oneshot(order("rye", headers)).await.unwrap_err();
            let events = sentry.take_events();
            let [event] = &events[..] else { panic!("{events:?}") };
            assert_eq!(tag(event, "transaction_id").unwrap().len(), 32, "a new ID");
            assert_eq!(context(event)["source"], "generated");
            assert_eq!(context(event)["refused"], rule);
            assert!(!format!("{event:?}").contains("alert"));
        }

        let layer = layer().trust(|order| order.headers.contains_key("signature"));
        let headers =
            [("x-transaction-id", "order-7"), ("sentry-trace", &format!("{TRACE}-{PARENT}"))];
        for (signature, upstream) in [(None, Some("order-7")), (Some(("signature", "ok")), None)] {
            let headers: Vec<_> = headers.iter().copied().chain(signature).collect();
            worker(layer.clone()).oneshot(order("rye", &headers)).await.unwrap_err();
            let events = sentry.take_events();
            assert_eq!(tag(&events[0], "upstream_transaction_id").as_deref(), upstream);
            let is_kept = tag(&events[0], "transaction_id").unwrap() == "order-7";
            assert_eq!(is_kept, upstream.is_none());
            let is_continued = trace(&events[0].contexts).trace_id.to_string() == TRACE;
            assert_eq!(
                is_continued,
                upstream.is_none(),
                "only a trusted message's trace is continued"
            );
        }
    });
}

#[test]
fn trust_is_asked_of_each_message_that_brings_an_id_or_a_trace() {
    story(async |sentry| {
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = asked.clone();
        let layer = layer().trust(move |_| {
            ask.fetch_add(1, Relaxed);
            true
        });
        let (id, trace_line) = ("order-7", format!("{TRACE}-{PARENT}"));
        for (headers, is_asked) in [
            (&[("x-transaction-id", id)][..], true),
            (&[("sentry-trace", trace_line.as_str())], true),
            (&[("x-transaction-id", "<script>")], false),
            (&[], false),
        ] {
            let scope = layer.scope(&order("rye", headers));
            scope.run(|| capture("cooked"));
            assert_eq!(asked.swap(0, Relaxed), usize::from(is_asked), "{headers:?}");
            let brings = |pair: (&str, &str)| headers.contains(&pair);
            assert_eq!(*scope.id() == id, brings(("x-transaction-id", id)));
            let of_event = trace(&sentry.take_events()[0].contexts).trace_id.to_string();
            assert_eq!(of_event == TRACE, brings(("sentry-trace", &trace_line)));
        }
    });
}

#[test]
fn outside_any_scope_a_message_is_in_the_trace_of_the_active_span() {
    story_with(ClientOptions::new().traces_sample_rate(1.0), async |sentry| {
        let context = sentry::TransactionContext::new("shop", "main");
        let shop = sentry.hub.start_transaction(context);
        sentry.hub.configure_scope(|scope| scope.set_span(Some(shop.clone().into())));
        let expected = shop.get_trace_context().trace_id.to_string();
        let message = OutboundContext::new().in_span("orders");
        let pairs: HashMap<_, _> = message.pairs().collect();
        assert!(pairs["sentry-trace"].starts_with(&expected), "{pairs:?}");
        assert!(pairs["baggage"].contains(&format!("sentry-trace_id={expected}")), "{pairs:?}");
        drop(message);
        shop.finish();
    });
}

#[test]
fn the_lines_of_a_message_are_in_the_span_that_is_made_for_it() {
    story(async |_| {
        let layer = layer().make_span_with(
            |order, id| tracing::info_span!("cook", transaction_id = %id, wish = order.wish),
        );
        let worker = ServiceBuilder::new().layer(layer).service_fn(async |order| {
            tokio::task::yield_now().await;
            tracing::info!("the grill is hot");
            cook(order).await
        });
        let order = order("hot dog", &[("x-transaction-id", "order-7")]);
        worker.oneshot(order).await.unwrap();
        let line = "cook{transaction_id=order-7 wish=\"hot dog\"}: it::messages: the grill is hot";
        assert!(printed().contains(line), "{}", printed());
    });
}

#[test]
fn with_a_base_the_hub_of_the_worker_does_not_count() {
    story(async |sentry| {
        let base = Sentry::new();
        let trace_line = format!("{TRACE}-{PARENT}");
        let order = order("rye", &[("sentry-trace", &trace_line)]);
        layer().hub(&base.hub).scope(&order).run(|| capture("cooked"));
        let events = base.take_events();
        assert_eq!((events.len(), sentry.take().len()), (1, 0));
        assert_eq!(trace(&events[0].contexts).trace_id.to_string(), TRACE);
    });
}

#[test]
fn on_a_hub_that_is_not_of_the_current_scope_an_event_shows_its_message_as_well() {
    story(async |sentry| {
        let other = Sentry::new();
        let outer = TransactionIdScope::new("outer".parse().unwrap());
        outer.run(|| {
            Hub::run(other.hub.clone(), || {
                layer().scope(&order("rye", &[])).run(|| capture("cooked"));
            });
        });
        assert_eq!(other.take_events()[0].transaction.as_deref(), Some("orders"));
        assert_eq!(sentry.take(), []);
    });
}

#[test]
fn a_message_that_is_dropped_is_dropped_in_its_scope() {
    story_with(ClientOptions::new().traces_sample_rate(1.0), async |sentry| {
        let layer = layer().measure_performance(true);
        let mut worker = layer.layer(service_fn(|_: Order| async {
            let _guard = CaptureOnDrop("dropped");
            pending::<io::Result<()>>().await
        }));
        let mut attempt = Box::pin(worker.call(order("rye", &[("x-transaction-id", "order-7")])));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(attempt.as_mut().poll(&mut cx), Poll::Pending));
        assert_eq!(TransactionId::current(), None);
        drop(attempt);
        let sent = sentry.take_sent();
        let event = sent.event("dropped");
        assert_eq!(tag(event, "transaction_id").as_deref(), Some("order-7"));
        let [transaction] = &sent.transactions[..] else { panic!("{sent:?}") };
        assert_eq!(trace(&transaction.contexts).status, Some(SpanStatus::Cancelled));
        assert_eq!(transaction.tags["transaction_id"], "order-7");
    });
}

#[test]
fn publish_and_process_are_in_one_trace() {
    let options = || {
        ClientOptions::new()
            .traces_sample_rate(1.0)
            .add_integration(TransactionIdIntegration::new())
    };
    story_with(options(), async |sentry| {
        let shop = BindTransactionIdLayer::new().measure_performance(true).layer(service_fn(
            async |_: http::Request<String>| {
                let message = OutboundContext::new().in_span("orders");
                let mut headers = HashMap::new();
                message.write(&mut headers);
                message.finish(&Ok::<_, io::Error>(()));
                let never_sent = OutboundContext::new().in_span("refunds");
                drop(never_sent);
                let broken = OutboundContext::new().in_span("refunds");
                broken.finish(&Err::<(), _>("the broker is down"));
                Ok::<_, io::Error>(http::Response::new(String::new()).map(|_| String::new())).map(
                    |mut response| {
                        response.extensions_mut().insert(headers);
                        response
                    },
                )
            },
        ));
        let mut request = http::Request::new(String::new());
        request.headers_mut().insert(X_TRANSACTION_ID, HeaderValue::from_static("order-7"));
        let mut response = shop.oneshot(request).await.unwrap();
        let headers: HashMap<String, String> = response.extensions_mut().remove().unwrap();
        drop(response);
        assert_eq!(headers["X-Transaction-ID"], "order-7");

        let worker = ServiceBuilder::new()
            .layer(layer().measure_performance(true).capture_errors(true))
            .service_fn(cook);
        for wish in ["hot dog", "rye"] {
            let order = Order { headers: headers.clone(), wish: wish.to_owned() };
            let _ = worker.clone().oneshot(order).await;
        }

        let sent = sentry.take_sent();
        let [publish, cooked, failed] = &sent.transactions[..] else { panic!("{sent:?}") };
        let spans: Vec<_> =
            publish.spans.iter().map(|span| (span.op.as_deref(), span.status)).collect();
        let op = Some("queue.publish");
        assert_eq!(
            spans,
            [
                (op, Some(SpanStatus::Ok)),
                (op, Some(SpanStatus::Cancelled)),
                (op, Some(SpanStatus::InternalError)),
            ]
        );
        assert_eq!(publish.spans[0].description.as_deref(), Some("orders"));
        for (process, status) in [(cooked, SpanStatus::Ok), (failed, SpanStatus::InternalError)] {
            let of_process = trace(&process.contexts);
            assert_eq!(process.name.as_deref(), Some("orders"));
            assert_eq!(of_process.op.as_deref(), Some("queue.process"));
            assert_eq!(of_process.status, Some(status));
            assert_eq!(of_process.trace_id, trace(&publish.contexts).trace_id);
            assert_eq!(of_process.parent_span_id, Some(publish.spans[0].span_id));
            assert_eq!(process.tags["transaction_id"], "order-7");
            assert_eq!(of_process.data["messaging.destination.name"], "orders");
        }
        let [report] = &sent.events[..] else { panic!("{sent:?}") };
        assert_eq!(trace(&report.contexts).trace_id, trace(&publish.contexts).trace_id);
        assert_eq!(tag(report, "transaction_id").as_deref(), Some("order-7"));
    });
}

#[test]
fn a_trace_goes_through_a_queue_without_performance_monitoring() {
    story(async |sentry| {
        let job = TransactionIdScope::new("order-7".parse().unwrap());
        let (with, without, headers) = job.run(|| {
            capture("published");
            let mut headers = HeaderMap::new();
            OutboundContext::new().in_span("orders").write_headers(&mut headers);
            let pairs = |message: OutboundContext| {
                message.pairs().map(|(name, value)| (name, value.to_owned())).collect::<Vec<_>>()
            };
            (pairs(OutboundContext::new().with_trace()), pairs(OutboundContext::new()), headers)
        });
        assert_eq!(without, [("X-Transaction-ID", "order-7".to_owned())]);
        let names: Vec<_> = with.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["X-Transaction-ID", "sentry-trace", "baggage"]);
        let published = trace(&sentry.take_events()[0].contexts).trace_id.to_string();
        assert!(with[1].1.starts_with(&published), "{with:?}");
        assert!(with[2].1.contains(&format!("sentry-trace_id={published}")), "{with:?}");
        assert_eq!(headers[X_TRANSACTION_ID], "order-7");
        assert_eq!(headers["sentry-trace"].as_bytes()[..32], *published.as_bytes());

        let layer = BindMessageLayer::new("orders", |headers: &HeaderMap| headers.into());
        layer.scope(&headers).run(|| capture("processed"));
        let events = sentry.take_events();
        assert_eq!(trace(&events[0].contexts).trace_id.to_string(), published);
        assert_eq!(tag(&events[0], "transaction_id").as_deref(), Some("order-7"));
    });
}

#[test]
fn a_fork_passes_the_baggage_of_the_sender_on_as_well() {
    story(async |_| {
        let sentry_trace = format!("{TRACE}-{PARENT}");
        for (baggage, expected) in [
            (Some("sentry-release=1; p = 2,theirs=2"), Some("sentry-release=1; p = 2")),
            (None, None),
        ] {
            let pairs =
                [Some(("sentry-trace", sentry_trace.as_str())), baggage.map(|b| ("baggage", b))];
            let context = MessageContext::read(pairs.into_iter().flatten());
            let scope = BindMessageLayer::new("orders", MessageContext::clone).scope(&context);
            let sent = || {
                let mut sent = HashMap::new();
                OutboundContext::new().with_trace().write(&mut sent);
                assert!(sent["sentry-trace"].starts_with(TRACE), "{sent:?}");
                sent.remove("baggage")
            };
            for sent in [scope.run(sent), scope.fork().run(sent)] {
                assert_eq!(sent.as_deref(), expected);
            }
        }
    });
}

#[test]
fn a_message_that_is_sent_on_has_one_id_and_one_trace() {
    story(async |_| {
        let old = [
            ("x-transaction-id", "old-1"),
            ("Sentry-Trace", &format!("{TRACE}-{PARENT}-1")),
            ("baggage", "sentry-trace_id=old,, theirs=kept;p=1"),
            ("wish", "rye"),
        ];
        let job = TransactionIdScope::new("order-7".parse().unwrap());
        let (pairs, headers, kept) = job.run(|| {
            let message = OutboundContext::new().with_trace();
            let mut pairs = order("rye", &old).headers;
            message.write(&mut pairs);
            let mut headers = HeaderMap::new();
            for (name, value) in old {
                let name: http::HeaderName = name.parse().unwrap();
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
            message.write_headers(&mut headers);
            let mut kept = order("rye", &old).headers;
            OutboundContext::new().write(&mut kept);
            let mut kept_headers = HeaderMap::new();
            kept_headers.insert("sentry-trace", HeaderValue::from_str(old[1].1).unwrap());
            OutboundContext::new().write_headers(&mut kept_headers);
            assert_eq!(kept_headers["sentry-trace"], old[1].1);
            (pairs, headers, kept)
        });
        let names: BTreeSet<&str> = pairs.keys().map(String::as_str).collect();
        assert_eq!(names, ["X-Transaction-ID", "baggage", "sentry-trace", "wish"].into());
        assert_eq!(pairs["X-Transaction-ID"], "order-7");
        assert!(!pairs["sentry-trace"].contains(TRACE));
        assert!(pairs["baggage"].starts_with("theirs=kept;p=1,sentry-trace_id="), "{pairs:?}");
        for (name, value) in &pairs {
            assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
        }
        // Without a trace of its own, the message keeps the trace that it has.
        assert_eq!(kept["Sentry-Trace"], old[1].1);
        assert_eq!((kept["X-Transaction-ID"].as_str(), kept.len()), ("order-7", 4));
    });
}

#[test]
fn pairs_are_read_in_any_case_and_at_most_once() {
    let id = |pairs: &[(&str, &[u8])]| {
        MessageContext::read(pairs.iter().copied()).id().map(ToString::to_string)
    };
    let kept = Some("order-7".to_owned());
    assert_eq!(id(&[("X-Transaction-Id", b"order-7")]), kept);
    assert_eq!(id(&[("X-Transaction-ID", b"order-7"), ("x-transaction-id", b"order-7")]), kept);
    assert_eq!(id(&[("X-Transaction-ID", b"order-7"), ("x-transaction-id", b"order-8")]), None);
    assert_eq!(id(&[("X-Transaction-ID", b"order-7"), ("x-transaction-id", b"\xff")]), None);
    let none = MessageContext::read([("wish", "rye")]);
    assert_eq!(none.clone().or_id(Some("stream-9")).id().unwrap(), "stream-9");
    assert!(none.or_id(Some("<script>")).id().is_none());
    let brings = MessageContext::from("order-7".parse::<TransactionId>().unwrap());
    assert_eq!(brings.or_id(Some("stream-9")).id().unwrap(), "order-7");

    // A trace that differs, or is too large to be one, counts as absent.
    story(async |sentry| {
        let trace_of = |pairs: Vec<(&'static str, String)>| {
            type Pairs = Vec<(&'static str, String)>;
            let layer = BindMessageLayer::new("orders", |pairs: &Pairs| {
                MessageContext::read(pairs.iter().cloned())
            });
            layer.scope(&pairs).run(|| capture("cooked"));
            trace(&sentry.take_events()[0].contexts).trace_id.to_string()
        };
        let valid = format!("{TRACE}-{PARENT}");
        let other = format!("{}-{PARENT}", TRACE.replace('0', "1"));
        let one = ("sentry-trace", valid.clone());
        assert_eq!(trace_of(vec![one.clone()]), TRACE);
        assert_eq!(trace_of(vec![one.clone(), ("Sentry-Trace", valid)]), TRACE);
        assert_ne!(trace_of(vec![one.clone(), ("Sentry-Trace", other)]), TRACE);
        assert_ne!(
            trace_of(vec![("sentry-trace", format!("{}{}", one.1, " ".repeat(200)))]),
            TRACE
        );
        // The next message passes the baggage on, unless it is too large.
        for (len, is_kept) in [(8000, true), (9000, false)] {
            let members = format!("sentry-release=1,theirs={}", "a".repeat(len));
            let context = MessageContext::read([one.clone(), ("baggage", members)]);
            let layer = BindMessageLayer::new("orders", MessageContext::clone);
            let baggage = layer.scope(&context).run(|| {
                let next = OutboundContext::new().with_trace();
                next.pairs().find(|(name, _)| *name == "baggage").map(|(_, value)| value.to_owned())
            });
            assert_eq!(baggage.as_deref(), is_kept.then_some("sentry-release=1"), "{len}");
        }
    });
}

#[test]
fn names_and_operations_can_differ_by_message() {
    let options = ClientOptions::new()
        .traces_sample_rate(1.0)
        .add_integration(TransactionIdIntegration::new());
    story_with(options, async |sentry| {
        let layer = layer()
            .name_with(|order| if order.wish == "rye" { "breads" } else { "others" })
            .operation("rpc.server")
            .capture_errors(true)
            .measure_performance(true);
        let worker = ServiceBuilder::new().layer(layer).service_fn(async |order: Order| {
            for part in [InScope::fork, InScope::rest_of_request] {
                let _ = part(async { capture_message("a part", Level::Info) }).await;
            }
            cook(order).await
        });
        worker.clone().oneshot(order("rye", &[])).await.unwrap_err();
        worker.oneshot(order("mustard", &[])).await.unwrap_err();
        let sent = sentry.take_sent();
        let of_events: Vec<_> =
            sent.events.iter().map(|event| event.transaction.as_deref()).collect();
        let [breads, others] = ["breads", "others"].map(Some);
        assert_eq!(of_events, [breads, breads, breads, others, others, others]);
        let report = &sent.events[2];
        assert_eq!(report.fingerprint[..2], ["rpc.server", "breads"]);
        assert_eq!(report.exception[0].mechanism.as_ref().unwrap().ty, "auto.rpc.tower");
        let of_transactions =
            sent.transactions.iter().map(|of| (of.name.as_deref(), trace(&of.contexts)));
        let [(_, first), (name, _)] = &of_transactions.collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!((*name, first.op.as_deref()), (others, Some("rpc.server")));
        assert!(!first.data.contains_key("messaging.destination.name"));
    });
}

#[test]
fn a_panic_that_is_caught_ends_the_transaction_as_an_internal_error() {
    story_with(ClientOptions::new().traces_sample_rate(1.0), async |sentry| {
        let worker = ServiceBuilder::new()
            .layer(layer().measure_performance(true))
            .service_fn(async |_: Order| -> io::Result<()> { panic!("too hot") });
        let attempt = worker.oneshot(order("chili", &[("x-transaction-id", "order-7")]));
        AssertUnwindSafe(attempt).catch_unwind().await.unwrap_err();
        let sent = sentry.take_sent();
        let [transaction] = &sent.transactions[..] else { panic!("{sent:?}") };
        assert_eq!(trace(&transaction.contexts).status, Some(SpanStatus::InternalError));
    });
}

#[test]
fn a_message_that_brings_a_trace_is_not_in_the_trace_of_its_worker() {
    story_with(ClientOptions::new().traces_sample_rate(1.0), async |sentry| {
        let context = sentry::TransactionContext::new("worker", "main");
        let worker = sentry.hub.start_transaction(context);
        sentry.hub.configure_scope(|scope| scope.set_span(Some(worker.clone().into())));
        let sentry_trace = format!("{TRACE}-{PARENT}-1");
        let workers = worker.get_trace_context().trace_id.to_string();
        for (headers, expected) in
            [(&[("sentry-trace", sentry_trace.as_str())][..], TRACE), (&[], &workers)]
        {
            layer().scope(&order("rye", headers)).run(|| capture("cooked"));
            let event = &sentry.take_events()[0];
            assert_eq!(trace(&event.contexts).trace_id.to_string(), expected);
        }
        worker.finish();
    });
}

#[test]
fn a_field_of_the_message_can_hold_the_id() {
    story(async |sentry| {
        struct Job {
            id: Option<&'static str>,
        }
        let layer = BindMessageLayer::new("orders", |job: &Job| MessageContext::of_id(job.id));
        for (id, is_kept) in [(Some("order-7"), true), (Some("../7"), false), (None, false)] {
            let scope = layer.scope(&Job { id });
            assert_eq!(Some(scope.id().as_str()) == id, is_kept, "{id:?}");
            // A loop is able to bind a future, and has the errors itself.
            scope.bind(async { capture("cooked") }).await;
        }
        assert_eq!(sentry.take().len(), 3);
    });
}

#[test]
fn without_sentry_the_id_is_there_and_nothing_is_reported() {
    let off = Hub::new(None, std::sync::Arc::default());
    Hub::run(off.into(), || {
        let worker = layer().capture_errors(true).measure_performance(true).layer(service_fn(cook));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let order = order("hot dog", &[("x-transaction-id", "order-7")]);
        assert_eq!(runtime.block_on(worker.oneshot(order)).unwrap(), "order-7");
        // Outside any work, a message that is sent has a new ID.
        let (one, other) = (OutboundContext::new(), OutboundContext::new().with_trace());
        assert_ne!(one.id(), other.id());
        assert_eq!(
            other.pairs().count(),
            1,
            "the trace of the process would tie strangers together"
        );
    });
}
