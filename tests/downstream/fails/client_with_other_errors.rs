//! The closure of `read_errors` takes another type than the errors of the client have.

use tower::{Service, ServiceBuilder, ServiceExt};
use tower_transaction_id::{AllowedHosts, Failures, InjectTransactionIdLayer};

pub async fn cook(request: reqwest::Request) -> Result<reqwest::Response, reqwest::Error> {
    let layer = InjectTransactionIdLayer::new(AllowedHosts::any())
        .capture_failures(Failures::new())
        .read_errors(|error: &std::io::Error| error);
    let mut client = ServiceBuilder::new().layer(layer).service(reqwest::Client::new());
    sends::<reqwest::Request>(&client);
    client.ready().await?.call(request).await
}

fn sends<R>(_: &impl Service<R>) {}
