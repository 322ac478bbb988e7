//! The incoming values that are kept, and those that are replaced by a new ID, seen from a socket.

use axum::Router;
use axum::routing::get;
use http::{HeaderMap, HeaderValue};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tower_transaction_id::{
    BindTransactionIdLayer, MakeTransactionId, RequestHead, TransactionId, TransactionIdRule, Trust,
};
use uuid::Uuid;

use crate::claims::is_valid;
use crate::support::{capture, echo, get_with_ids, serve, story};

/// Captures an event, and responds with the header lines of the request.
async fn handler(headers: HeaderMap) -> String {
    capture("handled");
    let lines = headers.get_all("x-transaction-id").iter();
    lines.map(|line| line.to_str().unwrap()).collect::<Vec<_>>().join("|")
}

/// A case of `tests/conformance/cases.json`, which other servers are measured by as well.
struct Case {
    name: String,
    lines: Vec<Vec<u8>>,
    expect: String,
}

fn cases() -> Vec<Case> {
    // In the file, each character is a byte.
    let bytes = |text: &str| -> Vec<u8> {
        text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
    };
    let line = |line: &serde_json::Value| {
        let times = line["times"].as_u64().unwrap_or(1).try_into().unwrap();
        bytes(line["repeat"].as_str().or(line.as_str()).unwrap()).repeat(times)
    };
    let all: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../conformance/cases.json")).unwrap();
    all.iter()
        .map(|case| Case {
            name: case["name"].as_str().unwrap().to_owned(),
            lines: case["lines"].as_array().unwrap().iter().map(line).collect(),
            expect: case["expect"].as_str().unwrap().to_owned(),
        })
        .collect()
}

#[test]
#[cfg_attr(miri, ignore = "opens a socket")]
fn an_incoming_value_is_kept_byte_for_byte_or_replaced() {
    story(|sentry| async move {
        let app = Router::new().route("/", get(handler)).layer(BindTransactionIdLayer::new());
        let address = serve(app).await;
        let mut generated = HashSet::new();
        for Case { name, lines, expect } in cases() {
            let lines: Vec<_> = lines.iter().map(Vec::as_slice).collect();
            let response = get_with_ids(address, &lines).await;
            if expect == "never" && response.starts_with("HTTP/1.1 400") {
                // hyper refused the bytes, before any layer.
                continue;
            }
            assert!(response.starts_with("HTTP/1.1 200"), "{name} was answered {response}");
            let id = echo(&response);
            if expect == "kept" {
                assert_eq!(id.as_bytes(), lines[0].trim_ascii(), "{name}");
            } else {
                assert_eq!(id.len(), 32, "{name} became {id}");
                assert!(id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
                assert!(generated.insert(id.to_owned()), "{id} was generated twice");
            }
            let seen = response.split("\r\n\r\n").nth(1).unwrap();
            assert!(seen.contains(id), "the handler saw {seen}: {name}");
            assert!(!seen.contains('|'), "the handler saw more than one line, {seen}: {name}");
            assert_eq!(sentry.take(), [("handled".to_owned(), Some(id.to_owned()))]);
        }
    });
}

#[test]
fn the_cases_agree_with_the_rules_as_the_claims_write_them() {
    let (mut kept, mut refused) = (0, 0);
    for Case { name, lines, expect } in cases() {
        let [line] = &lines[..] else { continue };
        let is_valid = is_valid(line.trim_ascii());
        assert_eq!(is_valid, expect == "kept", "{name}");
        if is_valid { kept += 1 } else { refused += 1 }
    }
    assert!(kept >= 40 && refused >= 80, "the file has cases of both kinds: {kept}, {refused}");
}

#[test]
fn an_error_names_the_rule_and_the_length_but_never_the_value() {
    let too_long = "x".repeat(201);
    let rejected = [
        ("", TransactionIdRule::Length, 0),
        (too_long.as_str(), TransactionIdRule::Length, 201),
        ("secret value", TransactionIdRule::Bytes, 12),
        ("0-0", TransactionIdRule::Meaning, 3),
        ("secret..secret", TransactionIdRule::Path, 14),
        ("secret://secret", TransactionIdRule::Url, 15),
        ("Undefined", TransactionIdRule::Placeholder, 9),
    ];
    for (value, rule, len) in rejected {
        let error = value.parse::<TransactionId>().unwrap_err();
        assert_eq!((error.rule(), error.value_len()), (rule, len));
        let printed = format!("{error} {error:?}");
        assert!(printed.contains(&len.to_string()), "{printed}");
        assert!(!printed.contains("secret") && !printed.contains("xxx"), "{printed}");
    }
}

#[test]
fn an_id_is_the_same_in_all_its_forms() {
    let id: TransactionId = "Order:7/b".parse().unwrap();
    assert_eq!(id.to_string(), "Order:7/b");
    assert_eq!(format!("{id:>12}"), "   Order:7/b");
    assert_eq!(format!("{id:?}"), r#"TransactionId("Order:7/b")"#);
    assert_eq!(id.header_value(), "Order:7/b");
    assert_eq!(TransactionId::try_from(id.header_value()).unwrap(), id);
    assert_eq!(TransactionId::try_from(HeaderValue::from(id.clone())).unwrap(), id);
    assert_eq!(id, "Order:7/b");
    assert_ne!(id, "order:7/b");
    assert_eq!(id, *"Order:7/b");
    assert_ne!(id, *"order:7/b");
    assert_eq!(AsRef::<str>::as_ref(&id), "Order:7/b");

    // A value that HTTP/2 marked as sensitive prints like any other.
    let mut sensitive = HeaderValue::from_static("7-sensitive");
    sensitive.set_sensitive(true);
    let id = TransactionId::try_from(sensitive).unwrap();
    assert_eq!(format!("{:?}", id.header_value()), r#""7-sensitive""#);

    let uuid = Uuid::from_u128(0x7e57_d004_2b97_4e7a_b45f_5387_3677_91cd);
    assert_eq!(TransactionId::try_from(uuid).unwrap(), "7e57d0042b974e7ab45f5387367791cd");
    let nil = Uuid::nil();
    let error = nil.simple().to_string().parse::<TransactionId>().unwrap_err();
    assert_eq!(TransactionId::try_from(nil), Err(error));
}

struct FromQuery;

impl MakeTransactionId for FromQuery {
    fn make(&self, request: RequestHead<'_>) -> Option<TransactionId> {
        request.uri().query()?.parse().ok()
    }
}

/// The clones share one count, as in tower-http's documentation.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU32>);

impl tower_http::request_id::MakeRequestId for Counter {
    fn make_request_id<B>(
        &mut self,
        _: &http::Request<B>,
    ) -> Option<tower_http::request_id::RequestId> {
        let value = match self.0.fetch_add(1, Ordering::Relaxed) + 1 {
            3 => HeaderValue::from_static("not valid"),
            4 => return None,
            n => HeaderValue::from_str(&format!("count-{n}")).unwrap(),
        };
        Some(value.into())
    }
}

#[test]
#[cfg_attr(miri, ignore = "opens a socket")]
fn generators_of_ones_own_and_of_tower_http_are_held_to_the_rules() {
    story(|_| async {
        let layer = BindTransactionIdLayer::new().make_id(FromQuery).trust(Trust::always());
        let app = Router::new().route("/", get(handler)).layer(layer);
        let address = serve(app).await;
        let client = reqwest::Client::new();
        let get = async |path: &str| {
            let response = client.get(format!("http://{address}{path}")).send().await.unwrap();
            crate::support::echoed(response.headers())
        };
        assert_eq!(get("/?mine").await, "mine");
        assert_eq!(get("/").await.len(), 32);

        let shop = |_: RequestHead<'_>| format!("shop-{}", TransactionId::generate()).parse().ok();
        let layer = BindTransactionIdLayer::new().make_id(shop);
        let app = Router::new().route("/", axum::routing::get(handler)).layer(layer);
        assert!(echo(&get_with_ids(serve(app).await, &[]).await).starts_with("shop-"));

        let layer = BindTransactionIdLayer::new().make_request_id(Counter::default());
        let app = Router::new().route("/", axum::routing::get(handler)).layer(layer);
        let address = serve(app).await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(echo(&get_with_ids(address, &[]).await).to_owned());
        }
        assert_eq!(ids[..2], ["count-1", "count-2"]);
        assert_eq!((ids[2].len(), ids[3].len()), (32, 32));
        assert_eq!(ids[4], "count-5");
    });
}

#[test]
fn an_id_is_serialised_as_its_text_and_read_by_its_rules() {
    let id: TransactionId = "Order:7/b".parse().unwrap();
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(json, r#""Order:7/b""#);
    // From borrowed text, from an owned value, from text with an escape, and from a reader.
    assert_eq!(serde_json::from_str::<TransactionId>(&json).unwrap(), id);
    let value = serde_json::to_value(&id).unwrap();
    assert_eq!(serde_json::from_value::<TransactionId>(value).unwrap(), id);
    assert_eq!(serde_json::from_str::<TransactionId>(r#""Order:7\u002fb""#).unwrap(), id);
    assert_eq!(serde_json::from_reader::<_, TransactionId>(json.as_bytes()).unwrap(), id);
    // As the key of a map, and as an `Option`.
    let orders = BTreeMap::from([(id.clone(), Some(id.clone())), ("8".parse().unwrap(), None)]);
    let json = serde_json::to_string(&orders).unwrap();
    assert_eq!(json, r#"{"8":null,"Order:7/b":"Order:7/b"}"#);
    let read: BTreeMap<TransactionId, Option<TransactionId>> = serde_json::from_str(&json).unwrap();
    assert_eq!(read, orders);

    for refused in ["", "secret value", "secret..secret", "secret://secret", "0-0", "Undefined"] {
        let why = refused.parse::<TransactionId>().unwrap_err().to_string();
        let value = serde_json::Value::from(refused);
        let error = serde_json::from_value::<TransactionId>(value).unwrap_err().to_string();
        assert_eq!(error, why);
        let json = serde_json::to_string(refused).unwrap();
        let error = serde_json::from_str::<TransactionId>(&json).unwrap_err().to_string();
        assert!(error.starts_with(&why) && !error.contains("secret"), "{error}");
    }
    let error = serde_json::from_str::<TransactionId>("7").unwrap_err().to_string();
    assert!(error.contains("expected a transaction ID"), "{error}");
}

#[test]
fn the_id_of_an_answer_is_read_by_the_rules_of_a_request() {
    let name = http::HeaderName::from_static("request-id");
    let read = |lines: &[&'static str]| {
        let mut headers = http::HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_static(line));
        }
        headers.append("x-transaction-id", HeaderValue::from_static("another-name"));
        TransactionId::from_headers(&headers, &name).map(|id| id.to_string())
    };
    assert_eq!(read(&["req_8fJ2"]).as_deref(), Some("req_8fJ2"));
    assert_eq!(read(&["req_8fJ2", "req_8fJ2"]).as_deref(), Some("req_8fJ2"));
    for none in [&[][..], &[""], &["two words"], &["null"], &["one", "two"]] {
        assert_eq!(read(none), None, "{none:?}");
    }
}
