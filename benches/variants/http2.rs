//! Whole HTTP/2 servers: hyper on a connection in memory that is kept alive, on one thread.
//!
//! They show the cost of HPACK, which the other subjects do not have. HPACK keeps the headers of responses
//! in a table. It finds a constant value there again, and never an ID.

use std::convert::Infallible;
use std::mem;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sentry::Hub;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Builder;
use tower::util::MapResponseLayer;
use tower::{Layer, Service};
use tower_transaction_id::{BindTransactionIdLayer, X_TRANSACTION_ID};

use super::exchange::{self, ID, NoBody};
use super::{Case, Subject};

/// The layers of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Server {
    Bare,
    /// A layer that sets the header of the response to a constant.
    ConstantHeader,
    OursBase,
    /// `OursBase` inside a layer that marks the echoed ID as sensitive, so that HPACK does not store the ID
    /// in its table.
    OursBaseSensitive,
}

impl Server {
    pub(crate) const ALL: [Self; 4] =
        [Self::Bare, Self::ConstantHeader, Self::OursBase, Self::OursBaseSensitive];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::ConstantHeader => "constant header",
            Self::OursBase => "ours+base",
            Self::OursBaseSensitive => "ours+base, sensitive",
        }
    }

    /// Make and call the subject inside [`Case::run`].
    pub(crate) fn subject(self) -> Subject {
        let inner = exchange::inner_service(&Case::GENERATE_ON);
        let ours = BindTransactionIdLayer::new().record_request(false).hub(Hub::current());
        match self {
            Self::Bare => subject(inner),
            Self::ConstantHeader => subject(MapResponseLayer::new(set_constant).layer(inner)),
            Self::OursBase => subject(ours.layer(inner)),
            Self::OursBaseSensitive => {
                subject(MapResponseLayer::new(mark_as_sensitive).layer(ours.layer(inner)))
            }
        }
    }
}

fn set_constant<B>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().insert(X_TRANSACTION_ID, ID);
    response
}

fn mark_as_sensitive<B>(mut response: Response<B>) -> Response<B> {
    if let Some(id) = response.headers_mut().get_mut(X_TRANSACTION_ID) {
        id.set_sensitive(true);
    }
    response
}

fn subject<S, B>(service: S) -> Subject
where
    S: Service<Request<NoBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let (near, far) = tokio::io::duplex(1 << 16);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        service.clone().call(request.map(|_| NoBody))
    });
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let mut client = runtime.block_on(async {
        let server = http2::Builder::new(TokioExecutor::new());
        tokio::spawn(server.serve_connection(TokioIo::new(far), service));
        Client::connect(near).await
    });
    Subject::new(move || runtime.block_on(client.exchange()))
}

const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A client that does little, and the same work for each server. It sends one request again and again,
/// and of the responses it only looks for the end.
struct Client {
    connection: DuplexStream,
    /// The headers of the request, as HPACK has them.
    request: Vec<u8>,
    stream: u32,
    payload: Vec<u8>,
}

impl Client {
    async fn connect(mut connection: DuplexStream) -> Self {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        connection.write_all(preface).await.expect("the server listens");
        let mut client = Self { connection, request: request(), stream: 1, payload: Vec::new() };
        client.send(SETTINGS, 0, 0, &[]).await;
        client
    }

    /// Sends a request, and reads up to the end of its response. All responses together have to fit into
    /// the connection's window, which the client never enlarges: some thousands of them do.
    async fn exchange(&mut self) {
        let stream = self.stream;
        let request = mem::take(&mut self.request);
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &request).await;
        self.request = request;
        loop {
            let (kind, flags, of) = self.receive().await;
            match kind {
                DATA | HEADERS if of == stream && flags & END_STREAM != 0 => break,
                SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                DATA | HEADERS | SETTINGS | WINDOW_UPDATE => {}
                other => panic!("a frame of type {other}: {:?}", self.payload),
            }
        }
        self.stream += 2;
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.connection.write_all(&frame).await.expect("the server reads");
    }

    /// The type, the flags and the stream of the next frame.
    async fn receive(&mut self) -> (u8, u8, u32) {
        let mut head = [0; FRAME_HEAD];
        self.connection.read_exact(&mut head).await.expect("the server answers");
        let [a, b, c, kind, flags, stream @ ..] = head;
        let len = u32::from_be_bytes([0, a, b, c]);
        self.payload.resize(len as usize, 0);
        self.connection.read_exact(&mut self.payload).await.expect("a whole frame");
        (kind, flags, u32::from_be_bytes(stream))
    }
}

/// `GET /order?size=large` with the four headers of the other benches, except for the host.
fn request() -> Vec<u8> {
    // HPACK's static table has `:method: GET`, `:scheme: http`, and the names `:path` and `:authority`.
    let mut block = vec![0x82, 0x86];
    block.push(0x04);
    push_text(&mut block, "/order?size=large");
    block.push(0x01);
    push_text(&mut block, "hotdogs.test");
    for (name, value) in exchange::four_headers() {
        if name != HOST {
            block.push(0);
            push_text(&mut block, name.as_str());
            push_text(&mut block, value.to_str().expect("text"));
        }
    }
    block
}

fn push_text(block: &mut Vec<u8>, text: &str) {
    block.push(u8::try_from(text.len()).expect("a short text"));
    block.extend(text.as_bytes());
}
