//! The way of a delivery from the storefront to the courier: the shop's own queue, or NATS.
//!
//! Both carry the same message. Its pairs of strings hold the ID and the trace, and its text is the
//! delivery as JSON.

mod embedded;
mod nats;

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use async_nats::ServerAddr;

pub(crate) use embedded::Queue;

/// A message as the queue carries it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The ID and the trace, as any other pairs that a queue knows as headers or attributes.
    pub(crate) pairs: Vec<(String, String)>,
    pub(crate) text: String,
    /// Whether another courier had the message, and ended before it made the delivery.
    pub(crate) again: bool,
}

impl Message {
    pub(crate) fn new(pairs: Vec<(String, String)>, text: String) -> Self {
        Self { pairs, text, again: false }
    }
}

/// The storefront's end.
#[derive(Debug)]
pub(crate) enum Sender {
    Embedded(Queue),
    Nats(nats::Sender),
}

impl Sender {
    /// Opens the queue: NATS, if an address is given, or else the shop's own.
    pub(crate) async fn open(nats: Option<&ServerAddr>) -> Result<Self, String> {
        match nats {
            Some(address) => nats::Sender::open(address).await.map(Self::Nats),
            None => Queue::open().await.map(Self::Embedded),
        }
    }

    /// Returns the address at which the courier finds the queue.
    pub(crate) fn address(&self) -> Address {
        match self {
            Self::Embedded(queue) => Address::Embedded(queue.address()),
            Self::Nats(sender) => Address::Nats(sender.address().clone()),
        }
    }

    pub(crate) async fn send(&self, message: Message) -> Result<(), NotSent> {
        match self {
            Self::Embedded(queue) => queue.send(message),
            Self::Nats(sender) => sender.send(message).await,
        }
    }

    /// Returns the number of messages that no courier has acknowledged, where the shop knows it.
    pub(crate) fn left(&self) -> usize {
        match self {
            Self::Embedded(queue) => queue.left(),
            Self::Nats(_) => 0,
        }
    }
}

/// The courier's end.
pub(crate) enum Receiver {
    Embedded(embedded::Receiver),
    Nats(nats::Receiver),
}

impl Receiver {
    pub(crate) async fn open(address: &Address) -> Result<Self, String> {
        match address {
            Address::Embedded(address) => {
                embedded::Receiver::open(*address).await.map(Self::Embedded)
            }
            Address::Nats(address) => nats::Receiver::open(address).await.map(Self::Nats),
        }
    }

    /// Returns the next message, and `None` when the queue is closed. May be dropped at any time: no
    /// message is lost.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        match self {
            Self::Embedded(receiver) => receiver.next().await,
            Self::Nats(receiver) => receiver.next().await,
        }
    }

    /// Says that the last message is done with.
    pub(crate) async fn acknowledge(&mut self) {
        match self {
            Self::Embedded(receiver) => receiver.acknowledge().await,
            // NATS alone, without JetStream, forgets a message as soon as it is handed out.
            Self::Nats(_) => {}
        }
    }
}

/// The place of a queue, as an argument of the courier.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Embedded(SocketAddr),
    Nats(ServerAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(address) => write!(f, "tcp://{address}"),
            Self::Nats(address) => f.write_str(address.as_url_str()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        match value.strip_prefix("tcp://").map(str::parse) {
            Some(Ok(address)) => Ok(Self::Embedded(address)),
            Some(Err(_)) => Err(format!("{value:?} is no address of a queue")),
            None => nats_address(value).map(Self::Nats),
        }
    }
}

/// Reads the address of a NATS server: a URL, or a host and a port.
pub(crate) fn nats_address(value: &str) -> Result<ServerAddr, String> {
    let address = value.parse().ok().filter(|address: &ServerAddr| !address.is_websocket());
    address.ok_or(format!("{value:?} is no address of NATS, such as nats://127.0.0.1:4222"))
}

/// The queue did not take the message.
#[derive(Debug)]
pub(crate) struct NotSent {
    queue: &'static str,
    why: String,
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} did not take the delivery: {}", self.queue, self.why)
    }
}

impl Error for NotSent {}
