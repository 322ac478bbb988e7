//! `Debug` output, which ends up in logs: the type, its settings and the ID.

use axum::extract::FromRequestParts;
use http::{Request, Response};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_transaction_id::messages::{BindMessageLayer, MessageContext, OutboundContext};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, Failures, InjectTransactionIdLayer, TransactionId,
    TransactionIdScope, Trust,
};

use crate::support::{Never, story};

#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        unreachable!("`Debug` prints no error")
    }
}

impl std::error::Error for Broken {}

fn scope() -> TransactionIdScope {
    TransactionIdScope::new("mine".parse().unwrap())
}

fn request() -> Request<()> {
    Request::get("/?secret").header("x-transaction-id", "mine").body(()).unwrap()
}

/// The name that the compiler gives to [`Broken`].
fn readable() -> String {
    format!("ReadableErrors<{}>", std::any::type_name::<Broken>())
}

#[test]
fn a_layer_prints_its_settings_and_a_service_what_it_wraps() {
    story(async |sentry| {
        let hosts = AllowedHosts::only(["kitchen.test:80"]).unwrap();
        let rules = r#"[HostRule { pattern: Name("kitchen.test"), port: Some(80) }]"#;
        assert_eq!(format!("{hosts:?}"), format!("AllowedHosts::only({rules})"));
        assert_eq!(format!("{:?}", AllowedHosts::any()), "AllowedHosts::any()");
        let failures = "Failures { statuses: [500..=599], grpc_codes: [2, 4, 12, 13, 14, 15] }";
        assert_eq!(format!("{:?}", Failures::new()), failures);

        let client = InjectTransactionIdLayer::new(hosts).capture_failures(Failures::new());
        let client = client.read_errors(|error: &Broken| error);
        let errors = readable();
        assert_eq!(
            format!("{client:?}"),
            format!(
                "InjectTransactionIdLayer {{ header_name: \"x-transaction-id\", \
                 hosts: AllowedHosts::only({rules}), failures: Some({failures}), errors: {errors}, \
                 breadcrumbs: true, propagate_trace: false }}"
            )
        );
        assert_eq!(
            format!("{:?}", client.layer("a client")),
            r#"InjectTransactionId { inner: "a client", .. }"#
        );

        let server = BindTransactionIdLayer::new().trust(Trust::never()).hub(&sentry.hub);
        assert_eq!(
            format!("{server:?}"),
            "BindTransactionIdLayer { header_name: \"x-transaction-id\", trust: Trust::never(), \
             has_base_hub: true, failures: None, errors: OpaqueErrors(()), .. }"
        );
        assert_eq!(
            format!("{:?}", server.layer("a server")),
            r#"BindTransactionId { inner: "a server", .. }"#
        );

        let worker = BindMessageLayer::new("orders", |id: &&str| MessageContext::of_id(Some(*id)));
        assert_eq!(
            format!("{worker:?}"),
            r#"BindMessageLayer { name: "orders", has_base_hub: false, .. }"#
        );
        assert_eq!(
            format!("{:?}", worker.layer("a worker")),
            r#"BindMessage { inner: "a worker", .. }"#
        );
    });
}

#[test]
fn what_belongs_to_a_request_prints_its_id_and_nothing_of_the_request() {
    story(async |_| {
        const ID: &str = r#"TransactionId("mine")"#;
        assert_eq!(
            format!("{:?}", scope()),
            format!("TransactionIdScope {{ id: {ID}, has_hub: true, .. }}")
        );
        let bound = format!("InScope {{ inner: Some(\"a job\"), id: Some({ID}), .. }}");
        assert_eq!(format!("{:?}", scope().bind("a job")), bound);

        let answers = async |_: Request<()>| Ok::<_, Never>(Response::new("a job"));
        let mut server = BindTransactionIdLayer::new().layer(service_fn(answers));
        assert_eq!(
            format!("{:?}", server.call(request())),
            format!("BindResponseFuture {{ id: Some({ID}), .. }}")
        );
        let body = server.oneshot(request()).await.unwrap().into_body();
        assert_eq!(format!("{body:?}"), format!("ResponseBody {{ inner: {bound}, .. }}"));

        let client = InjectTransactionIdLayer::new(AllowedHosts::any());
        let mut client = client.layer(service_fn(answers));
        assert_eq!(
            scope().run(|| format!("{:?}", client.call(request()))),
            "InjectResponseFuture { id: None, .. }",
            "the ID of a call is that of its scope, unless the layer generated it"
        );

        let context = MessageContext::of_id(Some("mine"));
        assert_eq!(
            format!("{context:?}"),
            format!("MessageContext {{ id: Some(Ok({ID})), has_trace: false }}")
        );
        let worker = BindMessageLayer::new("orders", MessageContext::clone);
        let mut worker = worker.layer(service_fn(async |_| Ok::<_, Never>(())));
        assert_eq!(
            format!("{:?}", worker.call(context)),
            format!("BindMessageFuture {{ id: Some({ID}), .. }}")
        );
        assert_eq!(
            scope().run(|| format!("{:?}", OutboundContext::new())),
            format!("OutboundContext {{ id: {ID}, .. }}")
        );

        // `unwrap` prints the sentence on the missing layer.
        let (mut parts, ()) = request().into_parts();
        let missing = <TransactionId as FromRequestParts<()>>::from_request_parts(&mut parts, &());
        let missing = missing.await.unwrap_err();
        assert!(missing.to_string().starts_with("no transaction ID: add"), "{missing}");
        assert_eq!(format!("{missing:?}"), missing.to_string());
    });
}
