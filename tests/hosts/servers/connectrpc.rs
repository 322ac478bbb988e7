//! connectrpc: `connectrpc::Server` takes no layer. `ConnectRpcService` is a Tower service, which the layer
//! wraps, and which hyper or axum serves.

use std::net::SocketAddr;

use buffa_types::google::protobuf::StringValue;
use bytes::Bytes;
use connectrpc::handler::{handler_fn, streaming_handler_fn};
use connectrpc::{
    ConnectError, ConnectRpcService, RequestContext, Response, Router, ServiceResult, ServiceStream,
};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::Full;
use tower::ServiceBuilder;

use super::{Host, Setup, Url, hyper};
use crate::shop::{Answer, Shop};

pub(super) struct ConnectRpc;

const CALLS: [&str; 8] =
    ["taste", "meet", "wait", "burn", "delegate", "fail", "complain", "introduce"];
const STREAMS: [&str; 2] = ["stream", "drip"];

async fn call(shop: Shop, wish: &str, context: RequestContext) -> ServiceResult<StringValue> {
    match shop.order(wish, Some(context.headers())).await {
        Answer::Failed => Err(ConnectError::unavailable("not today")),
        _ => Response::ok(StringValue::default()),
    }
}

async fn stream(
    shop: Shop,
    wish: &str,
    context: RequestContext,
) -> ServiceResult<ServiceStream<StringValue>> {
    let Answer::Streamed(chunks) = shop.order(wish, Some(context.headers())).await else {
        return Err(ConnectError::not_found(wish));
    };
    Response::stream_ok(chunks.map(|chunk| {
        Ok(StringValue { value: String::from_utf8_lossy(&chunk).into_owned(), ..<_>::default() })
    }))
}

impl Host for ConnectRpc {
    fn name(&self) -> &'static str {
        "connectrpc"
    }

    fn start(&self, setup: Setup) -> BoxFuture<'static, SocketAddr> {
        // Generated code registers the methods of a service.
        let mut router = Router::new();
        for wish in CALLS {
            let shop = setup.shop.clone();
            let handler =
                handler_fn(move |context, _: StringValue| call(shop.clone(), wish, context));
            router = router.route("shop.v1.Shop", wish, handler);
        }
        for wish in STREAMS {
            let shop = setup.shop.clone();
            let handler = streaming_handler_fn(move |context, _: StringValue| {
                stream(shop.clone(), wish, context)
            });
            router = router.route_server_stream("shop.v1.Shop", wish, handler);
        }
        let service =
            ServiceBuilder::new().layer(setup.layer).service(ConnectRpcService::new(router));
        Box::pin(hyper::serve(service))
    }

    fn request(&self, wish: &str) -> Request<Full<Bytes>> {
        // An empty message, and for a stream its envelope.
        let (kind, message) = if STREAMS.contains(&wish) {
            ("application/connect+proto", Bytes::from_static(&[0; 5]))
        } else {
            ("application/proto", Bytes::new())
        };
        let path = format!("/shop.v1.Shop/{wish}");
        let url = Url(format!("http://shop.test{path}"));
        Request::post(path)
            .header("host", "shop.test")
            .header("content-type", kind)
            .header("connect-protocol-version", "1")
            .extension(url)
            .body(Full::new(message))
            .expect("a wish fits into a path")
    }
}
