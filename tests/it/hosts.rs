//! The hosts that receive the ID: a table for each kind of request, tested through the layer.

use http::{Request, Response};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_transaction_id::{AllowedHosts, InjectTransactionIdLayer, TransactionIdScope};

use crate::support::{Never, story};

/// Sends `request` through the layer in a scope `mine`. Returns the header lines that were sent.
async fn sent(hosts: &AllowedHosts, request: Request<()>) -> Vec<String> {
    let client = ServiceBuilder::new()
        .layer(InjectTransactionIdLayer::new(hosts.clone()))
        .service_fn(async |request: Request<()>| {
            let lines = request.headers().get_all("x-transaction-id").iter();
            let lines: Vec<_> = lines.map(|line| line.to_str().unwrap().to_owned()).collect();
            Ok::<_, Never>(Response::new(lines))
        });
    let scope = TransactionIdScope::new("mine".parse().unwrap());
    scope.bind(client.oneshot(request)).await.unwrap().into_body()
}

fn request(uri: &str, host: Option<&str>) -> Request<()> {
    let request = Request::builder().uri(uri);
    let request = match host {
        Some(host) => request.header("host", host),
        None => request,
    };
    request.body(()).unwrap()
}

#[test]
fn the_parsed_host_decides() {
    let exact = &["example.com"][..];
    let suffix = &[".example.com"][..];
    let both = &["example.com", ".example.com"][..];
    let v4 = &["10.0.0.7"][..];
    let v6 = &["[::1]"][..];
    let bare_v6 = &["::1"][..];
    let port = &["example.com:8443", "[::1]:8080"][..];
    let https = &["example.com:443"][..];
    let http = &["example.com:80"][..];
    let table: &[(&[&str], &str, Option<&str>, bool)] = &[
        (exact, "http://example.com/", None, true),
        (exact, "http://EXAMPLE.com:8443/", None, true),
        (exact, "http://example.com./", None, true),
        (&["Example.COM."], "http://example.com/", None, true),
        (exact, "http://notexample.com/", None, false),
        (exact, "http://example.com.evil.test/", None, false),
        (exact, "http://evil.test/?u=example.com", None, false),
        (exact, "http://evil.test/http://example.com", None, false),
        (exact, "http://example.com@evil.test/", None, false),
        (exact, "http://example.com:80@evil.test/", None, false),
        (exact, "http://evil.test@example.com/", None, true),
        (exact, "http://api.example.com/", None, false),
        (suffix, "http://api.example.com/", None, true),
        (suffix, "http://a.b.EXAMPLE.com/", None, true),
        (suffix, "http://example.com/", None, false),
        (suffix, "http://notexample.com/", None, false),
        (suffix, "http://..example.com/", None, false),
        (both, "http://example.com/", None, true),
        (v4, "http://10.0.0.7:8080/", None, true),
        (v4, "http://110.0.0.7/", None, false),
        (v6, "http://[::1]:8080/", None, true),
        (v6, "http://[0:0:0:0:0:0:0:1]/", None, true),
        (bare_v6, "http://[::1]/", None, true),
        (v6, "http://[::2]/", None, false),
        (port, "http://example.com:8443/", None, true),
        (port, "http://example.com/", None, false),
        (port, "http://[::1]:8080/", None, true),
        (port, "http://[::1]/", None, false),
        (https, "https://example.com/", None, true),
        (https, "http://example.com/", None, false),
        (http, "http://example.com/", None, true),
        (http, "https://example.com/", None, false),
        // If the URI has no authority, the `Host` header decides.
        (exact, "/path", Some("example.com"), true),
        (exact, "/path", Some("example.com:8080"), true),
        (exact, "/path", Some("evil.test"), false),
        (exact, "/path", Some("example.com@evil.test"), false),
        (exact, "/path", Some("evil.test@example.com"), false),
        // The host after the `@` is as long as the listed name.
        (exact, "/path", Some("example.com@evil.test.x"), false),
        // The text after the host is no port.
        (exact, "/path", Some("example.com:80x"), false),
        (exact, "/path", Some("example.com:+80"), false),
        (exact, "/path", Some("example.com:80@evil.test.x"), false),
        (exact, "/path", Some("example.com:"), true),
        (exact, "/path", Some("éxample.com"), false),
        (v6, "/path", Some("[::1]8080"), false),
        (v6, "/path", Some("[::1]:8080"), true),
        (port, "/path", Some("example.com:8443"), true),
        (port, "/path", Some("example.com"), false),
        (port, "other://example.com/", None, false),
        (exact, "/path", None, false),
        // If the URI has an authority, the `Host` header does not count.
        (exact, "http://evil.test/", Some("example.com"), false),
        (exact, "http://example.com/", Some("evil.test"), true),
    ];
    story(|_| async move {
        for (rules, uri, host, allowed) in table {
            let hosts = AllowedHosts::only(*rules).unwrap();
            let lines = sent(&hosts, request(uri, *host)).await;
            assert_eq!(lines, vec!["mine"; usize::from(*allowed)], "{rules:?} {uri} {host:?}");
            // reqwest has its own URL parser. The decisions must be equal.
            if let Ok(url) = reqwest::Url::parse(uri) {
                assert_eq!(hosts.allows_url(&url), *allowed, "{rules:?} {uri}");
            }
            assert_eq!(sent(&AllowedHosts::any(), request(uri, *host)).await, ["mine"], "{uri}");
        }

        let mut two_hosts = request("/path", Some("example.com"));
        two_hosts.headers_mut().append("host", "evil.test".parse().unwrap());
        assert!(sent(&AllowedHosts::only(exact).unwrap(), two_hosts).await.is_empty());
    });
}

#[test]
fn a_list_with_an_entry_that_is_no_host_is_refused_by_name() {
    let not_hosts = [
        "ftp://example.com",
        "https://",
        "https://*.example.com",
        "https://.example.com",
        "example.com/",
        " example.com",
        "",
        ".",
        "*.example.com",
        "a b",
        "example.com:x",
        "..com",
        "example.com:+80",
        "10.0.0.0/8",
        // A URL reads these as addresses, but an address is written in another way.
        "10.0.0.7.",
        "127.1",
        "2130706433",
        // A suffix covers names only. No address is below a suffix, even if its text ends with it.
        ".0.0.7",
        ".10.0.0.7",
        ".1",
        ".0x1",
    ];
    for entry in not_hosts {
        let error = AllowedHosts::only(["example.com", entry]).unwrap_err();
        assert_eq!(error.entry(), entry);
        assert!(error.to_string().starts_with(&format!("{entry:?} is no host")), "{error}");
    }
    // Configuration files often have whole URLs. The error names the part that the list accepts.
    for (entry, write) in [
        ("https://example.com/api", "example.com"),
        ("http://example.com:8080?a", "example.com:8080"),
        ("https://user@[::1]:8443", "[::1]:8443"),
    ] {
        let error = AllowedHosts::only([entry]).unwrap_err();
        assert_eq!(error.entry(), entry);
        assert!(error.to_string().ends_with(&format!("write {write:?}")), "{error}");
        // `unwrap` and `main` print the `Debug` form, so it is the same sentence.
        assert_eq!(format!("{error:?}"), error.to_string());
    }
    let empty = AllowedHosts::only::<[&str; 0]>([]).unwrap_err();
    assert_eq!(empty.entry(), "");
    assert!(empty.to_string().contains("empty"), "{empty}");
}

#[test]
fn an_origin_means_its_host_and_its_port() {
    let hosts = ["https://Kitchen.internal:8443", "http://grill.internal/", "HTTPS://[::1]"];
    let hosts = AllowedHosts::only(hosts).unwrap();
    for (host, port, allowed) in [
        ("kitchen.internal", 8443, true),
        ("kitchen.internal", 443, false),
        ("grill.internal", 80, true),
        ("grill.internal", 443, false),
        ("[::1]", 443, true),
        ("::1", 80, false),
    ] {
        assert_eq!(hosts.allows(host, Some(port)), allowed, "{host} {port}");
    }
}

#[test]
fn to_other_hosts_our_id_is_taken_off_and_everything_else_stays() {
    story(|_| async {
        let hosts = AllowedHosts::only(["example.com"]).unwrap();
        // A handler that forwards all headers of its own request.
        let forward = |lines: &[&str]| {
            let mut request = request("http://evil.test/", None);
            for line in lines {
                request.headers_mut().append("x-transaction-id", line.parse().unwrap());
            }
            request
        };
        assert!(sent(&hosts, forward(&["mine"])).await.is_empty());
        assert!(sent(&hosts, forward(&["mine", "mine"])).await.is_empty());
        assert_eq!(sent(&hosts, forward(&["theirs"])).await, ["theirs"]);
        assert_eq!(sent(&hosts, forward(&["a b", "mine", "theirs"])).await, ["a b", "theirs"]);
    });
}

#[test]
fn to_an_allowed_host_a_valid_header_is_kept_and_any_other_is_replaced() {
    story(|_| async {
        let hosts = AllowedHosts::only(["example.com"]).unwrap();
        for (lines, leaves) in [
            (&["theirs"][..], &["theirs"][..]),
            (&["not valid"], &["mine"]),
            (&["one", "another"], &["mine"]),
            (&["undefined"], &["mine"]),
        ] {
            let mut request = request("http://example.com/", None);
            for line in lines {
                request.headers_mut().append("x-transaction-id", line.parse().unwrap());
            }
            assert_eq!(sent(&hosts, request).await, leaves, "of {lines:?}");
        }
    });
}

#[test]
fn a_service_is_asked_for_any_kind_of_request_at_once() {
    fn serves<R, S: Service<R>>(_: &S) {}
    let client = ServiceBuilder::new()
        .layer(InjectTransactionIdLayer::new(AllowedHosts::any()))
        .service(reqwest::Client::new());
    serves::<reqwest::Request, _>(&client);
}
