//! The client layer on `reqwest::Client`.

use http::{Extensions, HeaderMap, Method, StatusCode};
use reqwest::{Client, Error, Request, Response};

use crate::client::hosts::AllowedHosts;
use crate::client::message::{ClientRequest, ClientResponse, sealed};
use crate::client::service::InjectTransactionId;
use crate::failures::ReadErrors;
use crate::scope::record::Target;

impl<R: ReadErrors<Error>> InjectTransactionId<Client, R> {
    /// Sends `request` through the layer, in place of `reqwest::Client::execute`.
    ///
    /// The method takes `&self`, and needs neither `ready` nor a clone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_transaction_id::{AllowedHosts, InjectTransactionId};
    ///
    /// let hosts = AllowedHosts::only(["http://127.0.0.1:1"])?;
    /// let client = InjectTransactionId::new(reqwest::Client::new(), hosts);
    /// let request = client.get_ref().get("http://127.0.0.1:1/menu").build()?;
    /// let answer = client.execute(request).await;
    /// # assert!(answer.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `client.get_ref().get(url).send()` compiles as well, but bypasses the layer.
    ///
    /// # Errors
    ///
    /// Returns the errors of `reqwest::Client::execute`.
    pub fn execute(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Error>> + Send + use<R>
    where
        R: Send + 'static,
    {
        let (client, config, errors) = self.parts();
        let client = client.clone();
        config.call(errors, request, |request| async move { client.execute(request).await })
    }
}

impl AllowedHosts {
    /// Returns whether a request to the host and the port of `url` may carry the ID, for a redirect policy:
    ///
    /// ```
    /// use tower_transaction_id::AllowedHosts;
    ///
    /// let hosts = AllowedHosts::only(["kitchen.internal"])?;
    /// let policy = reqwest::redirect::Policy::custom(move |attempt| {
    ///     if hosts.allows_url(attempt.url()) {
    ///         reqwest::redirect::Policy::default().redirect(attempt)
    ///     } else {
    ///         attempt.stop()
    ///     }
    /// });
    /// # Ok::<(), tower_transaction_id::InvalidHost>(())
    /// ```
    #[must_use]
    pub fn allows_url(&self, url: &reqwest::Url) -> bool {
        self.allows_target(url.host_str(), || url.port_or_known_default())
    }
}

impl ClientRequest for Request {}
impl ClientResponse for Response {}

impl sealed::Request for Request {
    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn method(&self) -> &Method {
        self.method()
    }

    #[allow(private_interfaces)]
    fn target(&self) -> Target {
        Target::Url(self.url().clone())
    }

    fn host(&self) -> Option<&str> {
        self.url().host_str()
    }

    fn port(&self) -> Option<u16> {
        self.url().port_or_known_default()
    }
}

impl sealed::Response for Response {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }
}
