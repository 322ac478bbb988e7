//! The client layer as a `Middleware` of reqwest-middleware.

use std::pin::Pin;

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next, Result};

use crate::client::layer::InjectTransactionIdLayer;
use crate::failures::ReadErrors;

/// Sends requests as the layer does, in the style of reqwest's own request builder:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use reqwest_middleware::ClientBuilder;
/// use tower_transaction_id::{AllowedHosts, InjectTransactionIdLayer};
///
/// let hosts = AllowedHosts::only(["http://127.0.0.1:1"])?;
/// let client = ClientBuilder::new(reqwest::Client::new())
///     .with(InjectTransactionIdLayer::new(hosts))
///     .build();
/// let answer = client.get("http://127.0.0.1:1/menu").send().await;
/// # assert!(answer.is_err());
/// # Ok(())
/// # }
/// ```
///
/// Add the layer last, inside any middleware that retries, so that each attempt is a call of its own.
impl<R> Middleware for InjectTransactionIdLayer<R>
where
    R: ReadErrors<Error> + Send + Sync + 'static,
{
    // Written as `async_trait` would expand it.
    fn handle<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        request: Request,
        extensions: &'life1 mut Extensions,
        next: Next<'life2>,
    ) -> Pin<Box<dyn Future<Output = Result<Response>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let (config, errors) = self.parts();
            config.call(errors, request, |request| next.run(request, extensions)).await
        })
    }
}
