//! The service that each server host serves: a shop, in which each wish shows one thing.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::HeaderMap;
use sentry::{Level, User, capture_message, configure_scope};
use tokio::sync::Barrier;
use tower_transaction_id::{InScope, TransactionId};

use crate::sentry::{NoteOnDrop, note};

/// The text of the panic that a wish causes.
pub(crate) const PANIC: &str = "the grill is on fire";

/// The number of guests that [`Shop`] serves at the same time.
pub(crate) const GUESTS: usize = 4;

/// What all hosts serve.
#[derive(Clone)]
pub(crate) struct Shop {
    meeting: Arc<Barrier>,
}

/// What the shop answers. Each host turns it into its own response.
pub(crate) enum Answer {
    Served,
    /// `503`, or what is called so on the host.
    Failed,
    Streamed(Chunks),
    /// `404`
    Unknown,
}

pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Bytes> + Send + Sync>>;

impl Shop {
    pub(crate) fn new() -> Self {
        Self { meeting: Arc::new(Barrier::new(GUESTS)) }
    }

    /// Fulfils a wish. Takes the headers of the request, if the host shows them to a handler.
    pub(crate) async fn order(&self, wish: &str, headers: Option<&HeaderMap>) -> Answer {
        match wish {
            "taste" => note(&format!("tasted {}", ids(headers))),
            "meet" => {
                let before = ids(headers);
                self.meeting.wait().await;
                note(&format!("met {before}"));
            }
            "stream" => return Answer::Streamed(hot_dog()),
            "drip" => return Answer::Streamed(ketchup()),
            "wait" => {
                let _gone = NoteOnDrop("the handler was dropped");
                note("waiting");
                pending::<()>().await;
            }
            "burn" => panic!("{PANIC}"),
            "delegate" => {
                let task = InScope::fork(async { note("in a task") });
                tokio::spawn(task).await.expect("the task does not panic");
            }
            "fail" => return Answer::Failed,
            "complain" => {
                capture_message("out of mustard", Level::Error);
                return Answer::Failed;
            }
            "introduce" => configure_scope(|scope| {
                scope.set_user(Some(User { id: Some("guest-7".into()), ..User::default() }));
                scope.set_tag("table", "seven");
            }),
            _ => return Answer::Unknown,
        }
        Answer::Served
    }
}

/// The current ID, and those of the request's header.
fn ids(headers: Option<&HeaderMap>) -> String {
    let current = TransactionId::current().map_or("nothing".to_owned(), |id| id.to_string());
    let Some(headers) = headers else { return current };
    let lines = headers.get_all("x-transaction-id").iter();
    let lines = lines.map(|line| String::from_utf8_lossy(line.as_bytes()));
    lines.fold(current, |ids, line| format!("{ids}, {line}"))
}

/// A body that takes two turns, and captures an event in the second.
fn hot_dog() -> Chunks {
    let chunks = stream::iter(["a hot dog, ", "well done"]).then(async |chunk| {
        tokio::task::yield_now().await;
        if chunk == "well done" {
            note(&format!("streaming {}", ids(None)));
        }
        Bytes::from_static(chunk.as_bytes())
    });
    Box::pin(chunks)
}

/// A body that sends a drop, and never ends.
fn ketchup() -> Chunks {
    let gone = NoteOnDrop("the body was dropped");
    let first = stream::once(async {
        note("dripping");
        Bytes::from_static(b"a drop")
    });
    let rest = stream::once(async move {
        let _gone = gone;
        pending().await
    });
    Box::pin(first.chain(rest))
}
