//! Sentry clients that are enabled and have a transport that drops everything.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use sentry::protocol::EnvelopeItem;
use sentry::{Client, ClientInitGuard, ClientOptions, Envelope, Transport};
use tower_transaction_id::TransactionIdIntegration;

/// The number of performance transactions that arrived from all clients.
static TRANSACTIONS: AtomicU64 = AtomicU64::new(0);

struct NoTransport;

impl Transport for NoTransport {
    fn send_envelope(&self, envelope: Envelope) {
        let is_transaction = |item: &&EnvelopeItem| matches!(item, EnvelopeItem::Transaction(_));
        let transactions = envelope.items().filter(is_transaction).count();
        TRANSACTIONS.fetch_add(transactions as u64, Relaxed);
        drop(envelope);
    }
}

/// The share of performance transactions that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    All,
    /// Every hundredth transaction is sent, so that all variants send equally many. The SDK draws no random
    /// number for this rate.
    Hundredth,
}

/// Binds a client to the main hub. The client has no integrations, since their work on an event costs the
/// same for every variant, and a hundred times as much as the compared parts.
pub(crate) fn init() -> ClientInitGuard {
    sentry::init(options(None))
}

/// A second client, with the integration of this crate, and with performance transactions at `rate`.
pub(crate) fn with_integration(rate: Option<Rate>) -> Arc<Client> {
    static CLIENTS: [OnceLock<Arc<Client>>; 3] = [const { OnceLock::new() }; 3];
    let make = || options(rate).add_integration(TransactionIdIntegration::new()).into();
    Arc::clone(CLIENTS[place(rate)].get_or_init(|| Arc::new(make())))
}

/// A client without the integration and with performance transactions at `rate`.
pub(crate) fn with_transactions(rate: Rate) -> Arc<Client> {
    static CLIENTS: [OnceLock<Arc<Client>>; 3] = [const { OnceLock::new() }; 3];
    let rate = Some(rate);
    Arc::clone(CLIENTS[place(rate)].get_or_init(|| Arc::new(options(rate).into())))
}

/// The number of performance transactions that arrived while `f` ran.
pub(crate) fn transactions_of(f: impl FnOnce()) -> u64 {
    let before = TRANSACTIONS.load(Relaxed);
    f();
    TRANSACTIONS.load(Relaxed) - before
}

fn place(rate: Option<Rate>) -> usize {
    match rate {
        None => 0,
        Some(Rate::All) => 1,
        Some(Rate::Hundredth) => 2,
    }
}

fn options(rate: Option<Rate>) -> ClientOptions {
    let options = ClientOptions::new()
        .dsn("https://public@sentry.invalid/1")
        .default_integrations(false)
        .transport(Arc::new(NoTransport));
    match rate {
        None => options,
        Some(Rate::All) => options.traces_sample_rate(1.0),
        Some(Rate::Hundredth) => {
            let started = AtomicU64::new(0);
            options.traces_sampler(move |_| {
                let is_hundredth = started.fetch_add(1, Relaxed) % 100 == 99;
                if is_hundredth { 1.0 } else { 0.0 }
            })
        }
    }
}
