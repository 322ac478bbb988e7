//! A library sends through any client below the layer, and names the traits of requests and responses.

use tower::{Service, ServiceExt};
use tower_transaction_id::errors::ReadErrors;
use tower_transaction_id::{ClientRequest, ClientResponse, InjectTransactionId};

pub async fn send<S, R, Request>(
    client: &mut InjectTransactionId<S, R>,
    request: Request,
) -> Result<S::Response, S::Error>
where
    S: Service<Request>,
    S::Response: ClientResponse,
    R: ReadErrors<S::Error>,
    Request: ClientRequest,
{
    client.ready().await?.call(request).await
}

pub async fn send_with_reqwest(
    client: &mut InjectTransactionId<reqwest::Client>,
    request: reqwest::Request,
) -> Result<reqwest::Response, reqwest::Error> {
    send(client, request).await
}

pub async fn send_of_http<S, B>(
    client: &mut InjectTransactionId<S>,
    request: http::Request<&'static str>,
) -> Result<http::Response<B>, S::Error>
where
    S: Service<http::Request<&'static str>, Response = http::Response<B>>,
{
    send(client, request).await
}
