//! Says once for each layer, in the log, if the setup around it cannot work as it is meant to.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8};

use sentry::Hub;

use crate::scope::TransactionIdScope;
use crate::scope::alive::hub_is_alive;
use crate::scope::hub::span_of;

/// The number of requests that are searched for another layer of Sentry's around this one: such a
/// look takes a fork of the hub.
const LOOKS: u8 = 8;

/// What was said already.
#[derive(Default)]
pub(crate) struct Notices {
    no_client: AtomicBool,
    looks: AtomicU8,
}

impl Notices {
    /// Looks at a request whose scope was just opened, and not entered yet.
    pub(crate) fn look_at(&self, scope: &TransactionIdScope) {
        // At debug level: to have no client is a choice in tests and on a developer's machine.
        if scope.hub().is_none()
            && !self.no_client.load(Relaxed)
            && !self.no_client.swap(true, Relaxed)
        {
            tracing::debug!(
                "no enabled Sentry client is bound to the hub of this crate's version of sentry, so \
                 nothing is tagged"
            );
        }
    }

    /// Whether another layer of Sentry's around this one would still be news.
    pub(crate) fn is_looking(&self) -> bool {
        self.looks.load(Relaxed) < LOOKS
    }

    /// Looks around a request that is polled for the first time, before its scope is entered: its own
    /// hub does not show the span. A layer such as `SentryHttpLayer` has none while the request is made.
    #[cold]
    pub(crate) fn look_around(&self) {
        if !self.is_looking() {
            return;
        }
        if !hub_is_alive() || span_of(Hub::current()).is_none() {
            self.looks.fetch_add(1, Relaxed);
        } else if self.looks.swap(LOOKS, Relaxed) < LOOKS {
            tracing::warn!(
                "a Sentry span is active outside of BindTransactionIdLayer, whose hub does not have \
                 it: put the other Sentry layer inside, or remove it"
            );
        }
    }
}
