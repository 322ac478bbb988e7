//! Connections that outlive the request that opened them: each message has an ID of its own, and the ID of
//! the connection as a second tag.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::Event as Line;
use axum::{Router, routing::get};
use futures_util::SinkExt;
use futures_util::stream::{self, Stream, StreamExt};
use sentry::ClientOptions;
use sentry::protocol::{Context, Event, User};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tower_transaction_id::messages::{BindMessageLayer, MessageContext};
use tower_transaction_id::{TransactionId, TransactionIdScope};

use crate::support::{capture, each_hub, raw, serve, story, tag, text, trace};

// The code of the examples, so that it does what their text promises.
#[expect(dead_code, reason = "an example has a main function")]
#[path = "../../examples/events.rs"]
mod events;
#[expect(dead_code, reason = "an example has a main function")]
#[path = "../../examples/websocket.rs"]
mod websocket;

use self::websocket::CONNECTION_TAG;

/// A WebSocket that was opened under an ID, and its messages as JSON.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(address: SocketAddr, id: &str) -> Self {
        let mut request = format!("ws://{address}/counter").into_client_request().unwrap();
        request.headers_mut().insert("x-transaction-id", id.parse().unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        Self(tokio_tungstenite::client_async(request, stream).await.unwrap().0)
    }

    async fn send(&mut self, message: &Value) {
        self.0.send(message.to_string().into()).await.unwrap();
    }

    /// The ID that the next message from the server carries.
    async fn next_id(&mut self) -> String {
        let message = self.0.next().await.unwrap().unwrap();
        let message: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        message["transaction_id"].as_str().unwrap().to_owned()
    }
}

/// The text of an event, its ID and the ID of its connection.
fn facts(event: &Event<'_>) -> [String; 3] {
    let tag = |name| tag(event, name).unwrap_or_default();
    [text(event), tag("transaction_id"), tag(CONNECTION_TAG)]
}

fn is_refused(event: &Event<'_>) -> bool {
    match event.contexts.get("transaction_id") {
        Some(Context::Other(context)) => context.contains_key("refused"),
        _ => false,
    }
}

#[test]
fn each_message_of_a_socket_has_its_own_id_in_both_directions() {
    each_hub(ClientOptions::new(), async |sentry, hub, layer| {
        let app = Router::new().route("/counter", get(websocket::counter)).layer(layer);
        let mut socket = Socket::open(serve(app).await, "visit").await;
        let pushed = socket.next_id().await;

        socket.send(&json!({ "wish": "mustard", "transaction_id": "order-1" })).await;
        assert_eq!(socket.next_id().await, "order-1", "{hub}");
        socket.send(&json!({ "wish": "pickles", "transaction_id": "null" })).await;
        let replaced = socket.next_id().await;
        socket.send(&json!({ "wish": "relish" })).await;
        let generated = socket.next_id().await;

        let mut ids = vec!["visit", &pushed, "order-1", "null", &replaced, &generated];
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6, "{hub}: {ids:?}");

        let events = sentry.take_events();
        let [first, second, third] = &events[..] else { panic!("{hub}: {events:?}") };
        assert_eq!(facts(first), ["out of mustard", "order-1", "visit"], "{hub}");
        assert_eq!(facts(second), ["out of pickles", replaced.as_str(), "visit"], "{hub}");
        assert_eq!(facts(third), ["out of relish", generated.as_str(), "visit"], "{hub}");
        assert_eq!(
            events.iter().map(is_refused).collect::<Vec<_>>(),
            [false, true, false],
            "{hub}"
        );
    });
}

#[test]
fn two_sockets_keep_their_messages_apart() {
    each_hub(ClientOptions::new(), async |sentry, hub, layer| {
        let app = Router::new().route("/counter", get(websocket::counter)).layer(layer);
        let address = serve(app).await;
        let mut sockets =
            [Socket::open(address, "visit-a").await, Socket::open(address, "visit-b").await];
        for round in 0..10 {
            for (socket, visit) in sockets.iter_mut().zip(["visit-a", "visit-b"]) {
                let id = format!("{visit}-{round}");
                socket.send(&json!({ "wish": id, "transaction_id": id })).await;
            }
        }
        for socket in &mut sockets {
            socket.next_id().await;
            for _ in 0..10 {
                socket.next_id().await;
            }
        }
        let events = sentry.take_events();
        assert_eq!(events.len(), 20, "{hub}");
        for [text, id, connection] in events.iter().map(facts) {
            assert_eq!(text, format!("out of {id}"), "{hub}");
            assert_eq!(id.rsplit_once('-').unwrap().0, connection, "{hub}");
        }
    });
}

#[test]
fn each_message_has_its_own_trace_even_if_the_request_is_measured() {
    each_hub(ClientOptions::new().traces_sample_rate(1.0), async |sentry, hub, layer| {
        let layer = layer.measure_performance(true);
        let app = Router::new().route("/counter", get(websocket::counter)).layer(layer);
        let mut socket = Socket::open(serve(app).await, "visit").await;
        socket.next_id().await;
        let mut traces = Vec::new();
        for id in ["order-1", "order-2"] {
            socket.send(&json!({ "wish": "mustard", "transaction_id": id })).await;
            socket.next_id().await;
            let sent = sentry.take_sent();
            let trace = trace(&sent.event("out of mustard").contexts);
            assert_eq!(trace.parent_span_id, None, "{hub}");
            traces.push(trace.trace_id);
        }
        assert_ne!(traces[0], traces[1], "{hub}");
    });
}

#[test]
fn without_the_layer_a_socket_works_and_has_no_second_tag() {
    story(|sentry| async move {
        let app = Router::new().route("/counter", get(websocket::counter));
        let mut socket = Socket::open(serve(app).await, "visit").await;
        socket.next_id().await;
        socket.send(&json!({ "wish": "rye", "transaction_id": "order-1" })).await;
        assert_eq!(socket.next_id().await, "order-1");
        let [event] = &sentry.take_events()[..] else { panic!("not one event") };
        assert_eq!(facts(event), ["out of rye", "order-1", ""]);
    });
}

#[test]
fn a_message_inherits_the_user_of_its_connection_and_keeps_its_own_tags_to_itself() {
    fn message(text: &str) {
        sentry::configure_scope(|scope| scope.set_tag(text, "set"));
        sentry::add_breadcrumb(sentry::Breadcrumb {
            message: Some(text.into()),
            ..Default::default()
        });
        capture(text);
    }
    story(|sentry| async move {
        let connection = TransactionIdScope::new("visit".parse().unwrap());
        let hub = connection.hub().unwrap().clone();
        hub.configure_scope(|hub| {
            hub.set_tag(CONNECTION_TAG, "visit");
            hub.set_user(Some(User { id: Some("ida".to_owned()), ..User::default() }));
        });
        let layer = BindMessageLayer::new("counter", MessageContext::clone);
        connection
            .bind(async {
                for text in ["first", "second"] {
                    let scope = layer.scope(&MessageContext::of_id(Some(text)));
                    scope.bind(async { message(text) }).await;
                }
                capture("between messages");
            })
            .await;

        let events = sentry.take_events();
        let [first, second, between] = &events[..] else { panic!("{events:?}") };
        for (event, id) in [(first, "first"), (second, "second")] {
            assert_eq!(facts(event), [id, id, "visit"]);
            assert_eq!(event.user.as_ref().and_then(|user| user.id.as_deref()), Some("ida"));
            // The two IDs, and the tag that the message itself set.
            assert_eq!(event.tags.len(), 3, "{:?}", event.tags);
            assert_eq!(event.breadcrumbs.len(), 1, "{:?}", event.breadcrumbs);
        }
        assert_eq!(facts(between), ["between messages", "visit", "visit"]);
        assert_eq!((between.tags.len(), between.breadcrumbs.len()), (2, 0), "{between:?}");
        assert_eq!(TransactionId::current(), None);
    });
}

#[test]
fn each_server_sent_event_names_the_id_and_a_failing_step_is_captured_under_it() {
    each_hub(ClientOptions::new(), async |sentry, hub, layer| {
        let app = Router::new().route("/orders/{wish}", get(events::order)).layer(layer);
        let response = get_events(serve(app).await, "/orders/rye").await;
        let (kinds, data) = lines(&response);
        assert_eq!(kinds, ["step", "step", "end"], "{hub}: {response}");
        for data in data {
            assert_eq!(data["transaction_id"], "visit", "{hub}");
        }
        assert_eq!(sentry.take(), [("out of rye".to_owned(), Some("visit".to_owned()))], "{hub}");
    });
}

/// A page that watches the orders of everyone. The failure of one order is not the failure of its own
/// request.
#[test]
fn a_feed_of_the_messages_of_others_names_the_id_of_each() {
    async fn feed(
        State(messages): State<Vec<&'static str>>,
    ) -> Sse<impl Stream<Item = Result<Line, Infallible>>> {
        if let Some(id) = TransactionId::current() {
            sentry::configure_scope(|scope| scope.set_tag(CONNECTION_TAG, id));
        }
        let layer = BindMessageLayer::new("feed", |id: &&str| MessageContext::of_id(Some(id)));
        let lines = stream::iter(messages).map(move |message| {
            layer.scope(&message).run(|| {
                capture("cannot show the order");
                let id = TransactionId::current().unwrap();
                Ok(Line::default()
                    .event("order")
                    .data(json!({ "transaction_id": id.as_str() }).to_string()))
            })
        });
        Sse::new(lines)
    }
    each_hub(ClientOptions::new(), async |sentry, hub, layer| {
        let orders = vec!["order-1", "not an ID", "order-3"];
        let app = Router::new().route("/feed", get(feed)).with_state(orders).layer(layer);
        let response = get_events(serve(app).await, "/feed").await;
        let (_, data) = lines(&response);
        let shown: Vec<_> =
            data.iter().map(|data| data["transaction_id"].as_str().unwrap()).collect();
        assert_eq!([shown[0], shown[2]], ["order-1", "order-3"], "{hub}");

        let events = sentry.take_events();
        assert_eq!(events.len(), 3, "{hub}");
        for (event, shown) in events.iter().zip(shown) {
            assert_eq!(facts(event), ["cannot show the order", shown, "visit"], "{hub}");
        }
    });
}

async fn get_events(address: SocketAddr, path: &str) -> String {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\nx-transaction-id: visit\r\n\r\n"
    );
    raw(address, head.as_bytes()).await
}

/// The kinds of the events of a stream, and their data.
fn lines(response: &str) -> (Vec<&str>, Vec<Value>) {
    let fields = |name| response.lines().filter_map(move |line| line.strip_prefix(name));
    let data = fields("data: ").map(|data| serde_json::from_str(data).unwrap());
    (fields("event: ").collect(), data.collect())
}
