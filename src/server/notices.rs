//! Logs, once for each layer, that the setup around the layer cannot work as intended.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8};

use sentry::Hub;

use crate::scope::TransactionIdScope;
use crate::scope::alive::hub_is_alive;
use crate::scope::hub::span_of;

/// The number of requests for which the layer looks for another Sentry layer around it. The number is
/// small, since each look forks the hub.
const LOOKS: u8 = 8;

/// Remembers the notices that were logged already.
#[derive(Default)]
pub(crate) struct Notices {
    no_client: AtomicBool,
    looks: AtomicU8,
}

impl Notices {
    /// Checks the scope of a request just after the scope was opened and before it is entered.
    pub(crate) fn look_at(&self, scope: &TransactionIdScope) {
        // The level is debug, since tests and developers' machines often have no client on purpose.
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

    /// Returns whether the layer still looks for another Sentry layer around it.
    pub(crate) fn is_looking(&self) -> bool {
        self.looks.load(Relaxed) < LOOKS
    }

    /// Looks for a span around a request at its first poll. The look comes before the scope is entered,
    /// since the hub of the scope does not show the span. At the call it would be too early: a layer such
    /// as `SentryHttpLayer` sets its span at the poll.
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
