//! The courier: a process of its own, which no request reaches. It takes its work from a queue, after the
//! storefront has answered the page.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use sentry::Hub;
use serde_json::Value;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_transaction_id::messages::{BindMessageLayer, MessageContext};

use crate::child::closing_time;
use crate::menu::Dog;
use crate::queue::{Address, Message, Receiver};
use crate::telemetry::{self, DELIVERY};

/// Delivers until standard input ends. The delivery at hand is finished first.
pub(crate) fn run(queue: &Address) -> Result<(), String> {
    let dsn = telemetry::dsn_from_env()?.ok_or("the courier is called by the shop")?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let _sentry = telemetry::init("courier", dsn);
    runtime.block_on(work(queue))
}

async fn work(queue: &Address) -> Result<(), String> {
    let mut queue = Receiver::open(queue).await?;
    // The shop waits for this line.
    println!("ready");
    // The one layer that a worker needs. It opens a scope for each message, under the ID that the message
    // brings, and continues the trace of the storefront.
    let read = |message: &Message| {
        MessageContext::read(message.pairs.iter().map(|(name, value)| (name, value)))
    };
    let layer = BindMessageLayer::new("deliveries", read)
        .hub(Hub::main())
        .capture_errors(true)
        .read_errors(|error: &DogNotDelivered| error)
        .measure_performance(true)
        .make_span_with(telemetry::message_span);
    let mut courier = ServiceBuilder::new().layer(layer).service_fn(deliver);
    let mut closing = std::pin::pin!(closing_time());
    loop {
        let message = tokio::select! {
            message = queue.next() => message.ok_or("the courier's queue is gone")?,
            () = &mut closing => return Ok(()),
        };
        // The layer has reported an error. Another try would find no other address, so the message is
        // done with in either case. Only a courier that dies leaves it to the next one.
        if let Ok(ready) = courier.ready().await {
            let _ = ready.call(message).await;
        }
        queue.acknowledge().await;
    }
}

async fn deliver(message: Message) -> Result<(), DogNotDelivered> {
    let (dog, address) = read(&message.text)?;
    if message.again {
        tracing::warn!("the courier before did not come back");
    }
    tracing::info!("one {dog} hot dog for {address}");
    step("bag packed").await;
    find(&address).map_err(DogNotDelivered::because)?;
    step("bell rung").await;
    tracing::info!("delivered");
    Ok(())
}

async fn step(done: &str) {
    tokio::time::sleep(Duration::from_millis(60)).await;
    tracing::debug!(target: DELIVERY, "{done}");
}

/// Returns the hot dog and the address. Another program may have written the message.
fn read(text: &str) -> Result<(Dog, String), DogNotDelivered> {
    let delivery: Value = serde_json::from_str(text).map_err(DogNotDelivered::because)?;
    let dog = Dog::wanted(&delivery).ok_or("not on the menu");
    let address = delivery["address"].as_str().ok_or("a delivery without an address");
    let read = dog.and_then(|dog| Ok((dog, address?.to_owned())));
    read.map_err(DogNotDelivered::because)
}

/// Looks for an address on the courier's map, which has streets only.
fn find(address: &str) -> Result<(), NoSuchAddress> {
    if address.ends_with("Street") {
        Ok(())
    } else {
        Err(NoSuchAddress { address: address.to_owned() })
    }
}

#[derive(Debug)]
struct DogNotDelivered {
    source: Box<dyn Error + Send + Sync>,
}

impl DogNotDelivered {
    fn because(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: source.into() }
    }
}

impl fmt::Display for DogNotDelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the hot dog comes back cold")
    }
}

impl Error for DogNotDelivered {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

#[derive(Debug)]
struct NoSuchAddress {
    address: String,
}

impl fmt::Display for NoSuchAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no road leads to {}", self.address)
    }
}

impl Error for NoSuchAddress {}
