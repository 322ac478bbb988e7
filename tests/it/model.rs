//! Compares the scope with a model. Random schedules poll, drop and nest tasks, and end them by a
//! panic, on several threads and in any order. The code inside a scope finds its own ID and hub, and
//! the code outside finds the ID and the hub that it had before.
//!
//! `loom` and `shuttle` do not see the library's thread-locals, which are std's. They would explore
//! the order in which threads take turns. Here the schedule sets this order, and the threads of one
//! round run at the same time.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use http::{Request, Response};
use proptest::collection::vec;
use proptest::prelude::*;
use sentry::Hub;
use sentry::protocol::Transaction;
use tower::{Layer, Service, service_fn};
use tower_transaction_id::{BindTransactionIdLayer, TransactionId, TransactionIdScope};

use crate::support::{Never, Sentry};

const TASKS: usize = 4;
const THREADS: usize = 3;

/// A step of a task. A poll runs the steps up to the next `Yield`.
#[derive(Clone, Debug)]
enum Step {
    Yield,
    Panic,
    /// Runs steps in a scope of their own.
    Run(u8, Vec<Step>),
    /// Polls or drops another task, which runs in its own scope.
    PollOther(usize),
    DropOther(usize),
    /// Puts a new task, bound to a fork of the current scope, into a free place.
    Fork(usize, Vec<Step>),
    /// Puts a request into a free place. The server layer has a base hub that lends its scope.
    Request(usize, Vec<Step>),
    /// Changes the scope of the current hub.
    Mark(u8),
    /// Keeps the current hub beyond the task.
    Keep,
}

/// The action of a thread on a task.
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
        1 => any::<u8>().prop_map(Step::Mark),
        1 => Just(Step::Keep),
    ];
    let step = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (any::<u8>(), vec(inner.clone(), 0..4)).prop_map(|(id, steps)| Step::Run(id, steps)),
            (0..TASKS, vec(inner.clone(), 0..4)).prop_map(|(at, steps)| Step::Fork(at, steps)),
            (0..TASKS, vec(inner, 0..4)).prop_map(|(at, steps)| Step::Request(at, steps)),
        ]
    });
    vec(step, 0..8)
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

struct World {
    layer: BindTransactionIdLayer,
    requests: AtomicUsize,
    tasks: Mutex<[Option<Task>; TASKS]>,
    kept: Mutex<Vec<Inside>>,
    /// The first check that failed. A panic would not do, since the steps panic on purpose, too.
    failure: Mutex<Option<String>>,
}

impl World {
    fn new(sentry: &Sentry) -> Self {
        Self {
            layer: BindTransactionIdLayer::new().hub(&sentry.hub),
            requests: AtomicUsize::default(),
            tasks: Mutex::default(),
            kept: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    fn fail(&self, failure: String) {
        self.failure.lock().unwrap().get_or_insert(failure);
    }

    fn take(&self, at: usize) -> Option<Task> {
        self.tasks.lock().unwrap()[at].take()
    }

    /// Polls a task and catches its panic. A task that is still pending goes back to its place.
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

    fn fork(self: &Arc<Self>, at: usize, scope: TransactionIdScope, mark: Mark, steps: Vec<Step>) {
        let inside = Inside::new(&scope, mark);
        let task = Scripted { steps: steps.into(), inside, world: self.clone() };
        self.start(at, Box::pin(scope.bind(task)));
    }

    /// Starts a request with a new ID. With the ID of the current scope, the request would belong to
    /// that scope.
    fn request(self: &Arc<Self>, at: usize, steps: Vec<Step>) {
        let id = format!("request-{}", self.requests.fetch_add(1, Relaxed));
        let world = self.clone();
        let mut service = self.layer.layer(service_fn(move |request: Request<()>| {
            let id = (&request.headers()["x-transaction-id"]).try_into().unwrap();
            let inside = Inside { id, hub: Hub::current(), mark: Mark::default() };
            let steps = steps.clone().into();
            Scripted { steps, inside, world: world.clone() }
                .map(|()| Ok::<_, Never>(Response::new(())))
        }));
        let request = Request::builder().header("x-transaction-id", id).body(()).unwrap();
        let call = service.call(request);
        self.start(at, Box::pin(call.map(|response| drop(response.unwrap()))));
    }

    /// Puts a task in its place if that is free. Else drops the task, which was never polled.
    fn start(&self, at: usize, task: Task) {
        let mut tasks = self.tasks.lock().unwrap();
        if tasks[at].is_none() {
            tasks[at] = Some(task);
            return;
        }
        drop(tasks);
        drop(task);
    }
}

/// The value that `Step::Mark` set last on the scope of a hub.
type Mark = Arc<Mutex<Option<u8>>>;

/// The model: the ID and the hub that are current inside, and the mark on the hub's scope.
#[derive(Clone)]
struct Inside {
    id: TransactionId,
    hub: Arc<Hub>,
    mark: Mark,
}

impl Inside {
    fn new(scope: &TransactionIdScope, mark: Mark) -> Self {
        Self { id: scope.id().clone(), hub: scope.hub().unwrap().clone(), mark }
    }

    /// A fork starts with the mark of the hub that it came from.
    fn mark_of_fork(&self) -> Mark {
        Arc::new(Mutex::new(*self.mark.lock().unwrap()))
    }

    fn check(&self, world: &World) {
        let current = TransactionId::current();
        let is_own_hub = Arc::ptr_eq(&Hub::current(), &self.hub);
        if !is_own_hub || current.as_ref() != Some(&self.id) {
            world.fail(format!("in {}: {current:?}, hub {is_own_hub}", self.id));
        }
        self.check_hub(world);
    }

    fn check_hub(&self, world: &World) {
        let mut sheet = Transaction::default();
        self.hub.configure_scope(|scope| scope.apply_to_transaction(&mut sheet));
        let tag = sheet.tags.get("transaction_id");
        let (mark, expected) = (sheet.tags.get("mark"), *self.mark.lock().unwrap());
        if tag.map(String::as_str) != Some(self.id.as_str())
            || mark.cloned() != expected.map(|mark| mark.to_string())
        {
            world.fail(format!("hub of {} with {expected:?}: {:?}", self.id, sheet.tags));
        }
    }

    /// Runs steps up to a `Yield` or the end. Returns whether there was a `Yield`.
    fn run(&self, steps: &mut VecDeque<Step>, world: &Arc<World>) -> bool {
        self.check(world);
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Yield => return true,
                // `resume_unwind` does not call the panic hook, which would print each panic.
                Step::Panic => std::panic::resume_unwind(Box::new("on purpose")),
                Step::Run(id, steps) => {
                    let scope = TransactionIdScope::new(format!("run-{id}").parse().unwrap());
                    let inside = Inside::new(&scope, self.mark_of_fork());
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
                    let fork = TransactionIdScope::fork_current().expect("inside a scope");
                    assert_eq!(fork.id(), &self.id);
                    assert!(!Arc::ptr_eq(fork.hub().unwrap(), &self.hub));
                    world.fork(at, fork, self.mark_of_fork(), steps);
                }
                Step::Request(at, steps) => world.request(at, steps),
                Step::Mark(mark) => {
                    *self.mark.lock().unwrap() = Some(mark);
                    sentry::configure_scope(|scope| scope.set_tag("mark", mark));
                }
                Step::Keep => world.kept.lock().unwrap().push(self.clone()),
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

/// A thread that runs one job at a time. After each job it checks its current ID and hub.
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

    fn start(&self, job: impl FnOnce() + Send + 'static) {
        self.jobs.as_ref().unwrap().send(Box::new(job)).unwrap();
    }

    fn finish(&self) -> Result<(), TestCaseError> {
        self.done.recv().unwrap().map_err(TestCaseError::fail)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// The action of each thread in a round.
fn round() -> impl Strategy<Value = [Option<(Act, usize)>; THREADS]> {
    let act = prop_oneof![4 => Just(Act::Poll), 1 => Just(Act::Drop)];
    proptest::array::uniform3(proptest::option::of((act, 0..TASKS)))
}

/// Miri takes a thousand times as long, so it runs a hundredth of the cases.
const CASES: u32 = if cfg!(miri) { 20 } else { 2_000 };
const REQUESTS: usize = if cfg!(miri) { 50 } else { 5_000 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn every_schedule_finds_its_own_scope(
        scripts in vec((any::<bool>(), steps()), TASKS),
        schedule in vec(round(), 0..25),
    ) {
        let sentry = Sentry::new();
        let workers: Vec<_> = (0..THREADS).map(|_| Worker::new(&sentry)).collect();
        let world = Arc::new(World::new(&sentry));
        for (at, (is_request, script)) in scripts.into_iter().enumerate() {
            if is_request {
                world.request(at, script);
                continue;
            }
            let id = format!("task-{at}").parse().unwrap();
            let scope = Hub::run(sentry.hub.clone(), || TransactionIdScope::new(id));
            world.fork(at, scope, Mark::default(), script);
        }
        let end = (0..TASKS).map(|at| [Some((Act::Drop, at)), None, None]);
        for round in schedule.into_iter().chain(end) {
            for (worker, act) in workers.iter().zip(round) {
                let world = world.clone();
                worker.start(move || match act {
                    Some((Act::Poll, at)) => world.poll(at),
                    Some((Act::Drop, at)) => drop(world.take(at)),
                    None => {}
                });
            }
            for worker in &workers {
                worker.finish()?;
            }
        }
        // A hub that a task kept still has its own tag and mark, even if its parts were used again.
        for inside in world.kept.lock().unwrap().drain(..) {
            inside.check_hub(&world);
        }
        prop_assert_eq!(world.failure.lock().unwrap().take(), None);
    }
}

/// A base hub lends its scopes to requests that overlap in many orders on two threads.
#[test]
fn lent_scopes_never_mix_whatever_overlaps() {
    use axum::body::Body;
    use tower::ServiceBuilder;

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
                for n in 0..REQUESTS {
                    let id = format!("{thread}-{n}x");
                    let request = Request::builder().header("x-transaction-id", id);
                    let request = request.body(Body::empty()).unwrap();
                    open.push_back(Box::pin(service.call(request)));
                    // Up to three requests are open, and some are dropped half way.
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
    assert!(events.len() > 2 * REQUESTS, "{}", events.len());
    for event in events {
        let message = event.message.as_ref().unwrap();
        assert_eq!(&event.tags["transaction_id"], message);
        assert!(event.tags.get("of").is_none_or(|of| of == message), "{event:?}");
    }
}
