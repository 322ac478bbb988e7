//! The servers, each in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use axum::body::Body;
use axum::routing::get;
use axum::{Error, Router};
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use sentry::Hub;
use tokio::net::TcpListener;
use tower::layer::util::Identity;
use tower::util::MapResponseLayer;
use tower::{Layer, Service, ServiceExt};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, Failures, InjectTransactionIdLayer, X_TRANSACTION_ID,
};

use crate::variants::exchange::ID;
use crate::variants::sentry_client;
use crate::variants::stacks::{lite, peer};

/// A kind of server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This program, with the layers of this name.
    Rust(&'static str),
    /// This program, with the layers of this name. Its handler calls a bare server.
    Relay(&'static str),
    /// `benches/node/server.js`, with these arguments.
    Node(&'static str, &'static str),
}

impl Kind {
    pub(crate) const RUST: [Self; 11] = [
        Self::Rust("bare"),
        Self::Rust("empty layer"),
        Self::Rust("floor"),
        Self::Rust("lite"),
        Self::Rust("peer"),
        Self::Rust("ours"),
        Self::Rust("ours+base"),
        Self::Rust("full"),
        Self::Rust("lite, off"),
        Self::Rust("peer, off"),
        Self::Rust("ours, off"),
    ];
    pub(crate) const RELAY: [Self; 6] = [
        Self::Relay("bare"),
        Self::Relay("ours+base"),
        Self::Relay("ours+base and client layer"),
        Self::Relay("ours+base and client layer, no breadcrumbs"),
        Self::Relay("full and client layer"),
        Self::Relay("full and client layer, no breadcrumbs"),
    ];
    pub(crate) const NODE_HTTP: [Self; 2] =
        [Self::Node("http", "bare"), Self::Node("http", "sentry")];
    pub(crate) const NODE_EXPRESS: [Self; 2] =
        [Self::Node("express", "bare"), Self::Node("express", "sentry")];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rust(name) | Self::Relay(name) | Self::Node(_, name) => name,
        }
    }
}

pub(crate) struct Server {
    process: Child,
    port: u16,
    /// The server that a relay calls.
    upstream: Option<Box<Server>>,
}

impl Server {
    pub(crate) fn start(kind: Kind) -> Self {
        let this = std::env::current_exe().expect("a program knows its file");
        let mut upstream = None;
        let mut command = match kind {
            Kind::Rust(name) => {
                let mut command = Command::new(this);
                command.args(["--serve", name]);
                command
            }
            Kind::Relay(name) => {
                let server = upstream.insert(Box::new(Self::start(Kind::Rust("bare"))));
                let mut command = Command::new(this);
                command.args(["--serve", name, &server.port.to_string()]);
                command
            }
            Kind::Node(kind, name) => {
                let mut command = Command::new("node");
                command.arg(node().join("server.js")).args([kind, name]);
                command
            }
        };
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the server starts");
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        output.read_line(&mut line).expect("the server writes");
        let port = line.trim().parse().unwrap_or_else(|_| panic!("{line:?} is to be a port"));
        Self { process, port, upstream }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The CPU time of the server's threads so far.
    pub(crate) fn cpu_nanos(&self) -> f64 {
        cpu_nanos(&format!("/proc/{}/task", self.process.id()))
    }

    /// Ends the server by the end of its standard input.
    pub(crate) fn stop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().expect("the server ends");
        self.upstream.iter_mut().for_each(|server| server.stop());
    }
}

pub(crate) fn can_read_cpu_time() -> bool {
    Path::new("/proc/self/schedstat").exists()
}

fn cpu_nanos(tasks: &str) -> f64 {
    let tasks = fs::read_dir(tasks).expect("the server is alive");
    let nanos = |task: PathBuf| -> Option<f64> {
        let line = fs::read_to_string(task.join("schedstat")).ok()?;
        line.split(' ').next()?.parse().ok()
    };
    tasks.filter_map(|task| nanos(task.ok()?.path())).sum()
}

fn node() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/node")
}

pub(crate) fn node_is_ready() -> bool {
    node().join("node_modules").exists()
}

/// In the process of the server: serves on one thread, so that its CPU time is that of the requests.
pub(crate) fn serve(name: &str, upstream: Option<&str>) {
    let _sentry = (!name.ends_with(", off")).then(sentry_client::init);
    if name.starts_with("full") {
        Hub::main().bind_client(Some(sentry_client::with_integration(None)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let handler = match upstream {
            Some(port) => relay(name, port),
            None => Router::new().route("/order", get(async || "hot dog")),
        };
        let app = with_layers(name, handler);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        println!("{}", listener.local_addr().expect("it is bound").port());
        let serving = axum::serve(listener, app).into_future();
        let input = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
        tokio::select! {
            result = serving => result.expect("the server serves"),
            _ = input => {}
        }
    });
}

fn with_layers(name: &str, app: Router) -> Router {
    let name = name.split([',', ' ']).next().unwrap_or_default();
    let ours = BindTransactionIdLayer::new();
    match name {
        "bare" => app,
        // The cost of any layer in axum, which puts each layer into a box.
        "empty" => app.layer(Identity::new()),
        "floor" => app.layer(MapResponseLayer::new(touch)),
        "lite" => app.layer(lite()),
        "peer" => app.layer(peer(false)),
        "ours" => app.layer(ours.record_request(false)),
        "ours+base" => app.layer(ours.record_request(false).hub(Hub::main())),
        "full" => app.layer(ours.capture_failures(Failures::new()).hub(Hub::main())),
        other => panic!("no layers are called {other:?}"),
    }
}

/// The least work of a layer of this kind: sets one more header, and wraps the body.
fn touch(response: Response<Body>) -> Response<impl http_body::Body<Data = Bytes, Error = Error>> {
    let mut response = response.map(|body| body.map_frame(|frame| frame));
    response.headers_mut().insert(X_TRANSACTION_ID, ID);
    response
}

/// A handler that calls a service, and passes the response on.
fn relay(name: &str, port: &str) -> Router {
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let layer = InjectTransactionIdLayer::new(AllowedHosts::only(["127.0.0.1"]).expect("a host"))
        .breadcrumbs(!name.ends_with("no breadcrumbs"));
    if name.contains("client layer") {
        relay_through(layer.layer(client), port)
    } else {
        relay_through(client, port)
    }
}

fn relay_through<S, B>(client: S, port: &str) -> Router
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error: std::fmt::Debug>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    let uri: http::Uri = format!("http://127.0.0.1:{port}/order").parse().expect("a URI");
    Router::new().route(
        "/order",
        get(async move || {
            let mut request = http::Request::new(Body::empty());
            *request.uri_mut() = uri.clone();
            client.clone().oneshot(request).await.expect("the service answers").map(Body::new)
        }),
    )
}
