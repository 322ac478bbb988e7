//! The answers of the shop as responses of the crate `http`, for the hosts that take any body.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::StreamExt;
use http::StatusCode;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;

use crate::shop::{Answer, Chunks};

pub(super) type Response = http::Response<BoxBody<Bytes, Infallible>>;

pub(super) fn respond(answer: Answer) -> Response {
    let status = status(&answer);
    let body = match answer {
        Answer::Streamed(chunks) => {
            BodyExt::boxed(StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))))
        }
        _ => BodyExt::boxed(Empty::new()),
    };
    http::Response::builder().status(status).body(body).expect("a status makes a response")
}

pub(super) fn status(answer: &Answer) -> StatusCode {
    match answer {
        Answer::Served | Answer::Streamed(_) => StatusCode::OK,
        Answer::Failed => StatusCode::SERVICE_UNAVAILABLE,
        Answer::Unknown => StatusCode::NOT_FOUND,
    }
}

/// The chunks as a stream that can fail.
pub(super) fn fallible<E>(
    chunks: Chunks,
) -> impl futures_util::Stream<Item = Result<Bytes, E>> + Send + Sync {
    chunks.map(Ok)
}
