//! The scope against a model: whatever is polled, dropped, nested or torn by a panic, on whichever
//! thread and in whichever order, the code inside finds its own ID and hub, and the code outside
//! finds what it had before.
//!
//! The thread-locals of the library are std's, which `loom` and `shuttle` do not see into. What
//! they would explore, the order in which threads take turns, is a part of the schedule here.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use proptest::collection::vec;
use proptest::prelude::*;
use sentry::Hub;
use tower_transaction_id::{BindTransactionIdLayer, InScope, TransactionId, TransactionIdScope};

use crate::support::Sentry;

const TASKS: usize = 4;
const THREADS: usize = 3;

/// What a task does when it is polled, up to its next `Yield`.
#[derive(Clone, Debug)]
enum Step {
    Yield,
    Panic,
    /// Runs steps in a scope of their own.
    Run(u8, Vec<Step>),
    /// Polls or drops another task, which runs in its own scope meanwhile.
    PollOther(usize),
    DropOther(usize),
    /// Puts a new task in place of a free one: a fork of the current scope.
    Fork(usize, Vec<Step>),
}

/// What the outside does next, on which thread.
#[derive(Clone, Copy, Debug)]
enum Act {
    Poll,
    Drop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = prop_oneof![
        4 => Just(Step::Yield),
        1 => Just(Step::Panic),
        2 => (0..TASKS).prop_map(Step::PollOther),
        1 => (0..TASKS).prop_map(Step::DropOther),
    ];
    let step = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (any::<u8>(), vec(inner.clone(), 0..4)).prop_map(|(id, steps)| Step::Run(id, steps)),
            (0..TASKS, vec(inner, 0..4)).prop_map(|(at, steps)| Step::Fork(at, steps)),
        ]
    });
    vec(step, 0..8)
}

type Task = Pin<Box<InScope<Scripted>>>;

#[derive(Default)]
struct World {
    tasks: Mutex<[Option<Task>; TASKS]>,
    /// The first check that failed. Its panic alone could be taken for one that was told.
    failure: Mutex<Option<String>>,
}

impl World {
    fn take(&self, at: usize) -> Option<Task> {
        self.tasks.lock().unwrap()[at].take()
    }

    /// Polls a task, catching its panic. Without one, and without an end, it goes back.
    fn poll(&self, at: usize) {
        let Some(mut task) = self.take(at) else { return };
        let polled = catch_unwind(AssertUnwindSafe(|| {
            task.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        }));
        if let Ok(Poll::Pending) = polled {
            let mut tasks = self.tasks.lock().unwrap();
            if tasks[at].is_none() {
                tasks[at] = Some(task);
                return;
            }
        }
        drop(task);
    }

    fn start(self: &Arc<Self>, at: usize, scope: TransactionIdScope, steps: Vec<Step>) {
        let inside = Inside { id: scope.id().clone(), hub: scope.hub().unwrap().clone() };
        let task = Scripted { steps: steps.into(), inside, world: self.clone() };
        let mut tasks = self.tasks.lock().unwrap();
        if tasks[at].is_none() {
            tasks[at] = Some(Box::pin(scope.bind(task)));
            return;
        }
        drop(tasks);
        // Never polled: dropped in its scope all the same.
        drop(scope.bind(task));
    }
}

/// The model: what is current inside.
struct Inside {
    id: TransactionId,
    hub: Arc<Hub>,
}

impl Inside {
    fn check(&self, world: &World) {
        let current = TransactionId::current();
        let is_own_hub = Arc::ptr_eq(&Hub::current(), &self.hub);
        let tag = TransactionId::from_hub(&Hub::current());
        if !is_own_hub || current.as_ref() != Some(&self.id) || tag.as_ref() != Some(&self.id) {
            let failure = format!("in {}: {current:?}, tag {tag:?}, hub {is_own_hub}", self.id);
            world.failure.lock().unwrap().get_or_insert(failure);
        }
    }

    /// Runs steps here. Returns whether it came to a `Yield`.
    fn run(&self, steps: &mut VecDeque<Step>, world: &Arc<World>) -> bool {
        self.check(world);
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Yield => return true,
                // Without the hook, which would print each of them.
                Step::Panic => std::panic::resume_unwind(Box::new("as told")),
                Step::Run(id, steps) => {
                    let scope = TransactionIdScope::new(format!("run-{id}").parse().unwrap());
                    let hub = scope.hub().unwrap().clone();
                    let inside = Inside { id: scope.id().clone(), hub };
                    let mut steps = VecDeque::from(steps);
                    let run = catch_unwind(AssertUnwindSafe(|| {
                        scope.run(|| while inside.run(&mut steps, world) {});
                    }));
                    self.check(world);
                    if let Err(panic) = run {
                        std::panic::resume_unwind(panic);
                    }
                }
                Step::PollOther(at) => world.poll(at),
                Step::DropOther(at) => drop(world.take(at)),
                Step::Fork(at, steps) => {
                    let fork = TransactionIdScope::fork().expect("inside a scope");
                    assert_eq!(fork.id(), &self.id);
                    assert!(!Arc::ptr_eq(fork.hub().unwrap(), &self.hub));
                    world.start(at, fork, steps);
                }
            }
            self.check(world);
        }
        false
    }
}

struct Scripted {
    steps: VecDeque<Step>,
    inside: Inside,
    world: Arc<World>,
}

impl Future for Scripted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.inside.run(&mut this.steps, &this.world) { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.inside.check(&self.world);
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one job at a time, and checks after each that it is as it was.
struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    done: mpsc::Receiver<Result<(), String>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Worker {
    fn new(sentry: &Sentry) -> Self {
        let (jobs, to_do) = mpsc::channel::<Job>();
        let (is_done, done) = mpsc::channel();
        let hub = Arc::new(Hub::new_from_top(&sentry.hub));
        let thread = std::thread::spawn(move || {
            Hub::run(hub.clone(), || {
                for job in to_do {
                    let ran = catch_unwind(AssertUnwindSafe(|| {
                        job();
                        assert_eq!(TransactionId::current(), None);
                        assert!(Arc::ptr_eq(&Hub::current(), &hub));
                    }));
                    let text = ran.map_err(|panic| {
                        panic.downcast_ref::<String>().cloned().unwrap_or_default()
                    });
                    is_done.send(text).unwrap();
                }
            });
        });
        Self { jobs: Some(jobs), done, thread: Some(thread) }
    }

    fn work(&self, job: impl FnOnce() + Send + 'static) -> Result<(), TestCaseError> {
        self.jobs.as_ref().unwrap().send(Box::new(job)).unwrap();
        self.done.recv().unwrap().map_err(TestCaseError::fail)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_schedule_finds_its_own_scope(
        scripts in vec(steps(), TASKS),
        schedule in vec((prop_oneof![4 => Just(Act::Poll), 1 => Just(Act::Drop)], 0..TASKS, 0..THREADS), 0..40),
    ) {
        let sentry = Sentry::new();
        let workers: Vec<_> = (0..THREADS).map(|_| Worker::new(&sentry)).collect();
        let world = Arc::new(World::default());
        for (at, script) in scripts.into_iter().enumerate() {
            let id = format!("task-{at}").parse().unwrap();
            let scope = Hub::run(sentry.hub.clone(), || TransactionIdScope::new(id));
            world.start(at, scope, script);
        }
        for (act, at, thread) in schedule {
            let world = world.clone();
            workers[thread].work(move || match act {
                Act::Poll => world.poll(at),
                Act::Drop => drop(world.take(at)),
            })?;
        }
        for at in 0..TASKS {
            let world = world.clone();
            workers[at % THREADS].work(move || drop(world.take(at)))?;
        }
        prop_assert_eq!(world.failure.lock().unwrap().take(), None);
    }
}

/// The scopes that a base hub lends, in every order in which requests may overlap on two threads.
#[test]
fn lent_scopes_never_mix_whatever_overlaps() {
    use axum::body::Body;
    use http::{Request, Response};
    use tower::{Service, ServiceBuilder};

    let sentry = Sentry::new();
    let layer = BindTransactionIdLayer::new().hub(&sentry.hub);
    let service = ServiceBuilder::new().layer(layer).service_fn(async |request: Request<Body>| {
        let header = request.headers()["x-transaction-id"].to_str().unwrap().to_owned();
        for _ in 0..3 {
            crate::support::capture(&header);
            sentry::configure_scope(|scope| scope.set_tag("of", &header));
            tokio::task::yield_now().await;
        }
        Ok::<_, crate::support::Never>(Response::new(Body::empty()))
    });
    let threads: Vec<_> = (0..2)
        .map(|thread| {
            let mut service = service.clone();
            std::thread::spawn(move || {
                let mut open = VecDeque::new();
                let mut cx = Context::from_waker(Waker::noop());
                for n in 0..5_000 {
                    let id = format!("{thread}-{n}x");
                    let request = Request::builder().header("x-transaction-id", id);
                    let request = request.body(Body::empty()).unwrap();
                    open.push_back(Box::pin(service.call(request)));
                    // Between one and three requests are open, and some are dropped half way.
                    if open.len() > n % 3 {
                        let mut call = open.pop_front().unwrap();
                        for _ in 0..n % 5 {
                            if call.as_mut().poll(&mut cx).is_ready() {
                                break;
                            }
                        }
                    }
                    for call in &mut open {
                        assert!(call.as_mut().poll(&mut cx).is_pending());
                    }
                    open.truncate(1);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let events = sentry.take_events();
    assert!(events.len() > 10_000, "{}", events.len());
    for event in events {
        let message = event.message.as_ref().unwrap();
        assert_eq!(&event.tags["transaction_id"], message);
        assert!(event.tags.get("of").is_none_or(|of| of == message), "{event:?}");
    }
}
