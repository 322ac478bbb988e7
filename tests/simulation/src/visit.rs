//! A request or a message, as the code of a service sees it.

use std::sync::Arc;
use std::time::SystemTime;

use sentry::protocol::{Log, LogLevel, Map, User};
use sentry::{Breadcrumb, Hub, Level, metrics};
use tower_transaction_id::TransactionId;

use crate::ledger::{Key, VisitRecord};
use crate::process::Process;

/// A request or a message. Whatever is reported through it is written into the ledger as well.
#[derive(Clone)]
pub struct Visit {
    pub process: Arc<Process>,
    pub key: Key,
    /// The ID that the request's header or the message brings behind the layer.
    pub id: String,
    serial: usize,
}

impl Visit {
    /// Opens the visit in the scope of the request, as the first thing that the service does.
    pub fn open(process: &Arc<Process>, key: Key, id: &str) -> Self {
        let record = VisitRecord { process: process.name, key, id: id.to_owned() };
        let serial = process.world.state().ledger.open(record);
        let visit = Self { process: Arc::clone(process), key, id: id.to_owned(), serial };
        visit.note(&format!("{key} comes under {id}"));
        visit.check("at the start");
        sentry::configure_scope(|scope| {
            scope.set_tag("visit", serial);
            scope.set_tag("order", key);
            scope.set_user(Some(User { id: Some(visitor(key)), ..User::default() }));
        });
        visit.crumb("comes");
        visit
    }

    pub fn note(&self, line: &str) {
        self.process.world.log(self.process.name, line);
    }

    /// Checks that the current ID, and that of the current hub, are those of the visit.
    pub fn check(&self, place: &str) {
        let current = TransactionId::current();
        let of_hub = TransactionId::from_hub(&Hub::current());
        let is_own =
            |id: &Option<TransactionId>| id.as_ref().is_some_and(|id| id.as_str() == self.id);
        self.process.world.check(is_own(&current) && is_own(&of_hub), || {
            let (process, key, id) = (self.process.name, self.key, &self.id);
            format!("{place} of {key} at {process}: {current:?} is current, the hub has {of_hub:?}, not {id}")
        });
    }

    /// Writes into the ledger that a report is due.
    pub fn expect(&self, label: &str) {
        let mut state = self.process.world.state();
        *state.ledger.expected.entry((self.serial, label.to_owned())).or_default() += 1;
    }

    pub fn message(&self, level: Level, text: &str) {
        self.expect(text);
        sentry::capture_message(text, level);
    }

    pub fn error(&self, text: &'static str) {
        self.expect(text);
        sentry::capture_error(&std::io::Error::other(text));
    }

    pub fn log(&self, text: &str) {
        self.expect(text);
        let mut attributes = Map::new();
        attributes.insert("visit".to_owned(), self.serial.into());
        attributes.insert("order".to_owned(), self.key.to_string().into());
        Hub::current().capture_log(Log {
            level: LogLevel::Info,
            body: text.to_owned(),
            trace_id: None,
            timestamp: SystemTime::now(),
            severity_number: None,
            attributes,
        });
    }

    pub fn metric(&self, name: &'static str) {
        self.expect(name);
        metrics::counter(name, 1)
            .attribute("visit", self.serial)
            .attribute("order", self.key.to_string())
            .capture();
    }

    pub fn crumb(&self, text: &str) {
        let message = Some(format!("{} {text}", self.key));
        sentry::add_breadcrumb(Breadcrumb { message, ..Breadcrumb::default() });
    }
}

/// Returns the user of an order.
pub fn visitor(key: Key) -> String {
    format!("visitor of {key}")
}

/// The end of a visit, wherever that is: in the handler, in the body of its response, or in a drop.
pub struct Ending {
    visit: Visit,
    is_done: bool,
}

impl Ending {
    pub fn of(visit: &Visit) -> Self {
        Self { visit: visit.clone(), is_done: false }
    }

    /// Notes that the work is done, so that the drop is no surprise.
    pub fn done(&mut self) {
        self.is_done = true;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let visit = &self.visit;
        visit.check("in a drop");
        if !self.is_done {
            visit.note(&format!("{} is abandoned", visit.key));
            visit.message(Level::Warning, "abandoned");
        }
        if visit.process.measures {
            visit.expect("performance");
        }
    }
}
