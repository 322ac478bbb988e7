//! Opens the shop, places the first order, and closes again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use reqwest::Url;
use sentry::types::Dsn;
use tokio::runtime::Runtime;

use crate::child::Child;
use crate::first_order::FirstOrder;
use crate::options::{self, Options};
use crate::queue::{Address, Sender};
use crate::storefront::{Storefront, Surroundings};
use crate::story::Stories;
use crate::{collector, telemetry, terminal};

const STOREFRONT_PORT: u16 = 3000;
const COLLECTOR_PORT: u16 = 3001;

/// Runs the shop until it closes. With `--once`, returns whether the story came out as it should.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let shop = Shop::prepare(options)?;
    // Made before the reports start, so the runtime is dropped after the last report was sent: the
    // collector, which takes that report, runs on this runtime.
    let runtime = Runtime::new().map_err(|error| format!("no runtime: {error}"))?;
    let _sentry = telemetry::init("storefront", shop.dsn.clone());
    runtime.block_on(shop.open(options))
}

/// A shop that has its addresses and is not open yet.
struct Shop {
    listener: TcpListener,
    dsn: Dsn,
    /// `None` if the environment names a tracker.
    collector: Option<(TcpListener, Arc<Stories>)>,
}

impl Shop {
    fn prepare(options: &Options) -> Result<Self, String> {
        // With `--once` nobody opens a page, so such a run leaves the usual ports to others.
        let usual = |port| if options.once { 0 } else { port };
        let listener = match options.port {
            Some(port) => listen(port)?,
            None => listen(usual(STOREFRONT_PORT)).or_else(|_| listen(0))?,
        };
        if let Some(dsn) = telemetry::dsn_from_env()? {
            return Ok(Self { listener, dsn, collector: None });
        }
        let collector = listen(usual(COLLECTOR_PORT)).or_else(|_| listen(0))?;
        let dsn = format!("http://hotdogs@{}/1", address(&collector)?).parse();
        let dsn = dsn.map_err(|error| format!("the collector has no DSN: {error}"))?;
        let stories = Arc::new(Stories::new());
        Ok(Self { listener, dsn, collector: Some((collector, stories)) })
    }

    async fn open(self, options: &Options) -> Result<bool, String> {
        let mut stories_url = None;
        let mut stories = None;
        if let Some((listener, kept)) = self.collector {
            stories_url = Some(format!("http://{}/", address(&listener)?));
            let shop = format!("http://{}/", address(&self.listener)?);
            serve(listener, collector::router(Arc::clone(&kept), &shop))?;
            stories = Some(kept);
        }
        let kitchen = Kitchen::open(options.kitchen.clone(), &self.dsn).await?;
        let deliveries = Arc::new(Sender::open(options.nats.as_ref()).await?);
        let courier = Courier::open(deliveries.address(), self.dsn.clone()).await?;
        let surroundings = Surroundings {
            kitchen: kitchen.url()?,
            deliveries: Arc::clone(&deliveries),
            client_layer: options.client_layer,
            cors: options.cors.clone(),
            stories_url: stories_url.clone(),
            search_url: options.search_url.clone().or_else(|| telemetry::search_url(&self.dsn)),
        };
        let address = address(&self.listener)?;
        let storefront = Storefront::new(surroundings);
        let storefront = storefront.map_err(|error| format!("no way to the kitchen: {error}"))?;
        serve(self.listener, storefront.router())?;

        if options.once {
            return once(address, kitchen, courier, stories.as_deref()).await;
        }
        println!("The hot-dog shop is open.\n");
        println!("  Order   http://{address}/");
        match &stories_url {
            Some(url) => {
                println!("  Stories {url}");
                println!("  DSN     {}", self.dsn);
            }
            None => println!("  Stories in the tracker that SENTRY_DSN names"),
        }
        println!("  Ctrl-C  closes it\n");
        day(address, kitchen, courier, stories).await?;
        match deliveries.left() {
            0 => {}
            1 => println!("One delivery was not made."),
            left => println!("{left} deliveries were not made."),
        }
        Ok(true)
    }
}

/// Places one order, prints its story and its faults, and returns whether there are none.
async fn once(
    storefront: SocketAddr,
    kitchen: Kitchen,
    courier: Courier,
    stories: Option<&Stories>,
) -> Result<bool, String> {
    let order = place(storefront).await?;
    // The reports of somebody else's kitchen may go anywhere, so that kitchen is judged by its echo
    // alone.
    let services: &[&str] = match kitchen {
        Kitchen::Own(_) => &["storefront", "kitchen"],
        Kitchen::Other(_) => &["storefront"],
    };
    // A closed kitchen has sent its reports, so nobody has to guess how long they take.
    kitchen.close().await?;
    // The order failed in the kitchen, so the courier has nothing to report.
    courier.close().await?;
    telemetry::flush().await;

    let mut faults = order.faults();
    if let Some(stories) = stories {
        let stories = stories.all();
        for story in &stories {
            print!("{}", terminal::timeline(story));
        }
        faults.extend(order.faults_in(&stories, services));
    } else {
        println!("Search the tracker for transaction_id:{}", order.id);
    }
    println!();
    if faults.is_empty() {
        println!("One ID and one trace through every service.");
    } else {
        println!("Not one ID through every service, or not one trace:");
        for fault in &faults {
            println!("  - {fault}");
        }
    }
    Ok(faults.is_empty())
}

/// Places the first order, and then serves visitors.
async fn day(
    storefront: SocketAddr,
    mut kitchen: Kitchen,
    mut courier: Courier,
    stories: Option<Arc<Stories>>,
) -> Result<(), String> {
    let shown_elsewhere = stories.is_none();
    if let Some(stories) = stories {
        tokio::spawn(terminal::follow(stories));
    }
    let order = place(storefront).await?;
    if shown_elsewhere {
        println!("Search the tracker for transaction_id:{}", order.id);
    }
    let mut told_to_close = std::pin::pin!(told_to_close());
    loop {
        tokio::select! {
            () = &mut told_to_close => break,
            problem = kitchen.ended() => return Err(problem),
            // The shop's queue still has the delivery that this courier did not acknowledge, and
            // hands it to the next.
            problem = courier.ended() => {
                println!("\n{problem}. Another one comes.");
                courier = courier.again().await?;
            }
        }
    }
    println!("\nClosing.");
    kitchen.close().await?;
    courier.close().await
}

/// The kitchen that cooks: the shop's own, or the one of `--kitchen-url`.
enum Kitchen {
    Own(Child),
    Other(Url),
}

impl Kitchen {
    async fn open(other: Option<Url>, dsn: &Dsn) -> Result<Self, String> {
        match other {
            Some(url) => Ok(Self::Other(url)),
            None => Child::open("kitchen", &[options::KITCHEN], dsn).await.map(Self::Own),
        }
    }

    fn url(&self) -> Result<Url, String> {
        match self {
            Self::Own(process) => {
                let url = format!("http://{}/", process.announced).parse();
                url.map_err(|error| format!("{:?} is no kitchen: {error}", process.announced))
            }
            Self::Other(url) => Ok(url.clone()),
        }
    }

    /// Resolves if the shop's own kitchen ends by itself. The end of another kitchen goes unnoticed
    /// here.
    async fn ended(&mut self) -> String {
        match self {
            Self::Own(process) => match process.ended().await {
                Ok(status) => format!("the kitchen ended while the shop was open: {status}"),
                Err(error) => error.to_string(),
            },
            Self::Other(_) => std::future::pending().await,
        }
    }

    async fn close(self) -> Result<(), String> {
        match self {
            Self::Own(process) => process.close().await,
            Self::Other(_) => Ok(()),
        }
    }
}

/// The courier, and the means to call another one.
struct Courier {
    child: Child,
    queue: Address,
    dsn: Dsn,
}

impl Courier {
    async fn open(queue: Address, dsn: Dsn) -> Result<Self, String> {
        let arguments = [options::COURIER, &queue.to_string()];
        let child = Child::open("courier", &arguments, &dsn).await?;
        Ok(Self { child, queue, dsn })
    }

    async fn ended(&mut self) -> String {
        match self.child.ended().await {
            Ok(status) => format!("The courier ended while the shop was open: {status}"),
            Err(error) => error.to_string(),
        }
    }

    async fn again(self) -> Result<Self, String> {
        // A courier that ends each time must not keep the machine busy.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Self::open(self.queue, self.dsn).await
    }

    async fn close(self) -> Result<(), String> {
        self.child.close().await
    }
}

async fn place(storefront: SocketAddr) -> Result<FirstOrder, String> {
    let order = FirstOrder::place(storefront).await;
    let order = order.map_err(|error| format!("the storefront does not answer: {error}"))?;
    println!("Ordered one artisanal hot dog: {}, X-Transaction-ID {}", order.status, order.id);
    Ok(order)
}

fn listen(port: u16) -> Result<TcpListener, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map_err(|error| format!("cannot listen on 127.0.0.1:{port}: {error}"))
}

fn address(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener.local_addr().map_err(|error| format!("a listener without an address: {error}"))
}

fn serve(listener: TcpListener, router: Router) -> Result<(), String> {
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(|error| format!("cannot serve: {error}"))?;
    tokio::spawn(async { axum::serve(listener, router).await });
    Ok(())
}

async fn told_to_close() {
    let interrupted = async {
        // Without a handler, Ctrl-C ends the process as ever.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                () = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    interrupted.await;
}
