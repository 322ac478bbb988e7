//! Some clients' errors quote a URL in full. Sentry must not receive its secrets.

use std::fmt;

use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, Failures, InjectTransactionIdLayer, TransactionId,
    TransactionIdScope,
};

use crate::support::{capture, story};

#[derive(Clone, Debug)]
struct Unreachable(String);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

#[test]
fn the_query_of_a_url_is_no_part_of_an_event_whatever_stands_before_it() {
    let quote: [fn(&str) -> String; 6] = [
        |url| format!("cannot reach {url} today"),
        |url| format!("cannot reach \"{url}\" today"),
        |url| format!("cannot reach `{url}` today"),
        |url| format!("cannot reach ({url}), today"),
        |url| format!("cannot reach <{url}> today"),
        // Some clients escape the URL.
        |url| format!("cannot reach {url:?} today"),
    ];
    story(|sentry| async move {
        for url in [
            r#"http://kitchen.internal/a"b?token=secret"#,
            r#"http://kitchen.internal/a"?b=1&token=secret"#,
            r#"http://kitchen.internal/a?b="&token=secret"#,
            "http://kitchen.internal/a?b=`1`&token=secret",
            "http://kitchen.internal/a`b?token=secret",
            "http://kitchen.internal/a{b}?token=secret",
            "http://kitchen.internal/a?{b}&token=secret",
            "http://kitchen.internal/a<b>?token=secret",
            "http://kitchen.internal/a?b=<>&token=secret",
            "http://kitchen.internal/a|b^c?d='e'&token=secret",
            "http://user`:secret@kitchen.internal/a",
            // A URL without a host.
            "file:///kitchen?token=secret",
            // These are no URLs.
            "http://[kitchen.internal/a?token=secret",
            "http://?token=secret",
            "://user:secret@kitchen.internal/a",
        ] {
            for quote in quote {
                let error = Unreachable(quote(url));
                let text = &error.0;
                let breaks = async |_: Request<()>| Err::<Response<()>, _>(error.clone());
                let client = InjectTransactionIdLayer::new(AllowedHosts::any());
                let client =
                    client.capture_failures(Failures::new()).read_errors(|e: &Unreachable| e);
                let client = ServiceBuilder::new().layer(client).service_fn(breaks);
                let request = Request::get("http://kitchen.internal/a").body(()).unwrap();
                let call = async {
                    client.oneshot(request).await.unwrap_err();
                    capture("after");
                };
                TransactionIdScope::new(TransactionId::generate()).bind(call).await;

                let server = BindTransactionIdLayer::new()
                    .capture_failures(Failures::new())
                    .read_errors(|e: &Unreachable| e);
                let server = ServiceBuilder::new().layer(server).service_fn(breaks);
                server.oneshot(Request::get("/a").body(()).unwrap()).await.unwrap_err();

                let events = sentry.take_events();
                let [of_call, after, of_request] = &events[..] else { panic!("{events:?}") };
                let [crumb] = &after.breadcrumbs.values[..] else { panic!("{after:?}") };
                let shown = [
                    of_call.exception[0].value.as_deref(),
                    of_request.exception[0].value.as_deref(),
                    crumb.data["reason"].as_str(),
                ];
                for shown in shown.map(Option::unwrap) {
                    assert!(!shown.contains("secret"), "{shown:?} of {text:?}");
                    // The text around the URL is kept.
                    assert!(shown.starts_with("cannot reach "), "{shown:?} of {text:?}");
                    assert!(shown.ends_with(" today"), "{shown:?} of {text:?}");
                }
                assert!(!format!("{events:?}").contains("secret"), "{events:?}");
            }
        }
    });
}
