//! The calls of one connection have IDs of their own, and the ID of the connection as a second tag.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jsonrpsee::core::client::{ClientT, Error, SubscriptionClientT};
use jsonrpsee::core::middleware::{Batch, Notification, Request, RpcServiceBuilder, RpcServiceT};
use jsonrpsee::core::params::{ArrayParams, BatchRequestBuilder, ObjectParams};
use jsonrpsee::server::{MethodResponse, RpcModule, Server};
use jsonrpsee_example::{BindCall, CONNECTION_TAG, connect, remember_connection, start};
use sentry::protocol::{Context, Event};
use sentry::test::TestTransport;
use sentry::{ClientOptions, Hub, Level, capture_message};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tower::ServiceBuilder;
use tower_transaction_id::{BindTransactionIdLayer, TransactionId, TransactionIdScope};

/// An enabled Sentry client on a hub of its own, and the events that it sent.
struct Sentry {
    hub: Arc<Hub>,
    sent: Arc<TestTransport>,
}

impl Sentry {
    fn new() -> Self {
        let sent = TestTransport::new();
        let options =
            ClientOptions::new().dsn("https://key@sentry.invalid/1").transport(sent.clone());
        Self { hub: Arc::new(Hub::new(Some(Arc::new(options.into())), Arc::default())), sent }
    }

    /// Waits for `count` events; fails after some seconds. Returns the text, the ID and the ID of the
    /// connection of each, in the order of the texts.
    async fn wait_for(&self, count: usize) -> Vec<[String; 3]> {
        let mut events: Vec<_> = self.wait_for_events(count).await.into_iter().map(facts).collect();
        events.sort();
        events
    }

    async fn wait_for_events(&self, count: usize) -> Vec<Event<'static>> {
        let mut events = Vec::new();
        for _ in 0..500 {
            events.extend(self.sent.fetch_and_clear_events());
            if events.len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(events.len(), count, "{events:?}");
        events
    }
}

fn facts(mut event: Event<'_>) -> [String; 3] {
    let mut tag = |name| event.tags.remove(name).unwrap_or_default();
    let (id, connection) = (tag(TransactionId::TAG), tag(CONNECTION_TAG));
    [event.message.unwrap_or_default(), id, connection]
}

fn id(text: &str) -> TransactionId {
    text.parse().unwrap()
}

/// Whether the ID was made by the server or by the client's middleware.
fn is_generated(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn wish(wish: &str) -> ObjectParams {
    let mut params = ObjectParams::new();
    params.insert("wish", wish).unwrap();
    params
}

fn wish_under(id: impl Into<Value>, text: &str) -> ObjectParams {
    let mut params = wish(text);
    params.insert(TransactionId::TAG, id.into()).unwrap();
    params
}

/// The ID that the error of a call names.
#[track_caller]
fn named_in(answer: Result<Value, Error>) -> String {
    let Err(Error::Call(error)) = answer else { panic!("no error of a call: {answer:?}") };
    let data: Value = serde_json::from_str(error.data().unwrap().get()).unwrap();
    data[TransactionId::TAG].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_call_has_its_own_id_and_that_of_its_connection() {
    let sentry = Sentry::new();
    let (shop, _server) = start(&sentry.hub).await.unwrap();
    let client = connect(shop, &id("visit")).await.unwrap();

    let order = TransactionIdScope::new(id("order-1"));
    let answer =
        order.bind(async { client.request::<Value, _>("order", wish("mustard")).await }).await;
    assert_eq!(named_in(answer), "order-1");
    let generated = named_in(client.request("order", wish("relish")).await);
    assert!(is_generated(&generated), "{generated}");
    let brought = named_in(client.request("order", wish_under("order-3", "rye")).await);
    assert_eq!(brought, "order-3");

    let events = sentry.wait_for(3).await;
    assert_eq!(events[0], ["out of mustard", "order-1", "visit"]);
    assert_eq!(events[1], ["out of relish", generated.as_str(), "visit"]);
    assert_eq!(events[2], ["out of rye", "order-3", "visit"]);
}

#[tokio::test]
async fn calls_at_once_on_two_connections_do_not_mix() {
    let sentry = Sentry::new();
    let (shop, _server) = start(&sentry.hub).await.unwrap();
    let mut calls = JoinSet::new();
    for visit in ["visit-a", "visit-b"] {
        let client = Arc::new(connect(shop, &id(visit)).await.unwrap());
        for order in 10..30 {
            let (client, order) = (client.clone(), format!("{visit}-order-{order}"));
            calls.spawn(async move {
                let params = wish_under(order.as_str(), &order);
                assert_eq!(named_in(client.request("order", params).await), order);
            });
        }
    }
    calls.join_all().await;
    for [text, id, connection] in sentry.wait_for(40).await {
        assert_eq!(text, format!("out of {id}"));
        assert!(id.starts_with(&format!("{connection}-order")), "{id} on {connection}");
    }
}

#[tokio::test]
async fn an_invalid_id_is_replaced() {
    let sentry = Sentry::new();
    let (shop, _server) = start(&sentry.hub).await.unwrap();
    let client = connect(shop, &id("visit")).await.unwrap();
    let invalid = [Value::from("null"), "<script>".into(), "".into(), 42.into(), Value::Null];
    let mut named = BTreeSet::new();
    for id in &invalid {
        named.insert(named_in(client.request("order", wish_under(id.clone(), "rye")).await));
    }
    // Params by position have no room for an ID.
    let mut by_position = ArrayParams::new();
    by_position.insert("order-1").unwrap();
    named.insert(named_in(client.request("order", by_position).await));

    assert_eq!(named.len(), invalid.len() + 1, "each has another ID: {named:?}");
    let mut refused = 0;
    for event in sentry.wait_for_events(named.len()).await {
        if let Some(Context::Other(context)) = event.contexts.get("transaction_id") {
            refused += usize::from(context.contains_key("refused"));
        }
        let [_, id, connection] = facts(event);
        assert!(is_generated(&id) && named.contains(&id), "{id}");
        assert_eq!(connection, "visit");
    }
    // Three were text, and so may have been meant as IDs.
    assert_eq!(refused, 3);
}

#[tokio::test]
async fn each_call_of_a_batch_has_its_own_id() {
    let sentry = Sentry::new();
    let (shop, _server) = start(&sentry.hub).await.unwrap();
    let client = connect(shop, &id("visit")).await.unwrap();
    let mut batch = BatchRequestBuilder::new();
    batch.insert("order", wish_under("order-1", "a")).unwrap();
    batch.insert("order", wish_under("order-2", "b")).unwrap();
    batch.insert("order", wish("c")).unwrap();
    batch.insert("order", wish("d")).unwrap();
    batch.insert("order", wish("hot-dog")).unwrap();
    let answers = client.batch_request::<Value>(batch).await.unwrap();
    assert_eq!((answers.num_successful_calls(), answers.num_failed_calls()), (1, 4));

    let events = sentry.wait_for(4).await;
    assert_eq!(events[0], ["out of a", "order-1", "visit"]);
    assert_eq!(events[1], ["out of b", "order-2", "visit"]);
    for [_, id, connection] in &events[2..] {
        assert!(is_generated(id) && connection == "visit", "{events:?}");
    }
    assert_ne!(events[2][1], events[3][1]);

    // Inside a scope, the calls that bring no ID carry that of the scope.
    let mut batch = BatchRequestBuilder::new();
    batch.insert("order", wish_under("order-1", "a")).unwrap();
    batch.insert("order", wish("b")).unwrap();
    let work = TransactionIdScope::new(id("order-2"));
    work.bind(async { client.batch_request::<Value>(batch).await }).await.unwrap();
    let events = sentry.wait_for(2).await;
    assert_eq!(events[0], ["out of a", "order-1", "visit"]);
    assert_eq!(events[1], ["out of b", "order-2", "visit"]);
}

/// Captures each notification, which jsonrpsee shows to its middleware and to nothing else.
#[derive(Clone)]
struct Witness<S>(S);

impl<S> RpcServiceT for Witness<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    type MethodResponse = S::MethodResponse;
    type NotificationResponse = S::NotificationResponse;
    type BatchResponse = S::BatchResponse;

    fn call<'a>(
        &self,
        call: Request<'a>,
    ) -> impl Future<Output = Self::MethodResponse> + Send + 'a {
        self.0.call(call)
    }

    fn notification<'a>(
        &self,
        call: Notification<'a>,
    ) -> impl Future<Output = Self::NotificationResponse> + Send + 'a {
        let service = self.0.clone();
        async move {
            capture_message(call.method_name(), Level::Error);
            service.notification(call).await
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = Self::BatchResponse> + Send + 'a {
        self.0.batch(batch)
    }
}

async fn start_with_witness(sentry: &Sentry) -> SocketAddr {
    let http = ServiceBuilder::new()
        .layer(BindTransactionIdLayer::new().hub(&sentry.hub))
        .map_request(remember_connection);
    let rpc = RpcServiceBuilder::new()
        .layer_fn(|service| BindCall::new(service, 1 << 20))
        .layer_fn(Witness);
    let server = Server::builder()
        .set_http_middleware(http)
        .set_rpc_middleware(rpc)
        .build("127.0.0.1:0")
        .await
        .unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.start(RpcModule::new(())).stopped());
    address
}

#[tokio::test]
async fn a_notification_has_its_own_id() {
    let sentry = Sentry::new();
    let shop = start_with_witness(&sentry).await;
    let client = connect(shop, &id("visit")).await.unwrap();
    let order = TransactionIdScope::new(id("order-1"));
    order.bind(async { client.notification("ring", wish("mustard")).await }).await.unwrap();
    client.notification("yell", ObjectParams::new()).await.unwrap();

    let events = sentry.wait_for(2).await;
    assert_eq!(events[0], ["ring", "order-1", "visit"]);
    let [text, id, connection] = &events[1];
    assert!(text == "yell" && is_generated(id) && connection == "visit", "{events:?}");
}

#[tokio::test]
async fn a_subscription_pushes_under_the_id_of_its_call() {
    let sentry = Sentry::new();
    let (shop, _server) = start(&sentry.hub).await.unwrap();
    let client = connect(shop, &id("visit")).await.unwrap();
    let watch = TransactionIdScope::new(id("watch-1"));
    let mut news = watch
        .bind(async { client.subscribe::<Value, _>("watch", ObjectParams::new(), "unwatch").await })
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(news.next().await.unwrap().unwrap()[TransactionId::TAG], "watch-1");
    }
    assert_eq!(sentry.wait_for(1).await, [["the grill is on fire", "watch-1", "visit"]]);
}

/// Sends calls as the body of an HTTP request, and returns the response.
async fn post(shop: SocketAddr, calls: &str) -> String {
    let head = "POST / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\
        content-type: application/json\r\nx-transaction-id: visit\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{calls}", calls.len());
    let mut stream = TcpStream::connect(shop).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn over_http_a_call_without_an_id_has_the_id_of_the_request() {
    let sentry = Sentry::new();
    let shop = start_with_witness(&sentry).await;
    let plain = r#"{"jsonrpc":"2.0","method":"a"}"#;
    let brings = r#"{"jsonrpc":"2.0","method":"b","params":{"transaction_id":"order-1"}}"#;
    for calls in [plain, brings, &format!("[{plain},{brings}]")] {
        let response = post(shop, calls).await;
        assert!(response.contains("x-transaction-id: visit\r\n"), "{response}");
    }
    let (a, b) = (["a", "visit", "visit"], ["b", "order-1", "visit"]);
    assert_eq!(sentry.wait_for(4).await, [a, a, b, b]);
}
