//! A service keeps its client in a field. The type of the client names the type of the errors only if the
//! layer reads errors.

use reqwest::{Client, Request, Response};
use tower::{Layer, Service, ServiceExt};
use tower_transaction_id::errors::ReadableErrors;
use tower_transaction_id::{
    AllowedHosts, Failures, InjectTransactionId, InjectTransactionIdLayer, InvalidHost,
};

#[derive(Clone, Debug)]
pub struct Kitchen {
    client: InjectTransactionId<Client>,
}

impl Kitchen {
    pub fn new() -> Result<Self, InvalidHost> {
        let hosts = AllowedHosts::only(["kitchen.internal"])?;
        Ok(Self { client: InjectTransactionId::new(Client::new(), hosts) })
    }

    pub async fn cook(&self) -> Result<Response, reqwest::Error> {
        let request = self.client.get_ref().post("http://kitchen.internal/cook").build()?;
        self.client.execute(request).await
    }
}

#[derive(Clone, Debug)]
pub struct Reported {
    client: InjectTransactionId<Client, ReadableErrors<reqwest::Error>>,
}

impl Reported {
    pub fn new(hosts: AllowedHosts) -> Self {
        let layer = InjectTransactionIdLayer::new(hosts)
            .capture_failures(Failures::new())
            .read_errors(|error: &reqwest::Error| error);
        Self { client: layer.layer(Client::new()) }
    }

    pub async fn send(&mut self, request: Request) -> Result<Response, reqwest::Error> {
        self.client.ready().await?.call(request).await
    }
}

/// Both can be the state of a Router.
pub fn is_state<S: Clone + Send + Sync + 'static>() {}
pub const KITCHEN_IS_STATE: fn() = is_state::<Kitchen>;
pub const REPORTED_IS_STATE: fn() = is_state::<Reported>;
