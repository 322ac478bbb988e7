//! The part that has nothing to do with brokers: the orders, the answers of the shop, the kitchen of both workers,
//! and the settings.

use std::env;
use std::error::Error;
use std::fmt;
use std::io;
use std::num::ParseFloatError;
use std::time::Duration;

use axum::http::StatusCode;
use sentry::{ClientInitGuard, ClientOptions, capture_error};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tower_transaction_id::TransactionId;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) dog: String,
}

/// The reasons for which an order is not served.
#[derive(Debug)]
pub(crate) enum NotServed {
    /// Another attempt may succeed.
    OutOfMustard,
    /// No attempt can succeed.
    NotOnTheMenu(String),
}

impl NotServed {
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::NotOnTheMenu(_))
    }
}

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMustard => f.write_str("the mustard is used up"),
            Self::NotOnTheMenu(dog) => write!(f, "not on the menu: {dog}"),
        }
    }
}

impl Error for NotServed {}

/// Cooks for as many seconds as `$COOKING_SECONDS` says.
pub(crate) async fn cook(dog: &str) -> Result<(), NotServed> {
    let id = TransactionId::current().expect("the layer binds each message to an ID");
    println!("cooking {dog} under {id}");
    let seconds = setting("COOKING_SECONDS", "0").parse().expect("COOKING_SECONDS is a number");
    sleep(Duration::from_secs(seconds)).await;
    println!("done with {dog} under {id}");
    match dog {
        "classic" => Ok(()),
        "artisanal" => Err(NotServed::OutOfMustard),
        dog => Err(NotServed::NotOnTheMenu(dog.to_owned())),
    }
}

/// Returns the shop's answer to an order, which names the ID. If the broker did not take the order, reports
/// the error, under the same ID.
pub(crate) fn answer(
    id: &TransactionId,
    sent: Result<(), Box<dyn Error + Send + Sync>>,
) -> (StatusCode, String) {
    match sent {
        Ok(()) => (StatusCode::ACCEPTED, format!("We took your order. Its ID is {id}\n")),
        Err(error) => {
            capture_error(&*error);
            let sorry = format!("We could not take your order. Tell us its ID, {id}\n");
            (StatusCode::SERVICE_UNAVAILABLE, sorry)
        }
    }
}

/// Starts Sentry's SDK, which takes the DSN from `$SENTRY_DSN`. `$TRACES_SAMPLE_RATE`, from 0 to 1, turns
/// performance monitoring on.
pub(crate) fn start_sentry(role: &str) -> Result<ClientInitGuard, ParseFloatError> {
    let rate = setting("TRACES_SAMPLE_RATE", "0").parse()?;
    let options = ClientOptions::new().server_name(role.to_owned()).traces_sample_rate(rate);
    Ok(sentry::init(options))
}

/// Waits until the process is asked to end, so that the worker acknowledges the orders that it has begun.
pub(crate) async fn asked_to_end() -> io::Result<()> {
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

/// A setting from the environment.
pub(crate) fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}
