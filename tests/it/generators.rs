//! tower-http's generators of request IDs: each service has one, and a clone of the service has a
//! clone of the generator, as in tower-http's `SetRequestId`.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::request_id::{MakeRequestId, RequestId};
use tower_transaction_id::{BindTransactionIdLayer, Trust};

use crate::support::{Never, echoed};

/// Calls `before`, then yields the next number.
#[derive(Clone)]
struct Counter<F> {
    count: u32,
    before: F,
}

impl<F: Fn(u32)> MakeRequestId for Counter<F> {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        self.count += 1;
        (self.before)(self.count);
        Some(RequestId::new(format!("count-{}", self.count).parse().unwrap()))
    }
}

fn counter<F: Fn(u32)>(before: F) -> Counter<F> {
    Counter { count: 0, before }
}

/// The ID that `service` gives to a request without one.
fn made<S, B>(service: &mut S) -> String
where
    S: Service<Request<()>, Response = Response<B>, Error = Never>,
{
    let response = service.ready().now_or_never().unwrap().unwrap();
    let response = response.call(Request::new(())).now_or_never().expect("it answers at once");
    echoed(response.unwrap().headers())
}

/// Waits for a message from a thread, and fails after 30 seconds.
fn soon<T>(from: &Receiver<T>) -> T {
    from.recv_timeout(Duration::from_secs(30)).expect("the generators are stuck")
}

#[test]
fn each_service_has_a_generator_of_its_own_and_keeps_its_state() {
    let answers = service_fn(async |_: Request<()>| Ok::<_, Never>(Response::new(())));
    // Options before and after the generator do not change it.
    let layer = BindTransactionIdLayer::new()
        .trust(Trust::never())
        .make_request_id(counter(|_| ()))
        .capture_failures(tower_transaction_id::Failures::new());
    let mut first = layer.clone().layer(answers);
    assert_eq!([made(&mut first), made(&mut first)], ["count-1", "count-2"]);
    let mut cloned = first.clone();
    assert_eq!([made(&mut first), made(&mut first)], ["count-3", "count-4"]);
    assert_eq!([made(&mut cloned), made(&mut cloned)], ["count-3", "count-4"]);
    assert_eq!(made(&mut layer.layer(answers)), "count-1");

    // A generator can share its state among its clones.
    let shared = Arc::new(AtomicU32::new(0));
    let counts = shared.clone();
    let count = counter(move |_| {
        counts.fetch_add(1, SeqCst);
    });
    let mut first = BindTransactionIdLayer::new().make_request_id(count).layer(answers);
    let mut cloned = first.clone();
    made(&mut first);
    made(&mut cloned);
    assert_eq!(shared.load(SeqCst), 2);
}

#[test]
fn what_a_generator_yields_is_held_to_the_rules() {
    #[derive(Clone)]
    struct Yields(Option<&'static str>);
    impl MakeRequestId for Yields {
        fn make_request_id<B>(&mut self, request: &Request<B>) -> Option<RequestId> {
            assert_eq!(request.uri().path(), "/");
            Some(RequestId::new(self.0?.parse().unwrap()))
        }
    }
    let answers = service_fn(async |_: Request<()>| Ok::<_, Never>(Response::new(())));
    for (yields, is_kept) in [
        (Some("Root=1-67891233-abcdef"), true),
        (Some("not valid"), false),
        (Some("<script>"), false),
        (Some("null"), false),
        (Some(""), false),
        (None, false),
    ] {
        let mut service =
            BindTransactionIdLayer::new().make_request_id(Yields(yields)).layer(answers);
        let id = made(&mut service);
        assert_eq!(yields == Some(&id), is_kept, "{yields:?} led to {id}");
        assert!(is_kept || id.len() == 32, "{yields:?} led to {id}");
    }
}

#[test]
fn a_generator_may_call_back_through_its_own_layer() {
    type Calls = Arc<OnceLock<Box<dyn Fn() -> String + Send + Sync>>>;
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        let answers = service_fn(async |_: Request<()>| Ok::<_, Never>(Response::new(())));
        let calls: Calls = Arc::default();
        let inner_ids = Arc::new(Mutex::new(Vec::new()));
        // Weak, since the calls own the layer, and the layer owns its generator.
        let (calls_back, notes) = (Arc::downgrade(&calls), inner_ids.clone());
        let layer = BindTransactionIdLayer::new().make_request_id(counter(move |count| {
            // The third call uses another service of the layer, whose generator starts at one.
            if count == 3 {
                let id = calls_back.upgrade().unwrap().get().unwrap()();
                notes.lock().unwrap().push(id);
            }
        }));
        let again = layer.clone();
        let call = move || made(&mut again.layer(answers));
        assert!(calls.set(Box::new(call)).is_ok());
        let mut service = layer.layer(answers);
        let ids: Vec<_> = (0..4).map(|_| made(&mut service)).collect();
        let inner_ids = std::mem::take(&mut *inner_ids.lock().unwrap());
        done.send((ids, inner_ids)).unwrap();
    });
    let (ids, inner_ids) = soon(&is_done);
    assert_eq!(ids, ["count-1", "count-2", "count-3", "count-4"]);
    assert_eq!(inner_ids, ["count-1"]);
}

#[test]
fn the_generators_of_two_services_run_at_the_same_time() {
    let answers = service_fn(async |_: Request<()>| Ok::<_, Never>(Response::new(())));
    // Each generator waits for the other one.
    let both = Arc::new(Barrier::new(2));
    let layer = BindTransactionIdLayer::new().make_request_id(counter(move |_| {
        both.wait();
    }));
    let service = layer.layer(answers);
    let (done, is_done) = channel();
    for mut service in [service.clone(), service] {
        let done = done.clone();
        std::thread::spawn(move || done.send(made(&mut service)).unwrap());
    }
    assert_eq!([soon(&is_done), soon(&is_done)], ["count-1", "count-1"]);
}
