//! [`BindMessageLayer`] and its settings.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use sentry::Hub;
use tower_layer::Layer;

#[cfg(feature = "tracing")]
use crate::TransactionId;
use crate::failures::{OpaqueErrors, ReadableErrors};
use crate::messages::admission::Config;
use crate::messages::context::MessageContext;
use crate::messages::service::BindMessage;
use crate::scope::TransactionIdScope;
use crate::scope::hub::BaseHub;

/// Gives each message its transaction ID: a `Layer` for any `Service<M>`, such as the worker of a queue, a
/// JSON-RPC method or a language server. For HTTP there is
/// [`BindTransactionIdLayer`](crate::BindTransactionIdLayer).
///
/// ```
/// use std::collections::HashMap;
/// use tower::{ServiceBuilder, service_fn};
/// use tower_transaction_id::messages::{BindMessageLayer, MessageContext};
///
/// struct Order {
///     headers: HashMap<String, String>,
///     wish: String,
/// }
///
/// async fn cook(order: Order) -> Result<(), String> {
///     // Events that are captured here have the ID of the order, and outbound calls carry it.
///     Err(format!("out of {}", order.wish))
/// }
///
/// let layer = BindMessageLayer::new("orders", |order: &Order| MessageContext::from(&order.headers))
///     .capture_errors(true);
/// let worker = ServiceBuilder::new().layer(layer).service_fn(cook);
/// ```
///
/// # The way of a message
///
/// 1. The layer reads the context of the message. It keeps an ID that is valid and [trusted](Self::trust),
///    and otherwise generates an ID. It never refuses a message.
/// 2. It opens a [`TransactionIdScope`] with a hub of its own, calls the inner service in the scope, and
///    polls and drops its future there. So each message of a batch has its own ID, however many run at
///    once, and each attempt of a message that brings a valid ID has the same ID.
/// 3. It reports an error of the service, if [`capture_errors`](Self::capture_errors) is set.
///
/// Without a [base hub](Self::hub), a message that brings no trace is in the span that is active when it
/// arrives, such as that of the connection or of the worker.
///
/// Put one such layer around a message: a second one opens a scope of its own, and reports an error again.
pub struct BindMessageLayer<M, R = OpaqueErrors> {
    pub(crate) config: Arc<Config<M>>,
    errors: R,
}

impl<M> BindMessageLayer<M> {
    /// Creates a layer that reads the context of each message by `read`, trusts every message, and forks
    /// the hub that is current.
    ///
    /// `name` is the queue, the job or the method. It names the reports and the performance transactions,
    /// so it must not hold a value of the message.
    #[must_use]
    pub fn new<F>(name: impl Into<Cow<'static, str>>, read: F) -> Self
    where
        F: Fn(&M) -> MessageContext + Send + Sync + 'static,
    {
        Self {
            config: Arc::new(Config::new(name.into().into(), Arc::new(read))),
            errors: OpaqueErrors::new(),
        }
    }
}

impl<M, R> BindMessageLayer<M, R> {
    fn config(&mut self) -> &mut Config<M> {
        Arc::make_mut(&mut self.config)
    }

    /// Names each message by `name`, such as the method of a JSON-RPC call, in place of the one name.
    ///
    /// Each name is an issue and a transaction of its own in Sentry. So a name that a stranger can invent
    /// must become a name of a fixed list.
    #[must_use]
    pub fn name_with<N, F>(mut self, name: F) -> Self
    where
        N: Into<Arc<str>>,
        F: Fn(&M) -> N + Send + Sync + 'static,
    {
        self.config().name_with = Some(Arc::new(move |message| name(message).into()));
        self
    }

    /// Sets Sentry's [operation](https://develop.sentry.dev/sdk/telemetry/traces/span-operations/) of the
    /// messages, such as `rpc.server`, in place of `queue.process`.
    #[must_use]
    pub fn operation(mut self, operation: &'static str) -> Self {
        Arc::make_mut(&mut self.config().kind).op = operation;
        self
    }

    /// Sets which messages are trusted: whose IDs are kept and whose traces are continued.
    ///
    /// A valid ID that is not trusted becomes the Sentry tag `upstream_transaction_id`. The layer calls
    /// `trusts` for each message that brings a valid ID or a trace.
    #[must_use]
    pub fn trust<F>(mut self, trusts: F) -> Self
    where
        F: Fn(&M) -> bool + Send + Sync + 'static,
    {
        self.config().trusts = Some(Arc::new(trusts));
        self
    }

    /// Starts each message from the client and the scope that `hub` has **now**, as
    /// [the server layer](crate::BindTransactionIdLayer::hub) does for requests.
    ///
    /// Leave it out on a socket: there the message inherits the tags and the user of its connection from the
    /// hub that is current.
    #[must_use]
    pub fn hub(mut self, hub: impl AsRef<Hub>) -> Self {
        self.config().base = BaseHub::given(hub);
        self
    }

    /// Sets whether each error of the inner service is reported as one Sentry event. Off by default.
    ///
    /// An event of level error or above with the ID of the message stands for the error, and the layer
    /// reports nothing more, as [the server layer](crate::BindTransactionIdLayer::capture_failures) does.
    /// One name with one type of error is one issue. The event has the name of the error's type, or its
    /// text with [`read_errors`](Self::read_errors). An error inside of `Ok`, as in the answers of JSON-RPC, is
    /// no error of the service.
    #[must_use]
    pub fn capture_errors(mut self, capture_errors: bool) -> Self {
        self.config().captures_errors = capture_errors;
        self
    }

    /// Shows the text and the sources of an error in its report, as
    /// [the server layer](crate::BindTransactionIdLayer::read_errors) does.
    #[must_use]
    pub fn read_errors<E>(
        self,
        read: fn(&E) -> &(dyn std::error::Error + 'static),
    ) -> BindMessageLayer<M, ReadableErrors<E>> {
        BindMessageLayer { config: self.config, errors: ReadableErrors::new(read) }
    }

    /// Sets whether each message is measured as a *performance transaction*, with the operation
    /// `queue.process`. Off by default.
    ///
    /// The transaction continues the trace and the sampling decision of a trusted message. It ends when
    /// the future of the inner service ends, with the status `ok` or `internal_error`, or panics, with the
    /// status `internal_error`, or is dropped, with the status `cancelled`.
    #[must_use]
    pub fn measure_performance(mut self, measure_performance: bool) -> Self {
        self.config().measures = measure_performance;
        self
    }

    /// Handles each message in a span that `make_span` makes, so that its log lines show the ID.
    #[cfg(feature = "tracing")]
    #[must_use]
    pub fn make_span_with<F>(mut self, make_span: F) -> Self
    where
        F: Fn(&M, &TransactionId) -> tracing::Span + Send + Sync + 'static,
    {
        self.config().make_span = Some(Arc::new(make_span));
        self
    }

    /// Opens the scope of a message, for a loop that takes messages without a Tower service.
    ///
    /// ```
    /// # async fn worker(mut orders: tokio::sync::mpsc::Receiver<(String, Vec<u8>)>) {
    /// use tower_transaction_id::messages::{BindMessageLayer, MessageContext};
    ///
    /// let layer = BindMessageLayer::new("orders", |(id, _): &(String, Vec<u8>)| {
    ///     MessageContext::of_id(Some(id))
    /// });
    /// while let Some(order) = orders.recv().await {
    ///     let scope = layer.scope(&order);
    ///     tokio::spawn(scope.bind(async move { /* cook the order */ }));
    /// }
    /// # }
    /// ```
    ///
    /// Errors are not captured, since the loop has them, and no performance transaction is measured. For
    /// both, call the layer's service in the loop: `layer.layer(service_fn(cook))`.
    #[must_use]
    pub fn scope(&self, message: &M) -> TransactionIdScope {
        self.config.open(message, false)
    }
}

impl<M, R: Clone> Clone for BindMessageLayer<M, R> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config), errors: self.errors.clone() }
    }
}

impl<M, R> fmt::Debug for BindMessageLayer<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindMessageLayer")
            .field("name", &self.config.kind.name)
            .field("has_base_hub", &self.config.base.is_some())
            .finish_non_exhaustive()
    }
}

impl<S, M, R: Clone> Layer<S> for BindMessageLayer<M, R> {
    type Service = BindMessage<S, M, R>;

    fn layer(&self, inner: S) -> Self::Service {
        BindMessage::with(inner, Arc::clone(&self.config), self.errors.clone())
    }
}
