//! HTTP on the simulated network.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::rt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tower::Service;
use tower_transaction_id::X_TRANSACTION_ID;
use turmoil::net::{TcpListener, TcpStream};

use crate::world::World;

pub type BoxError = Box<dyn Error + Send + Sync>;

/// All hosts listen on this port.
pub const PORT: u16 = 80;

/// Serves `service` until the host ends.
pub async fn serve<S, B>(service: S) -> turmoil::Result
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::task::spawn_local(async move {
            // An error means that the connection broke, which the other end notices as well.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Sends a request to `host` on a connection of its own. The drop of the future, or of the response's body,
/// closes the connection.
pub async fn exchange(host: &str, request: Request) -> Result<Response<Incoming>, BoxError> {
    let stream = TcpStream::connect((host, PORT)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender.send_request(request).await?)
}

/// Sends a request, and reads the answer. Gives up after `patience`.
pub async fn ask(
    host: &str,
    request: Request,
    patience: Duration,
) -> Result<(u16, Bytes), BoxError> {
    let asked = async {
        let response = exchange(host, request).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    tokio::time::timeout(patience, asked).await?
}

/// Makes a client with a pool of connections.
pub fn client() -> Client<Connector, Body> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(2))
        .build(Connector)
}

#[derive(Clone, Debug)]
pub struct Connector;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().to_owned();
            Ok(Stream(TokioIo::new(TcpStream::connect((host, PORT)).await?)))
        })
    }
}

/// A connection of the client.
pub struct Stream(TokioIo<TcpStream>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl rt::Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The text of the panics that belong to the simulation.
pub const ON_PURPOSE: &str = "the chili boiled over";

/// Returns the ID in the header of a request behind the layer, which must be its only line.
pub fn one_id(world: &World, headers: &HeaderMap) -> String {
    let lines = headers.get_all(X_TRANSACTION_ID).iter().collect::<Vec<_>>();
    world.check(lines.len() == 1, || format!("behind the layer, the request has {lines:?}"));
    let id = lines.first().and_then(|line| line.to_str().ok());
    id.unwrap_or_default().to_owned()
}
