//! A service as a process: its Sentry client, and the way of its reports to the tracker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use rand::Rng;
use rand::rngs::SmallRng;
use sentry::integrations::panic::PanicIntegration;
use sentry::protocol::{EnvelopeItem, ItemContainer, Log, Metric};
use sentry::{Client, ClientOptions, Envelope, Hub, Level, Scope, Transport};
use tower_transaction_id::{RequestHead, TransactionId, TransactionIdIntegration};

use crate::ledger::{Key, ParcelRecord};
use crate::net;
use crate::parcel;
use crate::plan::{SERVICES, dice};
use crate::world::World;

/// The number of parcels that wait for the tracker at most. A busy service without a fault stays below it.
const CAPACITY: usize = 500;

/// How often a parcel is sent, and how long each answer may take.
const TRIES: u32 = 4;
const PATIENCE: Duration = Duration::from_millis(400);

/// One life of a service, from its start to its crash.
pub struct Process {
    pub name: &'static str,
    pub world: World,
    /// The hub that the layers get as their base.
    pub hub: Arc<Hub>,
    pub client: Arc<Client>,
    pub outbox: Arc<Outbox>,
    ids: Arc<Mutex<SmallRng>>,
    pub measures: bool,
}

impl Process {
    /// Starts the process on the current host.
    pub fn start(name: &'static str, world: &World) -> Arc<Self> {
        let starts = world.start(name);
        let at = SERVICES.iter().position(|service| *service == name).expect("a service");
        let settings = &world.plan.settings;
        let outbox = Arc::new(Outbox::new(name, starts, world));
        let mut options = ClientOptions::new()
            .dsn("http://key@tracker/1")
            .server_name(name)
            .release(format!("{name}@1"))
            .transport(Arc::clone(&outbox))
            .add_integration(PanicIntegration::new());
        if settings.measures[at] {
            options = options.traces_sample_rate(1.0);
        }
        if settings.integrates[at] {
            options = options.add_integration(TransactionIdIntegration::new());
        }
        let client = Arc::new(Client::from(options));
        let hub = Arc::new(Hub::new(Some(Arc::clone(&client)), Arc::new(Scope::default())));
        hub.configure_scope(|scope| scope.set_tag("process", name));
        let process = Arc::new(Self {
            name,
            world: world.clone(),
            hub,
            client,
            outbox,
            ids: Arc::new(Mutex::new(dice(world.plan.seed, name, starts.into()))),
            measures: settings.measures[at],
        });
        world.state().alive.insert(name, Arc::clone(&process));
        tokio::task::spawn_local(Arc::clone(&process).deliver_reports());
        tokio::task::spawn_local(Arc::clone(&process).work_beside());
        process
    }

    /// Returns a generator of IDs, whose numbers come from the seed of the run.
    pub fn make_id(&self) -> impl Fn(RequestHead<'_>) -> Option<TransactionId> + use<> {
        let (ids, world, name) = (Arc::clone(&self.ids), self.world.clone(), self.name);
        move |request| {
            let number: u128 = ids.lock().ok()?.random();
            let id = format!("{name}-{number:032x}");
            let mut segments = request.uri().path().split('/').skip(2);
            let mut number = || segments.next()?.parse().ok();
            let key = number().zip(number()).map(|(order, attempt)| Key { order, attempt });
            world.state().ledger.generated.insert(id.clone(), (name, key));
            id.parse().ok()
        }
    }

    /// Captures a message outside of any request.
    pub fn capture_unbound(&self, text: &str) {
        let mut state = self.world.state();
        *state.ledger.unbound.entry((self.name, text.to_owned())).or_default() += 1;
        drop(state);
        self.hub.capture_message(text, Level::Info);
    }

    /// Does what a process does outside of requests: reports that it is alive, and lives with its clock.
    async fn work_beside(self: Arc<Self>) {
        for beat in 0_u32.. {
            tokio::time::sleep(Duration::from_millis(25)).await;
            if matches!(beat, 5 | 60 | 150) {
                self.capture_unbound("heartbeat");
            }
            let jump = self.world.state().jumps.remove(self.name);
            if let Some(jump) = jump {
                self.world.log(self.name, "the clock jumps");
                tokio::time::advance(jump).await;
            }
        }
    }

    /// Sends the reports to the tracker, one after the other.
    async fn deliver_reports(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_millis(30)).await;
            // Logs and metrics wait in the client.
            self.client.flush(None);
            self.outbox.pack_lines();
            while let Some((name, bytes)) = self.outbox.first() {
                deliver(&self.world, self.name, &name, bytes).await;
                self.outbox.done(&name);
            }
        }
    }
}

/// Sends a parcel until the tracker has it, or gives up.
pub async fn deliver(world: &World, from: &'static str, name: &str, bytes: Vec<u8>) {
    let started = world.state().now;
    for attempt in 1..=TRIES {
        let request = Request::post("http://tracker/envelope")
            .header("x-parcel", name)
            .body(Body::from(bytes.clone()))
            .expect("a valid request");
        if let Ok((200, _)) = net::ask("tracker", request, PATIENCE).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100) * attempt).await;
    }
    let fault = world.state().fault_since(started, &[from, "tracker"]);
    world.lose(name, "tracker not reached", fault);
}

impl World {
    /// Notes that a parcel is given up. There must be a fault that explains it.
    pub fn lose(&self, parcel: &str, how: &str, fault: Option<String>) {
        self.check(fault.is_some(), || format!("{parcel} is lost without a fault: {how}"));
        let lost = format!("{how}: {}", fault.unwrap_or_default());
        let mut state = self.state();
        state.log("claims", &format!("{parcel} is lost, {lost}"));
        if let Some(parcel) = state.ledger.parcels.get_mut(parcel) {
            parcel.lost = Some(lost);
        }
    }
}

/// The transport of a process: the envelopes that wait for the tracker.
pub struct Outbox {
    process: &'static str,
    starts: u32,
    world: World,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    /// The logs and metrics that wait for the next parcel. The SDK sends its batches after five seconds of
    /// real time as well, so its batches are not the same in each run.
    logs: Vec<Log>,
    metrics: Vec<Metric>,
    parcels: VecDeque<(String, Vec<u8>)>,
    count: u32,
    /// The fault through which the process ended.
    ended_by: Option<String>,
    /// The time of the last parcel that was done with.
    last_done: Duration,
}

impl Outbox {
    fn new(process: &'static str, starts: u32, world: &World) -> Self {
        Self { process, starts, world: world.clone(), inside: Mutex::default() }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("no panic while it is locked")
    }

    pub fn is_empty(&self) -> bool {
        let inside = self.inside();
        inside.parcels.is_empty() && inside.logs.is_empty() && inside.metrics.is_empty()
    }

    fn first(&self) -> Option<(String, Vec<u8>)> {
        self.inside().parcels.front().cloned()
    }

    fn done(&self, name: &str) {
        let now = self.world.state().now;
        let mut inside = self.inside();
        inside.last_done = now;
        inside.parcels.retain(|(waiting, _)| waiting != name);
    }

    /// Ends the process: whatever waits is lost, and whatever its last drops report.
    pub fn crash(&self, fault: &str) {
        self.inside().ended_by = Some(fault.to_owned());
    }

    /// Makes parcels of the logs and metrics.
    fn pack_lines(&self) {
        let (logs, metrics) = {
            let mut inside = self.inside();
            (std::mem::take(&mut inside.logs), std::mem::take(&mut inside.metrics))
        };
        let logs = (!logs.is_empty()).then(|| EnvelopeItem::from(logs));
        let metrics = (!metrics.is_empty()).then(|| EnvelopeItem::from(metrics));
        for item in logs.into_iter().chain(metrics) {
            let mut envelope = Envelope::new();
            envelope.add_item(item);
            self.add(&envelope);
        }
    }

    fn add(&self, envelope: &Envelope) {
        let mut bytes = Vec::new();
        envelope.to_writer(&mut bytes).expect("a vector takes all bytes");
        let (name, is_full, last_done) = {
            let mut inside = self.inside();
            inside.count += 1;
            let name = format!("{}.{}/{}", self.process, self.starts, inside.count);
            let is_full = inside.parcels.len() >= CAPACITY;
            if !is_full {
                inside.parcels.push_back((name.clone(), bytes.clone()));
            }
            (name, is_full, inside.last_done)
        };
        self.world.send_parcel(self.process, &name, &bytes);
        if is_full {
            let fault = self.world.state().fault_since(last_done, &[self.process, "tracker"]);
            self.world.lose(&name, "too many reports wait", fault);
        }
    }

    /// Gives up all that waits, after a crash.
    pub fn bury(&self) {
        self.pack_lines();
        let (parcels, fault) = {
            let mut inside = self.inside();
            (std::mem::take(&mut inside.parcels), inside.ended_by.clone())
        };
        for (name, _) in parcels {
            self.world.lose(&name, "process ended", fault.clone());
        }
    }
}

impl Transport for Outbox {
    fn send_envelope(&self, envelope: Envelope) {
        let mut rest = Envelope::new();
        for item in envelope.into_items() {
            match item {
                EnvelopeItem::ItemContainer(ItemContainer::Logs(logs)) => {
                    self.inside().logs.extend(logs);
                }
                EnvelopeItem::ItemContainer(ItemContainer::Metrics(metrics)) => {
                    self.inside().metrics.extend(metrics);
                }
                other => rest.add_item(other),
            }
        }
        if rest.items().next().is_some() {
            self.add(&rest);
        }
    }
}

impl World {
    /// Notes a parcel that a host is going to send.
    pub fn send_parcel(&self, process: &'static str, name: &str, bytes: &[u8]) {
        let items = match parcel::read(bytes) {
            Ok(items) => items,
            Err(error) => return self.violation(format!("{name} is no envelope: {error}")),
        };
        let mut state = self.state();
        for item in &items {
            state.log(process, &format!("reports {item}"));
        }
        let record = ParcelRecord { process, sent: items, arrived: None, lost: None };
        state.ledger.parcels.insert(name.to_owned(), record);
    }
}
