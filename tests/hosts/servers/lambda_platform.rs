//! What AWS Lambda is to a function: the gateway in front of it, the Runtime API that it polls, and the network
//! behind which Sentry is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{get, post};
use sentry::{Envelope, Transport};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};

use crate::sentry::Sentry;

/// The way to Sentry takes so long. Events that were not flushed do not arrive before the freeze.
const WAY: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Platform {
    /// Takes HTTP requests, as API Gateway and function URLs do.
    pub(super) gateway: SocketAddr,
    /// The address of the Runtime API, and of Sentry.
    pub(super) inside: SocketAddr,
    state: Arc<Inner>,
}

struct Inner {
    invocations: AsyncMutex<mpsc::UnboundedReceiver<Invocation>>,
    invoke: mpsc::UnboundedSender<Invocation>,
    /// The invocations that the function works on, by their IDs.
    running: Mutex<HashMap<String, oneshot::Sender<Option<Value>>>>,
    /// How often the function asked for an invocation.
    asked: watch::Sender<usize>,
    sentry: Sentry,
}

struct Invocation {
    event: Value,
    answer: oneshot::Sender<Option<Value>>,
}

impl Platform {
    pub(super) async fn start(sentry: &Sentry) -> Self {
        let (invoke, invocations) = mpsc::unbounded_channel();
        let state = Arc::new(Inner {
            invocations: AsyncMutex::new(invocations),
            invoke,
            running: Mutex::default(),
            asked: watch::Sender::new(0),
            sentry: sentry.clone(),
        });
        let inside = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/api/1/envelope/", post(envelope));
        let gateway = Router::new().fallback(gateway).with_state(state.clone());
        let inside = serve(inside.with_state(state.clone())).await;
        Self { gateway: serve(gateway).await, inside, state }
    }

    /// Waits until the function has asked for its invocation number `number`. Lambda freezes it then.
    pub(super) async fn frozen_before(&self, number: usize) {
        let mut asked = self.state.asked.subscribe();
        asked.wait_for(|asked| *asked >= number).await.expect("the platform runs");
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

/// Turns a request into an event, and the answer of the function into a response.
async fn gateway(State(state): State<Arc<Inner>>, request: Request) -> Response<Body> {
    let (answer, answered) = oneshot::channel();
    let event = event(&request);
    let sent = state.invoke.send(Invocation { event, answer });
    assert!(sent.is_ok(), "the platform runs");
    let Ok(Some(answer)) = answered.await else {
        return Response::builder().status(StatusCode::BAD_GATEWAY).body(Body::empty()).unwrap();
    };
    let status = answer["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok());
    let mut response = Response::builder().status(status.expect("an answer has a status"));
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        response = response.header(name, value.as_str().expect("a header is text"));
    }
    for (name, values) in answer["multiValueHeaders"].as_object().into_iter().flatten() {
        for value in values.as_array().into_iter().flatten() {
            response = response.header(name, value.as_str().expect("a header is text"));
        }
    }
    let body = answer["body"].as_str().unwrap_or_default().to_owned();
    response.body(Body::from(body)).expect("an answer makes a response")
}

/// The event of an HTTP API, format 2.0. It joins the lines of a header by commas.
fn event(request: &Request) -> Value {
    let mut headers = HashMap::<_, String>::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let lines = headers.entry(name.as_str()).or_default();
        let comma = if lines.is_empty() { "" } else { "," };
        *lines = format!("{lines}{comma}{value}");
    }
    let (path, method) = (request.uri().path(), request.method().as_str());
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "isBase64Encoded": false,
        "requestContext": {
            "accountId": "1",
            "apiId": "shop",
            "domainName": "shop.test",
            "domainPrefix": "shop",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "test",
            },
            "requestId": "gateway-1",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1_767_225_600_000_u64,
        },
    })
}

async fn next(State(state): State<Arc<Inner>>) -> Response<Body> {
    let mut number = 0;
    state.asked.send_modify(|asked| {
        *asked += 1;
        number = *asked;
    });
    let mut invocations = state.invocations.lock().await;
    let Invocation { event, answer } = invocations.recv().await.expect("the platform runs");
    let id = format!("invocation-{number}");
    state.running.lock().unwrap().insert(id.clone(), answer);
    Response::builder()
        .header("lambda-runtime-aws-request-id", id)
        .header("lambda-runtime-deadline-ms", "4102444800000")
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-north-1:1:function:shop")
        .body(Body::from(event.to_string()))
        .expect("an event makes a response")
}

async fn response(
    State(state): State<Arc<Inner>>,
    Path(id): Path<String>,
    answer: Bytes,
) -> StatusCode {
    let answer = serde_json::from_slice(&answer).expect("an answer is JSON");
    finish(&state, &id, Some(answer))
}

async fn error(State(state): State<Arc<Inner>>, Path(id): Path<String>) -> StatusCode {
    finish(&state, &id, None)
}

fn finish(state: &Inner, id: &str, answer: Option<Value>) -> StatusCode {
    if let Some(running) = state.running.lock().unwrap().remove(id) {
        // The client may be gone.
        let _ = running.send(answer);
    }
    StatusCode::ACCEPTED
}

async fn envelope(
    State(state): State<Arc<Inner>>,
    headers: HeaderMap,
    envelope: Bytes,
) -> &'static str {
    assert_eq!(headers.get("content-encoding"), None);
    tokio::time::sleep(WAY).await;
    let envelope = Envelope::from_slice(&envelope).expect("Sentry's SDK sends envelopes");
    state.sentry.transport.send_envelope(envelope);
    "{}"
}
