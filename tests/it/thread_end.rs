//! The end of a thread. The thread's locals and their contents are destroyed one by one, and Sentry's
//! hub is one of these locals.
//!
//! A panic in such a destructor aborts the process, so each story runs in a child process. The child
//! has Sentry's panic integration, as most services have: its hook uses the hub once more.

use std::any::Any;
use std::cell::RefCell;
use std::future::pending;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use http::{HeaderMap, Request, Response, StatusCode};
use sentry::integrations::panic::PanicIntegration;
use sentry::protocol::{EnvelopeItem, SpanStatus};
use sentry::{ClientOptions, Hub, Level, TransactionContext};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_transaction_id::messages::{BindMessageLayer, MessageContext, OutboundContext};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, Failures, InScope, InjectTransactionIdLayer,
    TransactionId, TransactionIdScope,
};

use crate::support::{Never, Sentry, capture, in_child, tag};

/// Runs `story` in a child process, where `Hub::main` has the client of the [`Sentry`]. Fails if the
/// child aborts or fails.
fn survives(test: &str, story: impl FnOnce(&Sentry)) {
    in_child(test, || {
        let options = ClientOptions::new().traces_sample_rate(1.0);
        let sentry = Sentry::with_options(options.add_integration(PanicIntegration::default()));
        Hub::main().bind_client(sentry.hub.client());
        story(&sentry);
    });
}

thread_local! {
    static KEPT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// The first use of something on a thread. The thread's end destroys the last of these first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum First {
    /// The local that keeps the tested value.
    Kept,
    Hub,
    Crate,
    /// The thread's random number generator, which Sentry's SDK uses as well.
    Random,
}

/// Starts a thread that uses the things in `order`, keeps `kept` in its local, and ends.
fn keep_to_the_end(order: &'static [First], kept: Box<dyn Any + Send>) {
    let scope = scope("of-another-work");
    assert!(scope.hub().is_some());
    let thread = std::thread::spawn(move || {
        for first in order {
            match first {
                First::Kept => KEPT.with(|_| ()),
                First::Hub => drop(Hub::current()),
                First::Crate => scope.run(|| ()),
                First::Random => drop(TransactionId::generate()),
            }
        }
        KEPT.set(Some(kept));
    });
    thread.join().unwrap();
}

fn scope(id: &str) -> TransactionIdScope {
    TransactionIdScope::new(id.parse().unwrap())
}

fn client() -> InjectTransactionIdLayer {
    InjectTransactionIdLayer::new(AllowedHosts::any()).capture_failures(Failures::new())
}

fn server() -> BindTransactionIdLayer {
    BindTransactionIdLayer::new().capture_failures(Failures::new())
}

fn request() -> Request<()> {
    Request::get("http://kitchen.test/cook").body(()).unwrap()
}

fn request_with(id: &str) -> Request<()> {
    let mut request = request();
    request.headers_mut().insert("x-transaction-id", id.parse().unwrap());
    request
}

fn id_in(headers: &HeaderMap) -> Option<TransactionId> {
    headers.get("x-transaction-id")?.try_into().ok()
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn a_call_is_cancelled_by_the_end_of_a_runtime_that_outlives_the_hub() {
    struct SendsOnDrop(Sender<()>);
    impl Drop for SendsOnDrop {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    fn check(sentry: &Sentry, order: &'static [First]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let scope = scope("mine");
        let hub = scope.hub().unwrap().clone();
        let transaction = hub.start_transaction(TransactionContext::new("order", "task"));
        hub.configure_scope(|scope| scope.set_span(Some(transaction.clone().into())));

        let (dropped, is_dropped) = channel();
        let guard = SendsOnDrop(dropped);
        let call = async move {
            let waits = service_fn(move |_: Request<()>| {
                let _ = &guard;
                pending::<Result<Response<()>, Never>>()
            });
            client().propagate_trace(true).layer(waits).oneshot(request()).await
        };
        runtime.spawn(scope.bind(call));
        runtime.block_on(tokio::task::yield_now());
        keep_to_the_end(order, Box::new(runtime));
        is_dropped.recv().expect("the call was dropped");

        // The span is on the hub of the scope, which outlives the thread.
        hub.capture_message("after", Level::Info);
        let event = sentry.take_events().pop().unwrap();
        assert_eq!(tag(&event, "transaction_id").as_deref(), Some("mine"), "{order:?}");
        transaction.finish();
        let envelope = sentry.transport.fetch_and_clear_envelopes().pop().unwrap();
        let Some(EnvelopeItem::Transaction(sent)) = envelope.items().next() else { panic!() };
        assert_eq!(sent.spans[0].status, Some(SpanStatus::Cancelled), "{order:?}");
    }
    survives(
        "thread_end::a_call_is_cancelled_by_the_end_of_a_runtime_that_outlives_the_hub",
        |sentry| {
            check(sentry, &[First::Hub, First::Kept]);
            check(sentry, &[First::Kept, First::Hub]);
            check(sentry, &[First::Kept, First::Hub, First::Crate]);
        },
    );
}

/// Sends the ID that is current when the witness is dropped.
struct Witness {
    seen: Sender<Option<TransactionId>>,
    captures: bool,
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.seen.send(TransactionId::current());
        if self.captures {
            capture("dropped");
        }
    }
}

/// Puts a witness into a value of this crate, which is not polled afterwards. Returns the value and
/// the ID that it is bound to.
type Binds = fn(Witness) -> (TransactionId, Box<dyn Any + Send>);

fn bound_future(witness: Witness) -> (TransactionId, Box<dyn Any + Send>) {
    let scope = scope("of-a-future");
    let id = scope.id().clone();
    let future = async move {
        let _witness = witness;
        pending::<()>().await;
    };
    (id, Box::new(scope.bind(future)))
}

/// A service whose future holds `witness`. Stores the ID of the request's header in `sent`.
fn holds(
    witness: Witness,
    sent: Arc<Mutex<Option<TransactionId>>>,
) -> impl Service<Request<()>, Response = Response<()>, Error = Never, Future: Send + 'static> {
    let mut witness = Some(witness);
    service_fn(move |request: Request<()>| {
        *sent.lock().unwrap() = id_in(request.headers());
        let witness = witness.take();
        async move {
            let _witness = witness;
            pending::<Result<Response<()>, Never>>().await
        }
    })
}

fn call_in_a_scope(witness: Witness) -> (TransactionId, Box<dyn Any + Send>) {
    let service = holds(witness, Arc::default());
    let scope = scope("of-a-call");
    let call = scope.run(|| client().layer(service).call(request()));
    (scope.id().clone(), Box::new(scope.bind(call)))
}

fn call_outside_any_scope(witness: Witness) -> (TransactionId, Box<dyn Any + Send>) {
    let sent = Arc::<Mutex<_>>::default();
    let call = client().layer(holds(witness, sent.clone())).call(request());
    let id = sent.lock().unwrap().take();
    (id.expect("the call has an ID of its own"), Box::new(call))
}

fn served_request(witness: Witness) -> (TransactionId, Box<dyn Any + Send>) {
    let service = holds(witness, Arc::default());
    let call = server().layer(service).call(request_with("of-a-request"));
    ("of-a-request".parse().unwrap(), Box::new(call))
}

fn served_body(witness: Witness) -> (TransactionId, Box<dyn Any + Send>) {
    let mut witness = Some(witness);
    let service = service_fn(|_: Request<()>| {
        std::future::ready(Ok::<_, Never>(Response::new(witness.take().unwrap())))
    });
    let call = server().layer(service).oneshot(request_with("of-a-body"));
    let response = call.now_or_never().expect("it answers at once").unwrap();
    ("of-a-body".parse().unwrap(), Box::new(response.into_body()))
}

const BINDS: [(&str, Binds); 5] = [
    ("a bound future", bound_future),
    ("a call in a scope", call_in_a_scope),
    ("a call outside any scope", call_outside_any_scope),
    ("a request", served_request),
    ("a body", served_body),
];

/// Drops each bound value at the end of a thread that uses the things in `order`.
fn dropped_at_the_end(sentry: &Sentry, order: &'static [First]) {
    let kept = order.iter().position(|first| *first == First::Kept).unwrap();
    // Using the crate uses the hub. A hub that the thread has not used yet can be created at any time.
    let hub_is_alive = kept > 0 || order.len() == 1;
    let crate_is_older = order[..kept].contains(&First::Crate);
    for (thing, binds) in BINDS {
        // Shows the case in which the child aborted.
        eprintln!("{thing}, at the end of a thread that first used {order:?}");
        let (seen, is_seen) = channel();
        // Without a hub, the SDK itself panics when something is captured.
        let (id, thing) = binds(Witness { seen, captures: hub_is_alive });
        keep_to_the_end(order, thing);
        let current = is_seen.recv().expect("the witness was dropped");
        assert_eq!(current.as_ref(), Some(&id));
        let events = sentry.take_events();
        assert_eq!(events.len(), usize::from(hub_is_alive));
        for event in events {
            let tag = tag(&event, "transaction_id");
            // If the crate was not used before, the tag may be missing. It is never another ID.
            if tag.is_some() || crate_is_older {
                assert_eq!(tag.as_deref(), Some(id.as_str()));
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn whatever_a_thread_used_first_what_is_bound_is_dropped_under_its_id() {
    use First::{Crate, Hub, Kept};
    survives(
        "thread_end::whatever_a_thread_used_first_what_is_bound_is_dropped_under_its_id",
        |sentry| {
            dropped_at_the_end(sentry, &[Crate, Hub, Kept]);
            dropped_at_the_end(sentry, &[Hub, Crate, Kept]);
            dropped_at_the_end(sentry, &[Crate, Kept, Hub]);
            dropped_at_the_end(sentry, &[Hub, Kept, Crate]);
            dropped_at_the_end(sentry, &[Kept, Crate, Hub]);
            dropped_at_the_end(sentry, &[Kept, Hub, Crate]);
        },
    );
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn the_first_use_on_a_thread_may_be_the_drop_of_what_is_bound() {
    use First::{Hub, Kept};
    survives("thread_end::the_first_use_on_a_thread_may_be_the_drop_of_what_is_bound", |sentry| {
        dropped_at_the_end(sentry, &[Kept]);
        dropped_at_the_end(sentry, &[Hub, Kept]);
        dropped_at_the_end(sentry, &[Kept, Hub]);
    });
}

/// Runs a closure when it is dropped.
struct AtTheEnd(Box<dyn Fn() + Send>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A use of this crate, which returns whether it had its usual result.
type Way = (&'static str, fn() -> bool);

const WAYS: [Way; 10] = [
    ("generate", || !TransactionId::generate().as_str().is_empty()),
    ("new", || scope("late").run(|| TransactionId::current().is_some_and(|id| id == "late"))),
    ("fork", || {
        let forked = InScope::fork(async { TransactionId::current() });
        TransactionIdScope::fork_current().is_none() && forked.now_or_never() == Some(None)
    }),
    ("fork in a scope", || {
        let forked = || InScope::fork(async { TransactionId::current() }).now_or_never();
        scope("late").run(forked).flatten().is_some_and(|id| id == "late")
    }),
    ("call", || calls(&InjectTransactionIdLayer::new(AllowedHosts::any()))),
    ("serve", || serves(&BindTransactionIdLayer::new())),
    ("serve from a base", || serves(&BindTransactionIdLayer::new().hub(Hub::main()))),
    ("send a message", || scope("late").run(|| sends("late")) && !sends("late")),
    ("take a message", || {
        let layer = BindMessageLayer::new("orders", |(): &()| MessageContext::of_id(Some("late")));
        layer.scope(&()).run(|| sends("late"))
    }),
    ("set a span", || {
        let with_a_hub = std::thread::spawn(|| scope("late")).join().unwrap();
        with_a_hub.with_span(tracing::info_span!("late")).run(|| sends("late"))
    }),
];

/// Uses that capture events. Sentry's SDK needs random numbers for those.
const REPORTS: [Way; 3] = [
    ("report a call", || calls(&client())),
    ("report a request", || serves(&server())),
    ("report a request from a base", || serves(&server().hub(Hub::main()))),
];

fn answer(status: StatusCode) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

/// Writes a message with a trace and a span. Returns whether the message has this ID.
fn sends(id: &str) -> bool {
    let message = OutboundContext::new().with_trace().in_span("orders");
    let mut headers = HeaderMap::new();
    message.write_headers(&mut headers);
    message.finish(&Ok::<_, Never>(()));
    id_in(&headers).expect("an ID") == id
}

fn calls(layer: &InjectTransactionIdLayer) -> bool {
    let fails = service_fn(async |request: Request<()>| {
        assert!(id_in(request.headers()).is_some());
        Ok::<_, Never>(answer(StatusCode::INTERNAL_SERVER_ERROR))
    });
    let breaks = service_fn(async |_: Request<()>| Err::<Response<()>, _>(std::fmt::Error));
    let call = |request| layer.layer(fails).oneshot(request).now_or_never();
    let (by_itself, with_id) = (call(request()), call(request_with("late")));
    let in_scope = scope("late").run(|| call(request()));
    let broken = layer.layer(breaks).oneshot(request()).now_or_never();
    [by_itself, with_id, in_scope].iter().all(|call| matches!(call, Some(Ok(_))))
        && matches!(broken, Some(Err(_)))
}

fn serves(layer: &BindTransactionIdLayer) -> bool {
    let fails = service_fn(async |request: Request<()>| {
        assert_eq!(TransactionId::current(), id_in(request.headers()));
        Ok::<_, Never>(answer(StatusCode::INTERNAL_SERVER_ERROR))
    });
    let requests = [request(), request_with("late"), request_with("<late>")];
    requests.into_iter().all(|request| {
        let response = layer.layer(fails).oneshot(request).now_or_never();
        response.is_some_and(|response| id_in(response.unwrap().headers()).is_some())
    })
}

/// Runs each of `ways` at the end of a thread, for each of `orders`.
fn are_open(ways: &[Way], orders: &[&'static [First]]) {
    for (name, way) in ways {
        assert!(way(), "{name}");
        for order in orders {
            eprintln!("{name}, at the end of a thread that first used {order:?}");
            let (came, comes) = channel();
            let way = *way;
            let at_the_end = AtTheEnd(Box::new(move || {
                let _ = came.send(way());
            }));
            keep_to_the_end(order, Box::new(at_the_end));
            assert!(comes.recv().unwrap());
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn each_way_in_is_open_while_a_thread_ends() {
    use First::{Crate, Hub, Kept, Random};
    survives("thread_end::each_way_in_is_open_while_a_thread_ends", |_| {
        let orders: [&[First]; 5] =
            [&[Kept], &[Hub, Kept], &[Hub, Crate, Kept], &[Hub, Kept, Crate], &[Kept, Hub, Crate]];
        are_open(&REPORTS, &orders);
        are_open(&WAYS, &orders);
        are_open(&WAYS, &[&[Hub, Crate, Kept, Random], &[Kept, Hub, Crate, Random]]);
    });
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn each_way_in_is_open_while_a_thread_ends_that_never_went_it() {
    use First::{Hub, Kept, Random};
    survives("thread_end::each_way_in_is_open_while_a_thread_ends_that_never_went_it", |_| {
        are_open(&WAYS, &[&[Hub, Kept, Random], &[Kept, Hub], &[Kept, Hub, Random]]);
        are_open(&REPORTS, &[&[Kept, Hub]]);
    });
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn a_panic_hook_that_was_set_later_prints_nothing_of_the_end_either() {
    static PRINTED: AtomicUsize = AtomicUsize::new(0);
    use First::{Crate, Hub, Kept};
    survives(
        "thread_end::a_panic_hook_that_was_set_later_prints_nothing_of_the_end_either",
        |_| {
            for order in [&[Kept, Hub] as &[First], &[Kept, Hub, Crate], &[Kept, Hub]] {
                panic::set_hook(Box::new(|_| _ = PRINTED.fetch_add(1, SeqCst)));
                keep_to_the_end(order, Box::new(scope("kept").bind(vec!["hot dog"])));
                assert_eq!(PRINTED.load(SeqCst), 0);
            }
        },
    );
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn sentrys_panic_hook_may_come_after_the_first_use_of_a_scope() {
    in_child("thread_end::sentrys_panic_hook_may_come_after_the_first_use_of_a_scope", || {
        let plain = Sentry::new();
        Hub::main().bind_client(plain.hub.client());
        for _ in 0..3 {
            start_thread();
        }
        let options = ClientOptions::new().add_integration(PanicIntegration::default());
        let sentry = Sentry::with_options(options);
        Hub::main().bind_client(sentry.hub.client());
        // The crate cannot see that this first use is in a destructor.
        let at_the_end = AtTheEnd(Box::new(|| scope("late").run(|| ())));
        keep_to_the_end(&[First::Kept, First::Hub], Box::new(at_the_end));
    });
}

/// A panic would not be reported if another thread had just taken the hook.
#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn a_thread_that_starts_leaves_the_panic_hook_in_its_place() {
    survives("thread_end::a_thread_that_starts_leaves_the_panic_hook_in_its_place", |_| {
        // The first thread sees that Sentry's hook is set, and the second puts the crate's hook around it.
        start_thread();
        start_thread();
        let number = AtomicUsize::new(0);
        // A closure without content would have no address of its own.
        let hook: Hook = Box::new(move |_| _ = number.fetch_add(1, SeqCst));
        let before = address(&hook);
        panic::set_hook(hook);
        start_thread();
        assert_eq!(address(&panic::take_hook()), before);
    });
}

/// Starts a thread that opens and enters a scope.
fn start_thread() {
    std::thread::spawn(|| scope("started").run(|| ())).join().unwrap();
}

type Hook = Box<dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync>;

fn address(hook: &Hook) -> usize {
    std::ptr::from_ref(&**hook).addr()
}
