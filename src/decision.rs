//! Decides whether the ID that came with a request or a message is kept.

use crate::scope::record::{Origin, Refusal};
use crate::{InvalidTransactionId, TransactionId};

/// The ID of a piece of work, and where the ID comes from.
pub(crate) struct Decision {
    pub(crate) id: TransactionId,
    pub(crate) origin: Origin,
    /// A valid ID that is not kept, since its sender is not trusted.
    pub(crate) upstream: Option<TransactionId>,
}

impl Decision {
    /// Keeps `incoming` if it is valid and its sender is trusted, and otherwise generates an ID.
    #[inline]
    pub(crate) fn on(
        incoming: Option<Result<TransactionId, InvalidTransactionId>>,
        trusts_sender: bool,
        generate: impl FnOnce() -> TransactionId,
    ) -> Self {
        let (upstream, refusal) = match incoming {
            Some(Ok(id)) if trusts_sender => {
                return Self { id, origin: Origin::Inbound, upstream: None };
            }
            Some(Ok(id)) => (Some(id), Some(Refusal::Untrusted)),
            Some(Err(why)) => (None, Some(Refusal::Invalid(why))),
            None => (None, None),
        };
        Self { id: generate(), origin: Origin::Generated(refusal), upstream }
    }

    /// Returns the reason why the ID that came is not valid, if that is so.
    #[inline]
    pub(crate) fn refused(&self) -> Option<InvalidTransactionId> {
        match self.origin {
            Origin::Generated(Some(Refusal::Invalid(why))) => Some(why),
            Origin::Generated(_) | Origin::Inbound => None,
        }
    }
}

/// Logs that an ID was refused. The level is debug, since any client can cause a refusal. The log line
/// leaves out the value, since the client chose the value.
#[cold]
pub(crate) fn log_refusal(why: InvalidTransactionId) {
    #[cfg(feature = "tracing")]
    tracing::debug!(rule = %why.rule(), len = why.value_len(), "transaction ID refused");
    #[cfg(not(feature = "tracing"))]
    let _ = why;
}
