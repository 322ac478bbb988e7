//! A program that calls services with reqwest: the call, and the caller's own error, share an ID.
//!
//! ```sh
//! cargo run --example reqwest
//! ```

use std::error::Error;
use std::fmt;

use axum::http::{HeaderMap, StatusCode, header::LOCATION};
use axum::{Router, response::Redirect, routing::get};
use reqwest::{Client, Method, Request, Url, redirect::Policy};
use sentry::{ClientOptions, capture_error};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, InjectTransactionId, InjectTransactionIdLayer,
    TransactionId, TransactionIdScope, X_TRANSACTION_ID,
};

fn client(hosts: AllowedHosts) -> reqwest::Result<InjectTransactionId<Client>> {
    // reqwest follows redirects below the layer, and sends all headers again. So its redirect policy
    // has to check the hosts, too.
    let allowed = hosts.clone();
    let redirects = Policy::custom(move |attempt| {
        if allowed.allows_url(attempt.url()) {
            Policy::default().redirect(attempt)
        } else {
            attempt.stop()
        }
    });
    let client = Client::builder().redirect(redirects).build()?;
    Ok(ServiceBuilder::new().layer(InjectTransactionIdLayer::new(hosts)).service(client))
}

/// A failure that the kitchen answered with. Its text has the kitchen's ID, so the log line and the event
/// of the error say where to look next.
#[derive(Debug)]
struct KitchenError {
    status: StatusCode,
    id: Option<TransactionId>,
}

impl fmt::Display for KitchenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kitchen answered {}", self.status)?;
        self.id.iter().try_for_each(|id| write!(f, " (its transaction ID: {id})"))
    }
}

impl Error for KitchenError {}

async fn order(client: &mut InjectTransactionId<Client>, url: Url) -> Result<(), Box<dyn Error>> {
    let request = Request::new(Method::GET, url);
    let response = client.ready().await?.call(request).await?;
    let status = response.status();
    // Not `error_for_status`, which drops the headers.
    if status.is_client_error() || status.is_server_error() {
        let id = TransactionId::from_headers(response.headers(), &X_TRANSACTION_ID);
        return Err(KitchenError { status, id }.into());
    }
    // A redirect that the policy stopped is an ordinary response.
    println!("{status}, not followed: {:?}", response.headers().get(LOCATION));
    Ok(())
}

/// The kitchen.
async fn cook(headers: HeaderMap) -> StatusCode {
    println!("kitchen: received {:?}", headers.get(X_TRANSACTION_ID));
    StatusCode::SERVICE_UNAVAILABLE
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A real service has a real DSN. This example prints each event, then drops the event.
    let options = ClientOptions::new().dsn("https://key@sentry.invalid/1").before_send(|event| {
        let error = event.exception.last().and_then(|error| error.value.as_deref());
        println!("Sentry: {:?}, tagged {:?}", error.unwrap_or_default(), event.tags);
        None
    });
    let _sentry = sentry::init(options);

    let kitchen = Router::new()
        .route("/order", get(cook))
        .route("/moved", get(async || Redirect::to("/order")))
        .route("/partner", get(async || Redirect::to("http://partner.example/order")))
        .layer(BindTransactionIdLayer::new());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = Url::parse(&format!("http://{}/", listener.local_addr()?))?;
    tokio::spawn(axum::serve(listener, kitchen).into_future());

    let mut client = client(AllowedHosts::only(["127.0.0.1"])?)?;
    for path in ["order", "moved", "partner"] {
        let url = url.join(path)?;
        let scope = TransactionIdScope::new(TransactionId::generate());
        println!("\nGET {}, working on {}", url.path(), scope.id());
        // The scope is around the whole operation, so the error captured after the call has the ID.
        let operation = async {
            if let Err(error) = order(&mut client, url).await {
                capture_error(&*error);
            }
        };
        scope.bind(operation).await;
    }
    Ok(())
}
