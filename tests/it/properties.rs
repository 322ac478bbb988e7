//! Whatever arrives: never a panic, and what is accepted is safe everywhere downstream.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use proptest::collection::vec;
use proptest::prelude::*;
use sentry::Hub;
use std::sync::Arc;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::request_id::{MakeRequestId, RequestId};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, FromMakeRequestId, InjectTransactionIdLayer,
    TransactionId, TransactionIdScope,
};

use crate::support::{Never, Sentry, capture, echoed, tag};

/// The rules once more, in other words than the library's.
fn is_valid(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:+/=@~".contains(c);
    let means_something = |c: char| c.is_ascii_alphabetic() || ('1'..='9').contains(&c);
    (1..=200).contains(&text.len())
        && text.chars().all(allowed)
        && text.chars().any(means_something)
        && !text.contains("..")
        && !text.contains("://")
        && !["undefined", "null", "nan", "none", "nil"].contains(&text.to_lowercase().as_str())
}

/// Values of every kind, among them many that are valid or nearly so.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..250),
        "[-_.:+/=@~A-Za-z0-9]{0,210}".prop_map(String::into_bytes),
        "[0.:/-]{0,8}".prop_map(String::into_bytes),
        "(?i)(undefined|null|nan|none|nil)x?".prop_map(String::into_bytes),
        "[ -~]{0,40}".prop_map(String::into_bytes),
    ]
}

/// A generator that yields what it is told.
#[derive(Clone)]
struct Yields(Option<HeaderValue>);

impl MakeRequestId for Yields {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        self.0.clone().map(RequestId::new)
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn what_is_accepted_survives_every_form(value in any_value()) {
        let text = String::from_utf8_lossy(&value);
        let parsed = text.parse::<TransactionId>();
        prop_assert_eq!(parsed.is_ok(), is_valid(text.as_bytes()));
        let header = HeaderValue::from_bytes(&value);
        if let Ok(header) = &header {
            let read = TransactionId::try_from(header);
            prop_assert_eq!(read.is_ok(), is_valid(&value));
            match read {
                Ok(id) => {
                    prop_assert_eq!(id.as_str().as_bytes(), value.as_slice());
                    prop_assert_eq!(id.to_string().parse::<TransactionId>().unwrap(), id.clone());
                    prop_assert_eq!(id.header_value(), header);
                }
                Err(error) => {
                    let printed = format!("{error} {error:?}");
                    prop_assert_eq!(error.len(), value.len());
                    prop_assert!(value.len() < 8 || !printed.contains(text.as_ref()));
                }
            }
        }
    }

    #[test]
    fn any_lines_lead_to_one_valid_id(
        lines in vec(any_value(), 0..4),
        copies in 1_usize..3,
        generated in proptest::option::of(any_value()),
    ) {
        let lines: Vec<_> =
            lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
        let generated = generated.and_then(|value| HeaderValue::from_bytes(&value).ok());
        let layer = BindTransactionIdLayer::new()
            .make_id(FromMakeRequestId::new(Yields(generated.clone())));
        let service = ServiceBuilder::new().layer(layer).service_fn(async |request: Request<Body>| {
            capture("handled");
            let header = echoed(request.headers());
            assert_eq!(TransactionId::current().unwrap(), header.as_str());
            Ok::<_, Never>(Response::new(Body::from(header)))
        });
        let mut request = Request::new(Body::empty());
        for line in lines.iter().flat_map(|line| std::iter::repeat_n(line, copies)) {
            request.headers_mut().append("x-transaction-id", line.clone());
        }
        let sentry = Sentry::new();
        let response = Hub::run(sentry.hub.clone(), || block_on(service.oneshot(request))).unwrap();
        let id = echoed(response.headers());
        prop_assert!(is_valid(id.as_bytes()), "{}", id);
        let seen = block_on(axum::body::to_bytes(Body::new(response.into_body()), 250)).unwrap();
        prop_assert_eq!(&seen, id.as_bytes());
        let event = sentry.take_events().pop().unwrap();
        prop_assert_eq!(tag(&event, "transaction_id"), Some(id.clone()));

        let agreed = lines.first().filter(|first| lines.iter().all(|line| line == *first));
        let valid = |value: &&HeaderValue| is_valid(value.as_bytes());
        if let Some(expected) = agreed.filter(valid).or(generated.as_ref().filter(valid)) {
            prop_assert_eq!(id.as_bytes(), expected.as_bytes());
        } else {
            prop_assert_eq!(id.len(), 32);
        }
    }

    #[test]
    fn no_list_of_hosts_and_no_uri_is_too_strange(
        entries in vec("[-_.:@/\\[\\]a-c0-9é%*]{0,12}", 0..4),
        host in "[-_.a-c0-9]{1,9}|\\[[0-9a-f:]{2,8}\\]|[0-9.]{7,11}",
        rest in "(:[0-9]{1,5})?(/[a-c/?.:@]{0,9})?",
        header in proptest::option::of("[-_.:@a-c0-9\\[\\]]{0,9}"),
    ) {
        let hosts = AllowedHosts::only(&entries);
        // Asked by hand, with anything.
        let _ = hosts.allows(&rest, Some(1));
        let full = format!("http://{host}{rest}");
        for uri in [full, rest] {
            let Ok(uri) = uri.parse::<Uri>() else { continue };
            let mut request = Request::new(());
            *request.uri_mut() = uri.clone();
            if let Some(header) = header.as_ref().and_then(|header| header.parse().ok()) {
                request.headers_mut().insert("host", header);
            }
            let client = ServiceBuilder::new()
                .layer(InjectTransactionIdLayer::new(hosts.clone()))
                .service_fn(async |request: Request<()>| {
                    Ok::<_, Never>(Response::new(request.headers().clone()))
                });
            let scope = TransactionIdScope::new("mine".parse().unwrap());
            let sent: HeaderMap = block_on(scope.bind(client.oneshot(request))).unwrap().into_body();
            // Sent only where an entry, without its port, ends the host that the request names.
            if sent.contains_key("x-transaction-id") {
                let target = uri.host().map(str::to_owned).or(header.clone()).unwrap();
                let target = target.trim_matches(['[', ']']).to_lowercase();
                let named = entries.iter().any(|entry| {
                    let bare = entry.trim_start_matches('.').to_lowercase();
                    let name = bare.split([':', ']']).next().unwrap().trim_end_matches('.');
                    bare.contains("::") || bare.starts_with('[')
                        || target.split(':').next().unwrap().trim_end_matches('.').ends_with(name)
                });
                prop_assert!(named, "{:?} let {} through", entries, uri);
            }
        }
    }
}

#[test]
fn minted_ids_are_valid_and_all_different() {
    let ids: Arc<std::sync::Mutex<std::collections::HashSet<TransactionId>>> = Arc::default();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let ids = ids.clone();
            std::thread::spawn(move || {
                for _ in 0..10_000 {
                    let id = TransactionId::mint();
                    assert!(is_valid(id.as_str().as_bytes()));
                    assert!(ids.lock().unwrap().insert(id));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
