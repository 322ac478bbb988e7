//! The shop's own queue. The shop holds the messages, and the courier takes them over loopback.
//!
//! On a connection, the queue sends one message as a line of JSON, and waits for the line `ack` before
//! it sends the next. If the connection ends before, the courier is no more, and the message goes to
//! the next courier, with all its pairs.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::{Message, NotSent};

/// The courier takes a while for each delivery, and anybody may order, so the memory is bounded.
const LONGEST: usize = 1000;

const ACK: &[u8] = b"ack\n";

#[derive(Clone, Debug)]
pub(crate) struct Queue {
    address: SocketAddr,
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: Mutex<Messages>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Messages {
    waiting: VecDeque<Message>,
    /// The number of messages that couriers have and did not acknowledge yet.
    under_way: usize,
}

impl Queue {
    /// Opens a queue at a free port of loopback.
    pub(super) async fn open() -> Result<Self, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|error| format!("no place for the queue: {error}"))?;
        let address = listener.local_addr();
        let address = address.map_err(|error| format!("a queue without an address: {error}"))?;
        let queue = Self { address, waiting: Arc::default() };
        tokio::spawn(queue.clone().serve(listener));
        Ok(queue)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn send(&self, message: Message) -> Result<(), NotSent> {
        let mut messages = self.waiting.lock();
        if messages.waiting.len() == LONGEST {
            let why = format!("{LONGEST} others wait");
            return Err(NotSent { queue: "the shop's queue", why });
        }
        messages.waiting.push_back(message);
        drop(messages);
        self.waiting.news.notify_one();
        Ok(())
    }

    pub(super) fn left(&self) -> usize {
        let messages = self.waiting.lock();
        messages.waiting.len() + messages.under_way
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((courier, _)) => {
                    tokio::spawn(Arc::clone(&self.waiting).hand_out(courier));
                }
                // The process has too many open files, for instance. One of them may be closed soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hand_out(self: Arc<Self>, mut courier: TcpStream) {
        loop {
            let message = tokio::select! {
                message = self.next() => message,
                // A courier that has no message has nothing to say, so it left.
                _ = courier.read_u8() => return,
            };
            let acknowledged = carry(&mut courier, &message).await;
            let mut messages = self.lock();
            messages.under_way -= 1;
            if acknowledged.is_err() {
                messages.waiting.push_front(Message { again: true, ..message });
                drop(messages);
                self.news.notify_one();
                return;
            }
        }
    }

    async fn next(&self) -> Message {
        loop {
            {
                let mut messages = self.lock();
                if let Some(message) = messages.waiting.pop_front() {
                    messages.under_way += 1;
                    return message;
                }
            }
            self.news.notified().await;
        }
    }
}

/// Sends a message to a courier, and waits until the courier acknowledges it.
async fn carry(courier: &mut TcpStream, message: &Message) -> io::Result<()> {
    let Message { pairs, text, again } = message;
    let line = json!({ "pairs": pairs, "text": text, "again": again });
    courier.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = [0; ACK.len()];
    courier.read_exact(&mut answer).await?;
    if answer == ACK { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The courier's connection to the queue.
pub(crate) struct Receiver {
    lines: Lines<BufReader<OwnedReadHalf>>,
    answers: OwnedWriteHalf,
}

impl Receiver {
    pub(super) async fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| format!("no queue at {address}: {error}"))?;
        let (messages, answers) = stream.into_split();
        Ok(Self { lines: BufReader::new(messages).lines(), answers })
    }

    pub(super) async fn next(&mut self) -> Option<Message> {
        let line = self.lines.next_line().await.ok().flatten()?;
        let message: Value = serde_json::from_str(&line).ok()?;
        Some(Message {
            pairs: serde_json::from_value(message["pairs"].clone()).ok()?,
            text: message["text"].as_str()?.to_owned(),
            again: message["again"] == true,
        })
    }

    pub(super) async fn acknowledge(&mut self) {
        // If the queue is gone, the next message says so.
        let _ = self.answers.write_all(ACK).await;
    }
}
