//! A gRPC server and its client: the ID travels as metadata.
//!
//! The service is the standard health check, so that no protobuf compiler is needed.
//!
//! ```sh
//! cargo run --example tonic
//! ```

use std::error::Error;

use sentry::{ClientOptions, Hub, Level, capture_message};
use tokio::net::TcpListener;
use tokio_stream::{Pending, wrappers::TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, InjectTransactionId, TransactionId, TransactionIdScope,
    X_TRANSACTION_ID,
};

struct Kitchen;

#[async_trait]
impl Health for Kitchen {
    type WatchStream = Pending<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        println!("kitchen: asked about {:?}", request.get_ref().service);
        capture_message("nobody has lit the grill", Level::Error);
        Err(Status::unavailable("the grill is cold"))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("look through the window"))
    }
}

async fn ask(client: &mut HealthClient<InjectTransactionId<Channel>>, id: TransactionId) {
    println!("\ncaller: working on {id}");
    let question = HealthCheckRequest { service: "grill".into() };
    // The call starts when the future is polled, and so inside the scope.
    let answer = TransactionIdScope::new(id).bind(client.check(question)).await;
    if let Err(status) = answer {
        // The metadata of a gRPC error contains the echoed ID.
        let echo = status.metadata().get(X_TRANSACTION_ID.as_str());
        println!("caller: {}, echoed {echo:?}", status.message());
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A real service has a real DSN. This example prints each event, then drops the event.
    let options = ClientOptions::new().dsn("https://key@sentry.invalid/1").before_send(|event| {
        println!("Sentry: {:?}, tagged {:?}", event.message.unwrap_or_default(), event.tags);
        None
    });
    let _sentry = sentry::init(options);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = Server::builder()
        .layer(BindTransactionIdLayer::new().hub(Hub::main()))
        .add_service(HealthServer::new(Kitchen));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = Channel::from_shared(url.clone())?.connect().await?;

    // The layer sees the path `/Service/Method` and no host: only the channel has the host. This
    // channel leads to our own service, so the layer may send the ID to any host.
    let mut client =
        HealthClient::new(InjectTransactionId::new(channel.clone(), AllowedHosts::any()));
    ask(&mut client, TransactionId::generate()).await;

    // `with_origin` puts the host into each request, and the list of hosts applies.
    let hosts = AllowedHosts::only(["127.0.0.1"])?;
    let mut client =
        HealthClient::with_origin(InjectTransactionId::new(channel, hosts), url.parse()?);
    ask(&mut client, "evening-shift-1".parse()?).await;
    Ok(())
}
