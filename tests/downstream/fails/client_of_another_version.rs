//! The service sends requests that are not those of reqwest 0.13: its own reqwest is of another version,
//! or the feature `reqwest` is missing. rustc says the same of both. All features are on here, so a client
//! of the same shape stands for the other reqwest.

use tower::{Service, ServiceExt};
use tower_transaction_id::{AllowedHosts, InjectTransactionId};

pub async fn cook(inner: reqwest_0_12::Client) -> Result<(), reqwest_0_12::Error> {
    let mut client = InjectTransactionId::new(inner, AllowedHosts::any());
    client.ready().await?;
    client.call(reqwest_0_12::Request).await?;
    Ok(())
}

pub fn spelled_out(client: InjectTransactionId<reqwest_0_12::Client>) {
    sends::<reqwest_0_12::Request>(&client);
}

fn sends<R>(_: &impl Service<R>) {}

mod reqwest_0_12 {
    use std::future::{Ready, ready};
    use std::task::{Context, Poll};

    pub struct Client;
    pub struct Request;
    pub struct Response;
    pub struct Error;

    impl tower::Service<Request> for Client {
        type Response = Response;
        type Error = Error;
        type Future = Ready<Result<Response, Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request) -> Self::Future {
            ready(Ok(Response))
        }
    }
}
