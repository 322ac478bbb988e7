//! What the services did, as they wrote it down themselves, and what became of their reports.

use std::collections::BTreeMap;
use std::fmt;

use crate::parcel::Item;

/// An attempt of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub order: u32,
    pub attempt: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}/{}", self.order, self.attempt)
    }
}

impl Key {
    /// Reads a key as [`Display`](fmt::Display) writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let (order, attempt) = text.strip_prefix('#')?.split_once('/')?;
        Some(Self { order: order.parse().ok()?, attempt: attempt.parse().ok()? })
    }
}

/// A request or a message at one service.
#[derive(Clone, Debug)]
pub struct VisitRecord {
    pub process: &'static str,
    pub key: Key,
    /// The ID by which the service knows the request.
    pub id: String,
}

/// A batch of reports on its way to the tracker: an envelope.
#[derive(Clone, Debug)]
pub struct ParcelRecord {
    pub process: &'static str,
    /// As the process sent them.
    pub sent: Vec<Item>,
    /// As the tracker read them, when it first got them.
    pub arrived: Option<Vec<Item>>,
    /// The fault through which the parcel was lost. It may have arrived all the same, if only the answer
    /// was lost.
    pub lost: Option<String>,
}

/// The answer of the storefront, as the page got it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// The lines of `X-Transaction-ID`.
    pub ids: Vec<String>,
}

#[derive(Default)]
pub struct Ledger {
    /// By serial number, which is the index.
    pub visits: Vec<VisitRecord>,
    /// The reports that a service has made or caused in a visit, by serial number and label.
    pub expected: BTreeMap<(usize, String), usize>,
    /// The reports that a service has made outside of any visit, by process and label.
    pub unbound: BTreeMap<(&'static str, String), usize>,
    /// By the name that its process gave it.
    pub parcels: BTreeMap<String, ParcelRecord>,
    pub answers: BTreeMap<Key, Answer>,
    /// The IDs that services generated, and the process and the key of the request.
    pub generated: BTreeMap<String, (&'static str, Option<Key>)>,
    /// The names of the lost messages.
    pub lost_messages: BTreeMap<u64, String>,
    /// The number of times that each message was delivered.
    pub deliveries: BTreeMap<u64, u32>,
}

impl Ledger {
    /// Opens a visit, and returns its serial number.
    pub fn open(&mut self, visit: VisitRecord) -> usize {
        self.visits.push(visit);
        self.visits.len() - 1
    }
}
