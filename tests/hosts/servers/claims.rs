//! What holds on each host. The name of a function is its claim.

use std::collections::BTreeSet;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use http::Method;
use tower_transaction_id::TransactionId;

use super::{Url, Visit};
use crate::sentry::{id, text};
use crate::shop::{GUESTS, PANIC};

type Check = fn(Visit) -> BoxFuture<'static, ()>;

macro_rules! claims {
    ($($claim:ident,)*) => {
        pub(super) const ALL: &[(&str, Check)] =
            &[$((stringify!($claim), |visit| $claim(visit).boxed()),)*];
    };
}

claims! {
    a_valid_id_is_kept_and_echoed_once,
    a_missing_id_is_generated,
    a_hostile_id_is_replaced,
    several_ids_are_replaced_by_one,
    an_event_of_a_handler_has_the_id_that_the_handler_sees,
    an_event_shows_the_request,
    an_event_of_a_streamed_body_has_the_id,
    a_handler_is_dropped_under_its_id_when_the_client_leaves,
    a_body_is_dropped_under_its_id_when_the_client_leaves,
    the_event_of_a_panic_has_the_id,
    a_forked_task_has_the_id,
    a_failure_is_reported_once,
    a_failure_with_an_event_of_its_own_is_not_reported_again,
    nothing_of_a_request_is_left_for_the_next_one,
    requests_at_the_same_time_keep_their_ids_apart,
    the_answer_to_an_unknown_path_has_an_id,
    an_answer_to_head_has_an_id,
}

async fn a_valid_id_is_kept_and_echoed_once(visit: Visit) {
    let id = "Root=1-5eb33c07:order/7@shop.test~";
    assert_eq!(visit.wish("taste", &[id]).await.ids, [id]);
}

async fn a_missing_id_is_generated(visit: Visit) {
    let mut connection = visit.connect().await;
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        let reply = connection.send(visit.host.request("taste"), &[]).await.unwrap();
        assert_eq!(reply.id().len(), 32);
        ids.insert(reply.id().parse::<TransactionId>().unwrap().to_string());
    }
    assert_eq!(ids.len(), 3);
}

async fn a_hostile_id_is_replaced(visit: Visit) {
    let too_long = "1".repeat(201);
    for hostile in ["<script>alert(1)</script>", "a b", "undefined", "", "\u{fc}", &too_long] {
        let reply = visit.wish("taste", &[hostile]).await;
        assert_eq!(reply.id().len(), 32, "{hostile:?}");
    }
}

async fn several_ids_are_replaced_by_one(visit: Visit) {
    let reply = visit.wish("taste", &["order-1", "order-2"]).await;
    assert_eq!(reply.id().len(), 32);
}

async fn an_event_of_a_handler_has_the_id_that_the_handler_sees(visit: Visit) {
    let reply = visit.wish("taste", &[]).await;
    let event = visit.sentry.event("tasted ").await;
    assert_eq!(id(&event), reply.id());
    // The current ID, and one line of the header where the host shows headers to a handler.
    let text = text(&event);
    let mut seen = text["tasted ".len()..].split(", ");
    assert_eq!(seen.next(), Some(reply.id()));
    if visit.host.shows_headers() {
        assert_eq!(seen.next(), Some(reply.id()));
    }
    assert_eq!(seen.next(), None);
}

async fn an_event_shows_the_request(visit: Visit) {
    visit.wish("taste", &[]).await;
    let request = visit.sentry.event("tasted ").await.request.expect("the event has a request");
    let sent = visit.host.request("taste");
    assert_eq!(request.method.as_deref(), Some(sent.method().as_str()));
    let Url(url) = sent.extensions().get::<Url>().expect("a request has its URL");
    assert_eq!(request.url.map(String::from).as_deref(), Some(&url[..]));
}

async fn an_event_of_a_streamed_body_has_the_id(visit: Visit) {
    let reply = visit.wish("stream", &["order-1"]).await;
    assert!(!reply.body.is_empty());
    let event = visit.sentry.event("streaming ").await;
    assert_eq!((text(&event), id(&event)), ("streaming order-1".into(), "order-1".into()));
}

async fn a_handler_is_dropped_under_its_id_when_the_client_leaves(visit: Visit) {
    leave(&visit, "wait", "waiting").await;
    let event = visit.sentry.event("the handler was dropped").await;
    assert_eq!(id(&event), "order-1");
}

async fn a_body_is_dropped_under_its_id_when_the_client_leaves(visit: Visit) {
    leave(&visit, "drip", "dripping").await;
    let event = visit.sentry.event("the body was dropped").await;
    assert_eq!(id(&event), "order-1");
}

/// Makes a wish that is never fulfilled, and leaves when `sign` arrives as an event.
async fn leave(visit: &Visit, wish: &str, sign: &str) {
    let connection = tokio::spawn({
        let (visit, wish) = (visit.clone(), wish.to_owned());
        async move { visit.try_wish(&wish, &["order-1"]).await }
    });
    visit.sentry.event(sign).await;
    connection.abort();
}

async fn the_event_of_a_panic_has_the_id(visit: Visit) {
    // Some hosts answer, and others close the connection.
    let reply = visit.try_wish("burn", &["order-1"]).await;
    assert_eq!(id(&visit.sentry.event(PANIC).await), "order-1");
    if let Ok(reply) = reply
        && visit.host.answers_after_a_panic()
    {
        assert_eq!(reply.id(), "order-1");
    }
    assert_eq!(visit.wish("taste", &["order-2"]).await.id(), "order-2");
    assert_eq!(id(&visit.sentry.event("tasted ").await), "order-2");
    assert_eq!(visit.sentry.events().len(), 2);
}

async fn a_forked_task_has_the_id(visit: Visit) {
    visit.wish("delegate", &["order-1"]).await;
    assert_eq!(id(&visit.sentry.event("in a task").await), "order-1");
}

async fn a_failure_is_reported_once(visit: Visit) {
    fails_with_one_event(&visit, "fail").await;
}

async fn a_failure_with_an_event_of_its_own_is_not_reported_again(visit: Visit) {
    let report = fails_with_one_event(&visit, "complain").await;
    assert_eq!(report, "out of mustard");
}

/// Makes a wish that fails. Returns the text of its only event.
async fn fails_with_one_event(visit: &Visit, wish: &str) -> String {
    let mut connection = visit.connect().await;
    let failed = connection.send(visit.host.request(wish), &["order-1"]).await.unwrap();
    assert_eq!(failed.id(), "order-1");
    // A second report would be there before the event of the next request on the connection.
    connection.send(visit.host.request("taste"), &["order-2"]).await.unwrap();
    visit.sentry.event("tasted ").await;
    let events = visit.sentry.events();
    let ids: Vec<_> = events.iter().map(id).collect();
    assert_eq!(ids, ["order-1", "order-2"], "{events:#?}");
    text(&events[0])
}

async fn nothing_of_a_request_is_left_for_the_next_one(visit: Visit) {
    let mut connection = visit.connect().await;
    let first = connection.send(visit.host.request("introduce"), &["order-1"]).await.unwrap();
    assert_eq!(first.id(), "order-1");
    let second = connection.send(visit.host.request("taste"), &[]).await.unwrap();
    let event = visit.sentry.event("tasted ").await;
    assert_eq!(id(&event), second.id());
    assert_ne!(second.id(), "order-1");
    assert_eq!((&event.user, event.tags.get("table")), (&None, None));
}

async fn requests_at_the_same_time_keep_their_ids_apart(visit: Visit) {
    let guests = (0..GUESTS).map(async |guest| {
        let sent = format!("order-{guest}");
        assert_eq!(visit.wish("meet", &[&sent]).await.id(), sent);
        // Before they met, each handler had this ID.
        assert_eq!(id(&visit.sentry.event(&format!("met {sent}")).await), sent);
    });
    join_all(guests).await;
}

async fn the_answer_to_an_unknown_path_has_an_id(visit: Visit) {
    let reply = visit.wish("no/such/path", &["order-1"]).await;
    assert_eq!((reply.id(), reply.status), ("order-1", visit.host.unknown()));
}

async fn an_answer_to_head_has_an_id(visit: Visit) {
    let mut request = visit.host.request("taste");
    *request.method_mut() = Method::HEAD;
    let reply = visit.connect().await.send(request, &["order-1"]).await.unwrap();
    assert_eq!((reply.id(), reply.body.len()), ("order-1", 0));
}
