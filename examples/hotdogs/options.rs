//! The command line.

use async_nats::ServerAddr;
use axum::http::HeaderValue;
use reqwest::Url;

use crate::queue::{self, Address};

pub(crate) const HELP: &str = "\
The hot-dog shop: one transaction ID through a page, a storefront,
a kitchen and a courier.

    cargo run --example hotdogs -- [OPTIONS]

    --once                  place one order that fails, print its story and end;
                            exit code 0 only if every service's errors stand under
                            the one ID that the response echoed, in one trace
    --without-client-layer  call the kitchen without the client layer, to see what
                            is missing then
    --port PORT             the storefront's port (3000, or any free one)
    --kitchen-url URL       let another service cook, in place of the shop's own
                            kitchen: it is asked by POST URL/cook, {\"dog\": \"...\"},
                            and cooks well or answers with a failing status
    --nats ADDRESS          let NATS carry the deliveries to the courier, in place of the
                            shop's own queue: nats://127.0.0.1:4222, for instance;
                            unlike that queue, NATS forgets a delivery whose courier dies
    --cors ORIGIN           let a page of another origin order, and read the ID
    --search-url URL        where the page finds an ID in the tracker, with {id} in
                            its place; for a DSN of sentry.io it is known
    --help                  this text

    SENTRY_DSN=...          send the events there, and not to the shop's own collector
    RUST_LOG=info           show the services' log lines, each with its transaction_id
";

/// The task that the command line gives to the program.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Shop(Options),
    /// Not in the help: the shop starts this program again as its kitchen.
    Kitchen,
    /// Not in the help either: the courier of the shop, and the queue that it works from.
    Courier(Address),
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) once: bool,
    pub(crate) client_layer: bool,
    pub(crate) port: Option<u16>,
    pub(crate) kitchen: Option<Url>,
    pub(crate) nats: Option<ServerAddr>,
    pub(crate) cors: Option<HeaderValue>,
    pub(crate) search_url: Option<String>,
}

/// The argument that makes this program the kitchen.
pub(crate) const KITCHEN: &str = "kitchen";

/// The argument that makes this program the courier. The address of the queue follows.
pub(crate) const COURIER: &str = "courier";

pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut options = Options {
        once: false,
        client_layer: true,
        port: None,
        kitchen: None,
        nats: None,
        cors: None,
        search_url: None,
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            KITCHEN => return Ok(Command::Kitchen),
            COURIER => return Ok(Command::Courier(value()?.parse()?)),
            "--once" => options.once = true,
            "--without-client-layer" => options.client_layer = false,
            "--port" => options.port = Some(port(&value()?)?),
            "--kitchen-url" => options.kitchen = Some(kitchen(&value()?)?),
            "--nats" => options.nats = Some(queue::nats_address(&value()?)?),
            "--cors" => options.cors = Some(origin(&value()?)?),
            "--search-url" => options.search_url = Some(search(value()?)?),
            _ => return Err(format!("{argument:?} is not something this shop knows")),
        }
    }
    Ok(Command::Shop(options))
}

fn port(value: &str) -> Result<u16, String> {
    value.parse().map_err(|_| format!("{value:?} is no port"))
}

fn kitchen(value: &str) -> Result<Url, String> {
    let url = value.parse().ok().filter(|url: &Url| url.scheme() == "http" && url.has_host());
    url.ok_or(format!("{value:?} is no URL of a kitchen, such as http://127.0.0.1:4000"))
}

fn origin(value: &str) -> Result<HeaderValue, String> {
    let url = value.parse().ok().filter(|url: &Url| url.origin().ascii_serialization() == value);
    let origin = url.and_then(|_| value.parse().ok());
    origin.ok_or(format!("{value:?} is no origin, such as http://localhost:8080"))
}

fn search(value: String) -> Result<String, String> {
    // The value becomes a link on the page, so only the schemes of the web are allowed.
    let is_web = value.parse().is_ok_and(|url: Url| matches!(url.scheme(), "http" | "https"));
    if is_web && value.contains("{id}") {
        Ok(value)
    } else {
        Err(format!("{value:?} is no URL with {{id}} in it"))
    }
}
