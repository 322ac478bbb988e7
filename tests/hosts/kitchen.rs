//! The service that each client host calls: it keeps the IDs that it receives.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use crate::shop::{GUESTS, PANIC};

/// The ID under which the kitchen answers a dish that it burnt.
pub(crate) const OWN_ID: &str = "kitchen-7";

/// A server on loopback, over HTTP/1 and HTTP/2, for JSON and gRPC.
#[derive(Clone)]
pub(crate) struct Kitchen {
    pub(crate) address: SocketAddr,
    orders: Orders,
}

#[derive(Clone)]
struct Orders {
    received: Arc<Mutex<Vec<Order>>>,
    meeting: Arc<Barrier>,
}

/// A call that the kitchen received.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) dish: String,
    pub(crate) headers: HeaderMap,
}

impl Order {
    /// The values of all lines of the header.
    pub(crate) fn ids(&self) -> Vec<&str> {
        let lines = self.headers.get_all("x-transaction-id").iter();
        lines.map(|id| id.to_str().expect("an ID is ASCII")).collect()
    }
}

impl Kitchen {
    pub(crate) async fn open() -> Self {
        let orders = Orders { received: Arc::default(), meeting: Arc::new(Barrier::new(GUESTS)) };
        let router = Router::new().fallback(cook).with_state(orders.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { address, orders }
    }

    pub(crate) fn received(&self) -> Vec<Order> {
        self.orders.received.lock().unwrap().clone()
    }

    /// Waits for the first order. Fails after some seconds.
    pub(crate) async fn first(&self) -> Order {
        for _ in 0..1_000 {
            if let Some(order) = self.received().into_iter().next() {
                return order;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no order came");
    }
}

async fn cook(State(orders): State<Orders>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let is_grpc = head.headers.get("content-type").is_some_and(|kind| kind == "application/grpc");
    let dish = if is_grpc {
        // A message of one field, a string, after five bytes for the frame and two for the field.
        let message = body.collect().await.expect("the client sends its message").to_bytes();
        String::from_utf8_lossy(&message[7..]).into_owned()
    } else {
        head.uri.path().rsplit('/').next().unwrap_or_default().to_owned()
    };
    let order = Order { dish: dish.clone(), headers: head.headers };
    orders.received.lock().unwrap().push(order);
    match &dish[..] {
        "burnt" => return burnt(is_grpc),
        "never" => pending().await,
        // The connection breaks.
        "smoke" => panic!("{PANIC}"),
        _ => {}
    }
    if dish.starts_with("shared") {
        orders.meeting.wait().await;
    }
    served(is_grpc)
}

fn burnt(is_grpc: bool) -> Response {
    let response = Response::builder().header("x-transaction-id", OWN_ID);
    let response = if is_grpc {
        response.header("content-type", "application/grpc").header("grpc-status", "13")
    } else {
        response.status(StatusCode::INTERNAL_SERVER_ERROR)
    };
    response.body(Body::empty()).expect("the response is valid")
}

fn served(is_grpc: bool) -> Response {
    let (kind, body) = if is_grpc {
        let trailers = HeaderMap::from_iter([(
            "grpc-status".parse().expect("the name is valid"),
            HeaderValue::from_static("0"),
        )]);
        let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)];
        let frames = stream::iter(frames.map(Ok::<_, Infallible>));
        ("application/grpc", Body::new(StreamBody::new(frames)))
    } else {
        ("application/json", Body::from("{}"))
    };
    Response::builder().header("content-type", kind).body(body).expect("the response is valid")
}
