//! The command line.

pub(crate) const HELP: &str = "\
The hot-dog shop: one transaction ID through a page, a storefront and a kitchen.

    cargo run --example hotdogs -- [OPTIONS]

    --once                  place one order that fails, print its story and end;
                            exit code 0 only if every service's errors stand under
                            the one ID that the response echoed
    --without-client-layer  call the kitchen without the client layer, to see what
                            is missing then
    --port PORT             the storefront's port (3000, or any free one)
    --help                  this text

    SENTRY_DSN=...          send the events there, and not to the shop's own collector
    RUST_LOG=info           show the services' log lines, each with its transaction_id
";

/// What the program was asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Shop(Options),
    /// Not in the help: the shop starts itself again as its kitchen.
    Kitchen,
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) once: bool,
    pub(crate) client_layer: bool,
    pub(crate) port: Option<u16>,
}

/// The argument that makes this program the kitchen.
pub(crate) const KITCHEN: &str = "kitchen";

pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut options = Options { once: false, client_layer: true, port: None };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            KITCHEN => return Ok(Command::Kitchen),
            "--once" => options.once = true,
            "--without-client-layer" => options.client_layer = false,
            "--port" => {
                let port = arguments.next().ok_or("--port needs a number")?;
                let number = port.parse().map_err(|_| format!("{port:?} is no port"))?;
                options.port = Some(number);
            }
            _ => return Err(format!("{argument:?} is not something this shop knows")),
        }
    }
    Ok(Command::Shop(options))
}
