//! tonic: the layer goes into `Server::builder().layer(..)`. The service is the standard health check, so that
//! no protobuf compiler is needed; the wish is the name of the service that is asked about.

use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use http::{Request, StatusCode, Version};
use http_body_util::Full;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Response, Status, async_trait};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{Host, Setup, Url};
use crate::shop::{Answer, Shop};

pub(super) struct Tonic;

struct Kitchen(Shop);

#[async_trait]
impl Health for Kitchen {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let (metadata, _, question) = request.into_parts();
        match self.0.order(&question.service, Some(&metadata.into_headers())).await {
            Answer::Failed => Err(Status::unavailable("the grill is cold")),
            _ => Ok(Response::new(HealthCheckResponse::default())),
        }
    }

    async fn watch(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        match self.0.order(&request.get_ref().service, None).await {
            Answer::Streamed(chunks) => {
                let answers = chunks.map(|_| Ok(HealthCheckResponse::default()));
                Ok(Response::new(Box::pin(answers)))
            }
            _ => Err(Status::not_found("no such stream")),
        }
    }
}

impl Host for Tonic {
    fn name(&self) -> &'static str {
        "tonic"
    }

    fn lacks(&self) -> &'static [(&'static str, &'static str)] {
        &[("an_answer_to_head_has_an_id", "gRPC has no HEAD")]
    }

    fn start(&self, setup: Setup) -> BoxFuture<'static, SocketAddr> {
        Box::pin(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = Server::builder()
                .layer(setup.layer)
                .add_service(HealthServer::new(Kitchen(setup.shop)));
            tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
            address
        })
    }

    fn version(&self) -> Version {
        Version::HTTP_2
    }

    fn unknown(&self) -> StatusCode {
        StatusCode::OK
    }

    fn request(&self, wish: &str) -> Request<Full<Bytes>> {
        let url = match wish {
            "stream" | "drip" => "http://shop.test/grpc.health.v1.Health/Watch",
            "no/such/path" => "http://shop.test/no/such/path",
            _ => "http://shop.test/grpc.health.v1.Health/Check",
        };
        // A message of one field, the string `service`, after its frame.
        let length = u8::try_from(wish.len()).expect("a wish is short");
        let message = [&[0, 0, 0, 0, length + 2, 0x0a, length], wish.as_bytes()].concat();
        Request::post(url)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .extension(Url(url.into()))
            .body(Full::from(message))
            .expect("the URL is valid")
    }
}
