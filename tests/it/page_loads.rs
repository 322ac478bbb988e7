//! The ID of the response that delivered a page, for the scripts of the page.

use axum::Router;
use axum::response::AppendHeaders;
use axum::routing::get;
use http::{HeaderName, Request, Response, Version};
use tower::{ServiceBuilder, ServiceExt};
use tower_transaction_id::BindTransactionIdLayer;

use crate::support::{Never, echo, get_with_ids, header_lines, raw, serve, story};

#[test]
fn the_metric_of_the_id_follows_those_of_the_service_on_every_answer() {
    let metrics = async || {
        AppendHeaders([
            ("server-timing", "db;dur=53"),
            ("server-timing", "transaction_id;desc=\"other\", cache;desc=\"hit\""),
        ])
    };
    story(|_| async move {
        let app = Router::new().route("/", get(metrics)).route("/plain", get(async || "x"));
        let layer = BindTransactionIdLayer::new();
        let silent = serve(app.clone().layer(layer.clone())).await;
        assert_eq!(header_lines(&get_with_ids(silent, &[b"mine"]).await, "server-timing").len(), 2);

        let layer = layer.server_timing(true);
        // Two layers that share an ID add one metric.
        let address = serve(app.layer(layer.clone()).layer(layer)).await;
        let response = get_with_ids(address, &[b"a=/+.:@~_-z"]).await;
        assert_eq!(
            header_lines(&response, "server-timing"),
            [
                "db;dur=53",
                "transaction_id;desc=\"other\", cache;desc=\"hit\"",
                "transaction_id;desc=\"a=/+.:@~_-z\"",
            ]
        );
        // A generated ID, and a status that no handler answered.
        let head =
            b"GET /none HTTP/1.1\r\nhost: a\r\nx-transaction-id: <b>\r\nconnection: close\r\n\r\n";
        let response = raw(address, head).await;
        assert!(response.starts_with("HTTP/1.1 404"), "{response}");
        let metric = format!("transaction_id;desc=\"{}\"", echo(&response));
        assert_eq!(header_lines(&response, "server-timing"), [metric]);
    });
}

#[test]
fn layers_of_two_headers_have_a_metric_each_and_the_outer_one_comes_last() {
    story(|_| async {
        let name = HeaderName::from_static("x-request-id");
        let layer = BindTransactionIdLayer::new().server_timing(true);
        let service = ServiceBuilder::new()
            .layer(layer.clone())
            .layer(layer.clone().header_name(name))
            // The same ID as the outermost layer, and not its last word.
            .layer(layer)
            .service_fn(async |_: Request<()>| Ok::<_, Never>(Response::new(())));
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let request = Request::builder()
                .version(version)
                .header("x-transaction-id", "outer")
                .header("x-request-id", "inner");
            let response = service.clone().oneshot(request.body(()).unwrap()).await.unwrap();
            let metrics: Vec<_> = response.headers().get_all("server-timing").iter().collect();
            let shown: Vec<_> = metrics.iter().map(|m| m.to_str().unwrap()).collect();
            let [outer, inner] =
                ["outer", "inner"].map(|id| format!("transaction_id;desc=\"{id}\""));
            assert_eq!(shown, [&outer, &inner, &outer]);
            // An ID does not repeat, so HPACK must not keep it in the table of the connection.
            assert!(metrics.iter().all(|m| m.is_sensitive() == (version == Version::HTTP_2)));
        }
    });
}
