//! The layer does not change the length, the end and the trailers of a body.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use tower_transaction_id::BindTransactionIdLayer;

use crate::support::{Never, header_lines, raw, serve, story};

fn app() -> Router {
    async fn with_trailers() -> Body {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "7".parse().unwrap());
        let frames = [
            Ok::<_, Never>(http_body::Frame::data(Bytes::from_static(b"seven"))),
            Ok(http_body::Frame::trailers(trailers)),
        ];
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }
    Router::new()
        .route("/five", get(async || "12345"))
        .route("/empty", get(async || StatusCode::NO_CONTENT))
        .route("/trailers", get(with_trailers))
}

#[test]
fn length_head_no_content_and_trailers_are_as_without_the_layer() {
    story(|_| async {
        let bare = serve(app()).await;
        let bound = serve(app().layer(BindTransactionIdLayer::new())).await;
        let requests = [
            ("GET", "/five", vec!["5"]),
            ("HEAD", "/five", vec!["5"]),
            ("GET", "/empty", vec![]),
            ("GET", "/trailers", vec![]),
        ];
        for (method, path, content_length) in requests {
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close\r\n\r\n"
            );
            let plain = raw(bare, head.as_bytes()).await;
            let ours = raw(bound, head.as_bytes()).await;
            assert_eq!(header_lines(&ours, "content-length"), content_length, "{method} {path}");
            // Apart from the echo and the date, the two responses are equal, bytes of the body included.
            let without = |response: &str| {
                let lines = response.lines().filter(|line| {
                    !line.starts_with("x-transaction-id: ") && !line.starts_with("date: ")
                });
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(without(&ours), without(&plain), "{method} {path}");
        }

        let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
        let response = http2.get(format!("http://{bound}/trailers")).send().await.unwrap();
        let body = http::Response::from(response).into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-checksum"], "7");
        assert_eq!(body.to_bytes(), "seven");
    });
}
