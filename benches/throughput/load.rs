//! The same requests to each server, over connections that stay open.

use std::net::Ipv4Addr;

use axum::body::Body;
use futures_util::future::join_all;
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tower_transaction_id::X_TRANSACTION_ID;

use crate::variants::exchange::ID;

/// Requests at the same time, each on a connection, or on a stream of one connection.
const AT_ONCE: usize = 8;
/// Requests of each connection or stream in a round.
const REQUESTS: u32 = 60;

#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) protocol: Protocol,
    /// Whether the requests have an ID.
    pub(crate) reads: bool,
}

pub(crate) enum Connection {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Load {
    pub(crate) async fn connect(self, port: u16) -> Vec<Connection> {
        match self.protocol {
            Protocol::Http1 => join_all([(); AT_ONCE].map(|()| connect_http1(port))).await,
            Protocol::Http2 => {
                let one = connect_http2(port).await;
                [(); AT_ONCE].map(|()| Connection::Http2(one.clone())).into()
            }
        }
    }

    /// Runs one round. Returns the number of requests.
    pub(crate) async fn run(self, connections: &mut [Connection]) -> u32 {
        let sent = join_all(connections.iter_mut().map(|connection| self.send(connection))).await;
        sent.into_iter().sum()
    }

    async fn send(self, connection: &mut Connection) -> u32 {
        for _ in 0..REQUESTS {
            let request = self.request(connection);
            let response = match connection {
                Connection::Http1(sender) => {
                    sender.ready().await.expect("the connection stays open");
                    sender.send_request(request).await
                }
                Connection::Http2(sender) => sender.send_request(request).await,
            };
            let response = response.expect("the server answers");
            assert!(response.status().is_success(), "{}", response.status());
            response.into_body().collect().await.expect("a whole body");
        }
        REQUESTS
    }

    fn request(self, connection: &Connection) -> http::Request<Body> {
        let request = http::Request::get(match connection {
            Connection::Http1(_) => "/order",
            Connection::Http2(_) => "http://hotdogs.test/order",
        });
        let mut request = request
            .header("host", "hotdogs.test")
            .header("user-agent", "curl/8.11.1")
            .header("accept", "*/*")
            .header("accept-encoding", "gzip");
        if self.reads {
            request = request.header(X_TRANSACTION_ID, ID);
        }
        request.body(Body::empty()).expect("a request")
    }
}

async fn connect_http1(port: u16) -> Connection {
    let (sender, connection) = http1::handshake(socket(port).await).await.expect("a connection");
    tokio::spawn(connection);
    Connection::Http1(sender)
}

async fn connect_http2(port: u16) -> http2::SendRequest<Body> {
    let handshake = http2::handshake(TokioExecutor::new(), socket(port).await);
    let (sender, connection) = handshake.await.expect("a connection");
    tokio::spawn(connection);
    sender
}

async fn socket(port: u16) -> TokioIo<TcpStream> {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("the server listens");
    socket.set_nodelay(true).expect("a socket without delay");
    TokioIo::new(socket)
}
