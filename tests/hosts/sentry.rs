//! A Sentry client that keeps its events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sentry::integrations::panic::PanicIntegration;
use sentry::protocol::Event;
use sentry::test::TestTransport;
use sentry::{ClientOptions, Hub, Level, capture_message};

/// An enabled Sentry client on a hub of its own, so that tests which run side by side do not see each other's
/// events.
#[derive(Clone)]
pub(crate) struct Sentry {
    pub(crate) hub: Arc<Hub>,
    /// Where the client sends to. A host in another process sends its envelopes here as well.
    pub(crate) transport: Arc<TestTransport>,
    seen: Arc<Mutex<Vec<Event<'static>>>>,
}

impl Sentry {
    pub(crate) fn new() -> Self {
        let transport = TestTransport::new();
        let options = ClientOptions::new()
            .dsn("https://public@sentry.invalid/1")
            .add_integration(PanicIntegration::new())
            .transport(transport.clone());
        let hub = Arc::new(Hub::new(Some(Arc::new(options.into())), Arc::default()));
        Self { hub, transport, seen: Arc::default() }
    }

    /// Returns all events so far.
    pub(crate) fn events(&self) -> Vec<Event<'static>> {
        let mut seen = self.seen.lock().unwrap();
        seen.extend(self.transport.fetch_and_clear_events());
        seen.clone()
    }

    /// Waits for an event whose text starts with `start`. Fails after some seconds, or if there are several.
    pub(crate) async fn event(&self, start: &str) -> Event<'static> {
        for _ in 0..1_000 {
            let events = self.events();
            let found: Vec<_> =
                events.iter().filter(|event| text(event).starts_with(start)).collect();
            match found[..] {
                [] => tokio::time::sleep(Duration::from_millis(10)).await,
                [event] => return event.clone(),
                _ => panic!("{} events {start:?}: {events:#?}", found.len()),
            }
        }
        panic!("no event {start:?}: {:#?}", self.events());
    }
}

/// The message of an event, or the text of its exception.
pub(crate) fn text(event: &Event<'_>) -> String {
    let exception = event.exception.last().and_then(|exception| exception.value.clone());
    event.message.clone().or(exception).unwrap_or_default()
}

/// The ID of an event.
#[track_caller]
pub(crate) fn id(event: &Event<'_>) -> String {
    let id = event.tags.get("transaction_id");
    id.unwrap_or_else(|| panic!("no ID: {event:#?}")).clone()
}

/// Captures an event of a level that does not stand for the failure of a request.
pub(crate) fn note(message: &str) {
    capture_message(message, Level::Info);
}

/// Captures its name when it is dropped.
pub(crate) struct NoteOnDrop(pub(crate) &'static str);

impl Drop for NoteOnDrop {
    fn drop(&mut self) {
        note(self.0);
    }
}
