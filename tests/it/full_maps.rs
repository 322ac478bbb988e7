//! Full header maps. `http` accepts 24,576 names, and `insert` reserves room for one more even if the
//! name is present.

use http::{HeaderMap, Request, Response};
use tower::{ServiceBuilder, ServiceExt};
use tower_transaction_id::{BindTransactionIdLayer, TransactionId, Trust};

use crate::support::{Never, echoed, story};

/// The header lines with an ID, for each case.
const LINES: [&[&str]; 5] = [&[], &["one"], &["<invalid>"], &["one", "one"], &["one", "two"]];

/// A map that accepts no further name, and that contains `lines`.
fn full(lines: &[&str]) -> HeaderMap {
    const MOST: usize = 24_576;
    let mut headers = HeaderMap::with_capacity(MOST);
    for line in lines {
        headers.append("x-transaction-id", line.parse().unwrap());
    }
    for n in headers.keys_len()..MOST {
        headers.append(format!("x-{n}").parse::<http::HeaderName>().unwrap(), n.into());
    }
    assert_eq!(headers.keys_len(), MOST);
    assert!(headers.try_insert("x-one-more", 1.into()).is_err());
    headers
}

#[test]
fn behind_the_layer_a_full_map_has_one_line_as_any_other() {
    story(|_| async {
        for trust in [Trust::always(), Trust::never()] {
            for lines in LINES {
                let shown = format!("{lines:?}, {trust:?}");
                let service = ServiceBuilder::new()
                    .layer(BindTransactionIdLayer::new().trust(trust.clone()))
                    .service_fn(async |request: Request<()>| {
                        let current = TransactionId::current().unwrap();
                        assert_eq!(current, echoed(request.headers()).as_str());
                        assert!(request.headers().keys_len() >= 24_576 - 1, "the others are left");
                        Ok::<_, Never>(Response::new(()))
                    });
                let mut request = Request::new(());
                *request.headers_mut() = full(lines);
                let response = service.oneshot(request).await.unwrap();
                let id = echoed(response.headers());
                let is_kept = matches!(lines, ["one"] | ["one", "one"])
                    && format!("{trust:?}") == "Trust::always()";
                assert_eq!(id == "one", is_kept, "{shown}");
                assert!(id == "one" || id.len() == 32, "{shown}");
            }
        }
    });
}

#[test]
fn a_full_response_has_one_line_as_any_other() {
    story(|_| async {
        for lines in LINES {
            let service = ServiceBuilder::new()
                .layer(BindTransactionIdLayer::new())
                // The request is already bound here, and this layer sets the header as well.
                .layer(BindTransactionIdLayer::new())
                .service_fn(async |_: Request<()>| {
                    let mut response = Response::new(());
                    *response.headers_mut() = full(lines);
                    Ok::<_, Never>(response)
                });
            let mut request = Request::new(());
            request.headers_mut().insert("x-transaction-id", "mine".parse().unwrap());
            let response = service.oneshot(request).await.unwrap();
            assert_eq!(echoed(response.headers()), "mine", "{lines:?}");
            assert!(response.headers().keys_len() >= 24_576 - 1, "the others are left");
        }
    });
}

#[test]
fn a_full_response_keeps_its_other_lines_and_has_no_metric_of_the_id() {
    story(|_| async {
        let service = ServiceBuilder::new()
            .layer(BindTransactionIdLayer::new().server_timing(true))
            .service_fn(async |_: Request<()>| {
                let mut response = Response::new(());
                *response.headers_mut() = full(&["one"]);
                Ok::<_, Never>(response)
            });
        let request = Request::builder().header("x-transaction-id", "mine").body(()).unwrap();
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(echoed(response.headers()), "mine");
        assert!(!response.headers().contains_key("server-timing"));
        assert_eq!(response.headers().keys_len(), 24_576);
    });
}
