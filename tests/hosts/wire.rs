//! A client that shows exactly what a host answers: one connection, over HTTP/1 or HTTP/2.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// What a host answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// The values of all lines of the header.
    pub(crate) ids: Vec<String>,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The echoed ID. Fails unless there is exactly one.
    #[track_caller]
    pub(crate) fn id(&self) -> &str {
        match &self.ids[..] {
            [id] => id,
            _ => panic!("not exactly one ID: {self:?}"),
        }
    }
}

/// A connection, which closes when it is dropped.
pub(crate) struct Connection {
    sender: Sender,
    task: JoinHandle<hyper::Result<()>>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, version: Version) -> Self {
        let io = TokioIo::new(TcpStream::connect(address).await.expect("the host listens"));
        if version == Version::HTTP_2 {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.expect("the host speaks HTTP/2");
            Self { sender: Sender::Http2(sender), task: tokio::spawn(connection) }
        } else {
            let (sender, connection) = http1::handshake(io).await.expect("the host speaks HTTP/1");
            Self { sender: Sender::Http1(sender), task: tokio::spawn(connection) }
        }
    }

    /// Sends a request with one header line for each ID, and reads the whole response.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
        ids: &[&str],
    ) -> hyper::Result<Reply> {
        let name = HeaderName::from_static("x-transaction-id");
        for id in ids {
            let line = HeaderValue::from_bytes(id.as_bytes()).expect("an ID fits into a header");
            request.headers_mut().append(&name, line);
        }
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let lines = response.headers().get_all(&name).iter();
        let ids = lines.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()).collect();
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Reply { status, ids, body })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
