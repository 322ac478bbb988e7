//! A service of ours in a chain with others: both layers, and no performance monitoring. It passes each
//! request on to the service that `$NEXT` names by its origin, and reports each one that fails there. Both
//! layers use the header that `$HEADER` names.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use reqwest::{Client, Url};
use sentry::{ClientOptions, Hub, protocol::Context};
use tokio::{net::TcpListener, runtime::Runtime};
use tower::ServiceBuilder;
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, Failures, InjectTransactionId, InjectTransactionIdLayer,
    Trust,
};

struct Link {
    client: InjectTransactionId<Client>,
    next: Url,
}

fn main() -> Result<(), Box<dyn Error>> {
    let service = env::var("SERVICE")?;
    // The SDK takes the DSN from the environment. The baggage of a trace that starts here has the release.
    let options = ClientOptions::new().server_name(service.clone()).release(service);
    let _sentry = sentry::init(options);
    Runtime::new()?.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let next = env::var("NEXT")?.parse::<Url>()?;
    let header = env::var("HEADER")?.parse::<HeaderName>()?;
    let hosts = AllowedHosts::only([next.origin().ascii_serialization()])?;
    let layer = InjectTransactionIdLayer::new(hosts)
        .header_name(header.clone())
        .capture_failures(Failures::new())
        .propagate_trace(true);
    let client = ServiceBuilder::new().layer(layer).service(Client::new());
    let trust = match env::var("TRUST")?.as_str() {
        "always" => Trust::always(),
        "never" => Trust::never(),
        other => return Err(format!("TRUST is {other:?}").into()),
    };
    let app = Router::new()
        .fallback(pass_on)
        .with_state(Arc::new(Link { client, next }))
        .layer(BindTransactionIdLayer::new().header_name(header).hub(Hub::main()).trust(trust));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn pass_on(
    State(link): State<Arc<Link>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    show_received(&headers);
    match link.ask(method, &uri, &headers, body).await {
        Ok(answer) => answer,
        Err(error) => {
            sentry::capture_error(&*error);
            (StatusCode::BAD_GATEWAY, error.to_string()).into_response()
        }
    }
}

impl Link {
    async fn ask(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Box<dyn Error>> {
        let url = self.next.join(uri.path())?;
        let mut request = self.client.get_ref().request(method, url).body(body);
        if let Some(content_type) = headers.get(CONTENT_TYPE) {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let answer = self.client.execute(request.build()?).await?.error_for_status()?;
        let content_type = answer.headers().get(CONTENT_TYPE).cloned();
        let content_type = content_type.map(|content_type| [(CONTENT_TYPE, content_type)]);
        Ok((content_type, answer.bytes().await?).into_response())
    }
}

/// Puts the trace headers that the caller sent on the events of the request. Events of `@sentry/node` show
/// the headers themselves.
fn show_received(headers: &HeaderMap) {
    let mut received = BTreeMap::new();
    for name in ["sentry-trace", "baggage"] {
        let lines =
            headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
        let lines = lines.collect::<Vec<_>>();
        if !lines.is_empty() {
            received.insert(name.to_owned(), lines.join(",").into());
        }
    }
    sentry::configure_scope(|scope| scope.set_context("received", Context::Other(received)));
}
