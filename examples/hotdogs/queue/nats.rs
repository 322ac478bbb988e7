//! The same messages through NATS: the pairs are headers of the message.

use std::error::Error;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap, ServerAddr, Subscriber};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Message, NotSent};

const SUBJECT: &str = "hotdogs.deliveries";

/// Each message goes to one of the couriers in this group.
const COURIERS: &str = "couriers";

const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Sender {
    client: Client,
    address: ServerAddr,
}

impl Sender {
    pub(super) async fn open(address: &ServerAddr) -> Result<Self, String> {
        Ok(Self { client: connect(address).await?, address: address.clone() })
    }

    pub(super) fn address(&self) -> &ServerAddr {
        &self.address
    }

    pub(super) async fn send(&self, message: Message) -> Result<(), NotSent> {
        let not_sent = |why: String| NotSent { queue: "NATS", why };
        let mut headers = HeaderMap::new();
        for (name, value) in message.pairs {
            headers.append(name, value);
        }
        let sent = self.client.publish_with_headers(SUBJECT, headers, message.text.into()).await;
        sent.map_err(|error| not_sent(error.to_string()))?;
        // `publish` only hands the message to the client's task, which waits for a server if there is
        // none. The storefront does not wait that long; the message may still go out later.
        match timeout(PATIENCE, self.client.flush()).await {
            Ok(flushed) => flushed.map_err(|error| not_sent(error.to_string())),
            Err(_) => Err(not_sent(format!("no server for {PATIENCE:?}"))),
        }
    }
}

pub(crate) struct Receiver {
    /// Ends the connection when it is dropped.
    _client: Client,
    messages: Subscriber,
}

impl Receiver {
    pub(super) async fn open(address: &ServerAddr) -> Result<Self, String> {
        let client = connect(address).await?;
        let failed = |error: &dyn Error| format!("NATS has no deliveries: {error}");
        let messages = client.queue_subscribe(SUBJECT, COURIERS.to_owned()).await;
        let messages = messages.map_err(|error| failed(&error))?;
        // The courier is ready once the server knows of it: NATS drops a message that nobody waits for.
        client.flush().await.map_err(|error| failed(&error))?;
        Ok(Self { _client: client, messages })
    }

    pub(super) async fn next(&mut self) -> Option<Message> {
        let async_nats::Message { headers, payload, .. } = self.messages.next().await?;
        let headers = headers.unwrap_or_default();
        let pairs = headers.iter().flat_map(|(name, values)| {
            values.iter().map(move |value| (name.to_string(), value.to_string()))
        });
        let text = String::from_utf8_lossy(&payload).into_owned();
        Some(Message::new(pairs.collect(), text))
    }
}

async fn connect(address: &ServerAddr) -> Result<Client, String> {
    let client = ConnectOptions::new().name("hotdogs").connect(address).await;
    client.map_err(|error| format!("no NATS at {}: {error}", address.as_url_str()))
}
