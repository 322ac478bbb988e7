//! hyper: the layer goes around the service, inside of `TowerToHyperService`.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, service_fn};

use super::respond::respond;
use super::{Host, Setup};

pub(super) struct Hyper;

impl Host for Hyper {
    fn name(&self) -> &'static str {
        "hyper"
    }

    fn start(&self, setup: Setup) -> BoxFuture<'static, SocketAddr> {
        let shop = setup.shop;
        let order = service_fn(move |request: Request<Incoming>| {
            let shop = shop.clone();
            async move {
                let wish = request.uri().path().trim_start_matches('/');
                Ok::<_, Infallible>(respond(shop.order(wish, Some(request.headers())).await))
            }
        });
        let service = ServiceBuilder::new().layer(setup.layer).service(order);
        Box::pin(serve(service))
    }
}

/// Serves a Tower service, over HTTP/1 and HTTP/2.
pub(super) async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<
            Request<Incoming>,
            Response = Response<B>,
            Error: Into<Box<dyn Error + Send + Sync>>,
        > + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                server.serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    address
}
