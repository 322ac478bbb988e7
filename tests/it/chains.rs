//! Several services in a row under one ID, over HTTP and over gRPC.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::{StatusCode, Uri};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, InjectTransactionId, InjectTransactionIdLayer,
    TransactionIdScope,
};

use crate::support::{Sentry, capture, echo, echoed, get_with_ids, serve, story};

fn client() -> InjectTransactionId<reqwest::Client> {
    let inner = reqwest::Client::builder().no_proxy().build().unwrap();
    InjectTransactionId::new(inner, AllowedHosts::only(["127.0.0.1"]).unwrap())
}

/// Captures an event, then calls the next service. The last service in the row fails.
async fn handler(State(next): State<Option<SocketAddr>>) -> Result<&'static str, StatusCode> {
    capture("handled");
    let next = next.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    let url = format!("http://{next}/").parse().unwrap();
    let request = reqwest::Request::new(http::Method::GET, url);
    let response = client().ready().await.unwrap().call(request).await.unwrap();
    echoed(response.headers());
    capture("next one failed");
    Err(StatusCode::BAD_GATEWAY)
}

#[test]
fn three_services_in_a_row_report_under_one_id() {
    story(|_| async {
        // Each service has its own Sentry client, as in its own process.
        let mut services = Vec::new();
        let mut next = None;
        for _ in 0..3 {
            let sentry = Sentry::new();
            let layer = BindTransactionIdLayer::new().hub(&sentry.hub);
            let app = Router::new().route("/", get(handler)).with_state(next).layer(layer);
            next = Some(serve(app).await);
            services.push(sentry);
        }
        let response = get_with_ids(next.unwrap(), &[]).await;
        assert!(response.starts_with("HTTP/1.1 502"), "{response}");
        let id = echo(&response);
        let events: Vec<_> = services.iter().rev().flat_map(Sentry::take).collect();
        assert_eq!(events.len(), 5);
        assert!(events.iter().all(|(_, tag)| tag.as_deref() == Some(id)), "{events:?}");
    });
}

/// tonic's health service under the server layer.
async fn serve_grpc(sentry: &Sentry) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("kitchen", ServingStatus::Serving).await;
    let server = Server::builder()
        .layer(BindTransactionIdLayer::new().hub(&sentry.hub))
        .layer(tower::util::MapRequestLayer::new(|request| {
            capture("called");
            request
        }))
        .add_service(health)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    format!("http://{address}").parse().unwrap()
}

#[test]
fn tonic_carries_the_id_in_unary_calls_and_in_streams() {
    story(|_| async {
        let sentry = Sentry::new();
        let origin = serve_grpc(&sentry).await;
        let channel = Channel::builder(origin.clone()).connect().await.unwrap();
        let check = || HealthCheckRequest { service: "kitchen".into() };

        // A layer around the channel sees a path without a host, so only `any()` sends the ID.
        let layer = InjectTransactionIdLayer::new(AllowedHosts::any());
        let service = ServiceBuilder::new().layer(layer).service(channel.clone());
        let mut any = HealthClient::new(service);
        // With an origin, the layer sees the host.
        let layer = InjectTransactionIdLayer::new(AllowedHosts::only(["127.0.0.1"]).unwrap());
        let service = ServiceBuilder::new().layer(layer).service(channel);
        let mut with_origin = HealthClient::with_origin(service.clone(), origin);
        let mut without_origin = HealthClient::new(service);

        let scope = TransactionIdScope::new("grpc".parse().unwrap());
        let echo =
            |metadata: &tonic::metadata::MetadataMap| echoed(&metadata.clone().into_headers());
        let calls = async {
            let unary = any.check(check()).await.unwrap();
            assert_eq!(echo(unary.metadata()), "grpc");
            let unary = with_origin.check(check()).await.unwrap();
            assert_eq!(echo(unary.metadata()), "grpc");
            let stream = with_origin.watch(check()).await.unwrap();
            assert_eq!(echo(stream.metadata()), "grpc");
            let mut stream = stream.into_inner();
            assert!(stream.message().await.unwrap().is_some());
            let unary = without_origin.check(check()).await.unwrap();
            assert_ne!(echo(unary.metadata()), "grpc");
            // The response to a failing call has headers only.
            let unknown = HealthCheckRequest { service: "cellar".into() };
            let status = any.check(unknown).await.unwrap_err();
            assert_eq!(echo(status.metadata()), "grpc");
        };
        scope.bind(calls).await;

        let mut tags: Vec<_> = sentry.take().into_iter().map(|(_, tag)| tag.unwrap()).collect();
        assert_ne!(tags.remove(3), "grpc", "the call without an origin");
        assert_eq!(tags, ["grpc"; 4]);
    });
}
