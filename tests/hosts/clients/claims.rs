//! What holds on each host. The name of a function is its claim.

use futures_util::future::{BoxFuture, FutureExt, join_all};
use http::HeaderName;
use sentry::Hub;
use tower_transaction_id::{
    AllowedHosts, Failures, InjectTransactionIdLayer, TransactionId, TransactionIdScope,
};

use super::Host;
use crate::kitchen::{Kitchen, OWN_ID};
use crate::sentry::{Sentry, id, note};
use crate::shop::GUESTS;

type Check = fn(&'static dyn Host) -> BoxFuture<'static, ()>;

macro_rules! claims {
    ($($claim:ident,)*) => {
        pub(super) const ALL: &[(&str, Check)] =
            &[$((stringify!($claim), |host| $claim(host).boxed()),)*];
    };
}

claims! {
    the_current_id_is_sent_to_a_listed_host,
    the_id_is_not_sent_to_another_host,
    outside_of_a_scope_a_new_id_is_sent,
    a_failing_answer_is_reported_once_under_the_id,
    a_broken_connection_is_reported_once_under_the_id,
    a_cancelled_call_is_no_failure_and_leaves_a_breadcrumb,
    calls_at_the_same_time_keep_their_ids_apart,
    another_header_can_carry_the_id,
}

/// A layer that sends the ID to any host, and reports failures.
fn layer() -> InjectTransactionIdLayer {
    InjectTransactionIdLayer::new(AllowedHosts::any()).capture_failures(Failures::new())
}

fn layer_for(host: &str) -> InjectTransactionIdLayer {
    InjectTransactionIdLayer::new(AllowedHosts::only([host]).unwrap())
}

fn scope(sentry: &Sentry, id: &str) -> TransactionIdScope {
    Hub::run(sentry.hub.clone(), || TransactionIdScope::new(id.parse().unwrap()))
}

async fn the_current_id_is_sent_to_a_listed_host(host: &'static dyn Host) {
    let (sentry, kitchen) = (Sentry::new(), Kitchen::open().await);
    let client = host.client(kitchen.address, layer_for("127.0.0.1")).await;
    assert!(scope(&sentry, "order-1").bind(client("sausage".into())).await);
    assert_eq!(kitchen.first().await.ids(), ["order-1"]);
}

async fn the_id_is_not_sent_to_another_host(host: &'static dyn Host) {
    let (sentry, kitchen) = (Sentry::new(), Kitchen::open().await);
    let client = host.client(kitchen.address, layer_for("kitchen.test")).await;
    assert!(scope(&sentry, "order-1").bind(client("sausage".into())).await);
    assert_eq!(kitchen.first().await.ids(), [""; 0]);
}

async fn outside_of_a_scope_a_new_id_is_sent(host: &'static dyn Host) {
    let kitchen = Kitchen::open().await;
    let client = host.client(kitchen.address, layer()).await;
    for _ in 0..2 {
        assert!(client("sausage".into()).await);
    }
    let orders = kitchen.received();
    let ids: Vec<_> = orders.iter().flat_map(|order| order.ids()).collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
    for id in ids {
        assert_eq!(id.parse::<TransactionId>().unwrap().as_str().len(), 32);
    }
}

async fn a_failing_answer_is_reported_once_under_the_id(host: &'static dyn Host) {
    let (sentry, kitchen) = (Sentry::new(), Kitchen::open().await);
    let client = host.client(kitchen.address, layer()).await;
    assert!(!scope(&sentry, "order-1").bind(client("burnt".into())).await);
    let events = sentry.events();
    let [event] = &events[..] else { panic!("not one event: {events:#?}") };
    assert_eq!(id(event), "order-1");
    assert_eq!(event.tags["peer_transaction_id"], OWN_ID);
}

async fn a_broken_connection_is_reported_once_under_the_id(host: &'static dyn Host) {
    let (sentry, kitchen) = (Sentry::new(), Kitchen::open().await);
    let client = host.client(kitchen.address, layer()).await;
    assert!(!scope(&sentry, "order-1").bind(client("smoke".into())).await);
    let events = sentry.events();
    let ids: Vec<_> = events.iter().map(id).collect();
    assert_eq!(ids, ["order-1"], "{events:#?}");
}

async fn a_cancelled_call_is_no_failure_and_leaves_a_breadcrumb(host: &'static dyn Host) {
    let (sentry, kitchen) = (Sentry::new(), Kitchen::open().await);
    let client = host.client(kitchen.address, layer()).await;
    let work = async {
        tokio::select! {
            _ = client("never".into()) => panic!("the kitchen never answers"),
            order = kitchen.first() => assert_eq!(order.ids(), ["order-1"]),
        }
        note("cancelled");
    };
    scope(&sentry, "order-1").bind(work).await;
    let events = sentry.events();
    let [event] = &events[..] else { panic!("not one event: {events:#?}") };
    let reasons: Vec<_> =
        event.breadcrumbs.iter().map(|crumb| crumb.data.get("reason").cloned()).collect();
    assert_eq!(reasons, [Some("cancelled".into())]);
}

async fn calls_at_the_same_time_keep_their_ids_apart(host: &'static dyn Host) {
    let (sentry, kitchen) = (Sentry::new(), Kitchen::open().await);
    let client = host.client(kitchen.address, layer()).await;
    let calls = (0..GUESTS).map(|guest| {
        let call = client(format!("shared-{guest}"));
        scope(&sentry, &format!("order-{guest}")).bind(call)
    });
    assert_eq!(join_all(calls).await, [true; GUESTS]);
    for order in kitchen.received() {
        assert_eq!(order.ids(), [order.dish.replace("shared", "order")]);
    }
}

async fn another_header_can_carry_the_id(host: &'static dyn Host) {
    let (sentry, kitchen) = (Sentry::new(), Kitchen::open().await);
    let layer = layer().header_name(HeaderName::from_static("x-request-id"));
    let client = host.client(kitchen.address, layer).await;
    assert!(scope(&sentry, "order-1").bind(client("sausage".into())).await);
    let order = kitchen.first().await;
    assert_eq!(
        (&order.headers["x-request-id"], order.ids().len()),
        (&"order-1".parse().unwrap(), 0)
    );
}
