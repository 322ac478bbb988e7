//! The ID and the hub that are current in calls, polls, bodies and drops, on one thread and on many.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body::{Body, Frame};
use sentry::{Hub, SentryFutureExt};
use tower_transaction_id::{InScope, TransactionId, TransactionIdScope};

use crate::support::{CaptureOnDrop, Never, Sentry, capture, story};

fn id(text: &str) -> TransactionId {
    text.parse().unwrap()
}

fn current() -> Option<String> {
    TransactionId::current().map(|id| id.to_string())
}

/// A value that reports the current ID from each place where it runs, and panics in one of them.
struct Witness {
    panic_in: &'static str,
}

impl Witness {
    fn observe(&self, place: &'static str) {
        capture(&format!("{place}: {}", current().unwrap_or_default()));
        assert_ne!(self.panic_in, place, "on purpose");
    }
}

impl Future for Witness {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.observe("poll");
        Poll::Pending
    }
}

impl Body for Witness {
    type Data = Bytes;
    type Error = Never;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Never>>> {
        self.observe("frame");
        Poll::Pending
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.observe("drop");
    }
}

#[test]
fn the_outer_context_is_back_after_a_panic_in_poll_in_a_body_and_in_drop() {
    let sentry = Sentry::new();
    Hub::run(sentry.hub.clone(), || {
        let outer = TransactionIdScope::new(id("outer"));
        outer.run(|| {
            for panic_in in ["", "poll", "frame", "drop"] {
                let scope = TransactionIdScope::new(id("inner"));
                let hub = scope.hub().unwrap().clone();
                let mut cx = Context::from_waker(Waker::noop());
                let mut task = Box::pin(scope.bind(Witness { panic_in }));
                let here = |after: &str| {
                    assert_eq!(current().as_deref(), Some("outer"), "after {after}");
                    assert!(Arc::ptr_eq(&Hub::current(), outer.hub().unwrap()), "after {after}");
                    assert!(!Arc::ptr_eq(&Hub::current(), &hub));
                };
                let poll = catch_unwind(AssertUnwindSafe(|| {
                    let _ = task.as_mut().poll(&mut cx);
                }));
                assert_eq!(poll.is_err(), panic_in == "poll");
                here("poll");
                let frame = catch_unwind(AssertUnwindSafe(|| {
                    let _ = task.as_mut().poll_frame(&mut cx);
                }));
                assert_eq!(frame.is_err(), panic_in == "frame");
                here("frame");
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(task)));
                assert_eq!(dropped.is_err(), panic_in == "drop");
                here("drop");

                let tags = sentry.take();
                let places = ["poll: inner", "frame: inner", "drop: inner"];
                assert_eq!(tags, places.map(|place| (place.to_owned(), Some("inner".to_owned()))));
            }
            assert!(
                catch_unwind(|| TransactionIdScope::new(id("inner")).run(|| panic!())).is_err()
            );
            assert_eq!(current().as_deref(), Some("outer"));
        });
        assert_eq!(current(), None);
        assert!(Arc::ptr_eq(&Hub::current(), &sentry.hub));
    });
}

#[test]
fn interleaved_work_on_one_thread_keeps_apart() {
    story(|sentry| async move {
        let work = |name: &'static str| {
            TransactionIdScope::new(id(name)).bind(async move {
                for _ in 0..3 {
                    capture(name);
                    assert_eq!(current().as_deref(), Some(name));
                    tokio::task::yield_now().await;
                }
            })
        };
        tokio::join!(work("first"), work("second"), async {
            for _ in 0..3 {
                assert_eq!(current(), None);
                tokio::task::yield_now().await;
            }
        });
        let events = sentry.take();
        assert_eq!(events.len(), 6);
        assert_ne!(events[0], events[1], "they did not interleave: {events:?}");
        assert!(events.iter().all(|(text, tag)| Some(text) == tag.as_ref()), "{events:?}");
    });
}

thread_local! {
    static LAST_TO_GO: RefCell<Option<Box<dyn std::any::Any>>> = const { RefCell::new(None) };
}

#[test]
fn a_body_may_be_dropped_while_its_thread_ends() {
    struct OnDrop<F: FnMut()>(F);
    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    let sentry = Sentry::new();
    // The body is kept in a thread-local. If the local is older than Sentry's and ours, it is destroyed
    // after them; if it is younger, before them.
    for older in [true, false] {
        let (dropped, was_dropped) = std::sync::mpsc::channel();
        let hub = sentry.hub.clone();
        let thread = std::thread::spawn(move || {
            if older {
                LAST_TO_GO.with(|_| ());
            }
            let body = Hub::run(hub, || {
                let scope = TransactionIdScope::new(id("ending"));
                // Enters the scope once, so that all thread-locals are in use.
                scope.run(|| capture("alive"));
                Box::pin(scope.bind(OnDrop(move || {
                    let _ = dropped.send(current());
                })))
            });
            LAST_TO_GO.with(|last| *last.borrow_mut() = Some(Box::new(body)));
        });
        thread.join().unwrap();
        let current_in_drop = was_dropped.recv().expect("the body was dropped");
        if !older {
            assert_eq!(current_in_drop.as_deref(), Some("ending"));
        }
        assert_eq!(sentry.take(), [("alive".to_owned(), Some("ending".to_owned()))]);
    }
}

#[test]
fn a_fork_may_be_asked_for_while_a_thread_ends() {
    struct Asks(std::sync::mpsc::Sender<bool>);
    impl Drop for Asks {
        fn drop(&mut self) {
            let _ = self.0.send(TransactionIdScope::fork_current().is_none());
        }
    }
    let sentry = Sentry::new();
    let (answer, answers) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        // This local is older than Sentry's and ours, so it is destroyed after them.
        LAST_TO_GO.with(|last| *last.borrow_mut() = Some(Box::new(Asks(answer))));
        Hub::run(sentry.hub.clone(), || TransactionIdScope::new(id("ending")).run(|| ()));
    });
    thread.join().unwrap();
    assert!(answers.recv().unwrap());
}

#[test]
fn a_fork_takes_the_id_along_and_keeps_its_changes_to_itself() {
    story(|sentry| async move {
        assert!(TransactionIdScope::fork_current().is_none());
        let request = TransactionIdScope::new(id("request"));
        let id_of_request = request.id().as_str().as_ptr();
        let task = request.bind(async {
            sentry::configure_scope(|scope| {
                scope.set_user(Some(sentry::User { id: Some("42".into()), ..Default::default() }));
            });
            let scope = TransactionIdScope::fork_current().unwrap();
            // A fork may live long, so it copies the ID and keeps no buffer of the request alive.
            assert_ne!(scope.id().as_str().as_ptr(), id_of_request);
            let blocking = tokio::task::spawn_blocking(move || {
                scope.run(|| {
                    sentry::configure_scope(|scope| scope.set_tag("only", "blocking"));
                    capture("blocking");
                });
            });
            let spawned = tokio::spawn(InScope::fork(async {
                capture("spawned");
                tokio::task::yield_now().await;
                sentry::configure_scope(|scope| scope.set_tag("only", "spawned"));
                capture("spawned later");
            }));
            let (blocking, spawned) = tokio::join!(blocking, spawned);
            blocking.unwrap();
            spawned.unwrap();
            capture("request");
        });
        task.await;
        let only = |event: &sentry::protocol::Event<'_>| event.tags.get("only").cloned();
        let mut events = sentry.take_events();
        events.sort_by_key(crate::support::text);
        let seen: Vec<_> = events.iter().map(|e| (crate::support::text(e), only(e))).collect();
        let expected = [
            ("blocking", Some("blocking")),
            ("request", None),
            ("spawned", None),
            ("spawned later", Some("spawned")),
        ];
        assert_eq!(seen, expected.map(|(text, tag)| (text.to_owned(), tag.map(str::to_owned))));
        for event in &events {
            assert_eq!(event.tags["transaction_id"], "request");
            assert_eq!(event.user.as_ref().unwrap().id.as_deref(), Some("42"));
        }
    });
}

#[test]
fn a_task_with_only_the_hub_and_a_tag_set_by_hand_belong_too() {
    story(|sentry| async move {
        let request = TransactionIdScope::new(id("request"));
        assert_eq!(TransactionId::from_hub(request.hub().unwrap()), Some(id("request")));

        let hub = Hub::new_from_top(request.hub().unwrap());
        let forked =
            async { TransactionIdScope::fork_current().map(|scope| scope.id().to_string()) };
        assert_eq!(forked.bind_hub(hub).await.as_deref(), Some("request"));

        assert_eq!(TransactionId::from_hub(&sentry.hub), None);
        sentry::configure_scope(|scope| scope.set_tag("transaction_id", "by-hand"));
        assert_eq!(TransactionIdScope::fork_current().unwrap().id(), &id("by-hand"));
        assert_eq!(current(), None, "current() answers for scopes alone");
        sentry::configure_scope(|scope| scope.set_tag("transaction_id", "not valid"));
        assert_eq!(TransactionId::from_hub(&sentry.hub), None);
    });
}

#[test]
fn without_an_enabled_client_no_hub_is_touched() {
    let hub = Arc::new(Hub::new(None, Arc::default()));
    Hub::run(hub.clone(), || {
        let scope = TransactionIdScope::new(id("quiet"));
        assert!(scope.hub().is_none());
        // A client that is bound later does not change the scope.
        let sentry = Sentry::new();
        hub.bind_client(sentry.hub.client());
        scope.run(|| {
            assert_eq!(current().as_deref(), Some("quiet"));
            assert!(Arc::ptr_eq(&Hub::current(), &hub));
            capture("untagged");
        });
        assert_eq!(sentry.take(), [("untagged".to_owned(), None)]);
        assert!(TransactionIdScope::new(id("loud")).hub().is_some());
    });
}

#[test]
fn a_scope_moves_between_threads_and_a_cancelled_task_is_dropped_inside() {
    let sentry = Sentry::new();
    let scope = Hub::run(sentry.hub.clone(), || TransactionIdScope::new(id("moved")));
    let mut task = Box::pin(scope.bind(async {
        let _guard = CaptureOnDrop("dropped");
        capture("polled");
        std::future::pending::<()>().await;
    }));
    for _ in 0..2 {
        task = std::thread::spawn(move || {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(task.as_mut().poll(&mut cx).is_pending());
            assert_eq!(current(), None);
            task
        })
        .join()
        .unwrap();
    }
    // Drops the task on a new thread.
    std::thread::spawn(move || drop(task)).join().unwrap();
    let tag = Some("moved".to_owned());
    assert_eq!(sentry.take(), [("polled".to_owned(), tag.clone()), ("dropped".to_owned(), tag)]);
}

#[test]
fn a_bound_closure_runs_and_is_dropped_in_its_scope() {
    story(async |sentry| {
        let witness = CaptureOnDrop("dropped");
        let job = TransactionIdScope::new(id("mine")).bind_fn(move || {
            let _witness = witness;
            current()
        });
        assert_eq!(current(), None);
        let ran = std::thread::spawn(job).join().unwrap();
        assert_eq!(ran.as_deref(), Some("mine"));
        let witness = CaptureOnDrop("never run");
        drop(TransactionIdScope::new(id("other")).bind_fn(move || drop(witness)));
        let expected = [("dropped", "mine"), ("never run", "other")];
        let expected = expected.map(|(text, id)| (text.to_owned(), Some(id.to_owned())));
        assert_eq!(sentry.take(), expected);
    });
}

#[test]
fn a_bound_stream_yields_in_its_scope_as_many_items_as_before() {
    let items = stream::iter(["one", "two"]).map(|item| (item, current()));
    let mut bound = pin!(TransactionIdScope::new(id("mine")).bind(items));
    let mut cx = Context::from_waker(Waker::noop());
    for (item, left) in [("one", 2), ("two", 1)] {
        assert_eq!(Stream::size_hint(&*bound), (left, Some(left)));
        let next = bound.as_mut().poll_next(&mut cx);
        assert_eq!(next, Poll::Ready(Some((item, Some("mine".to_owned())))));
        assert_eq!(current(), None);
    }
    assert_eq!(bound.as_mut().poll_next(&mut cx), Poll::Ready(None));
}

#[test]
fn what_is_in_no_scope_passes_through() {
    let mut body = pin!(InScope::<http_body_util::Full<Bytes>>::default());
    assert!(body.id().is_none());
    assert!(body.is_end_stream());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(None)));
    // Outside any scope, a fork has no scope, and does not hide a scope that is entered later.
    let mut task = pin!(InScope::fork(async { current() }));
    let entered = TransactionIdScope::new(id("later"));
    let seen = entered.run(|| task.as_mut().poll(&mut cx));
    assert_eq!(seen, Poll::Ready(Some("later".to_owned())));
}
