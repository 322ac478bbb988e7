//! jsonrpsee: the layer is an HTTP middleware. A call over HTTP has the ID of its request. For the calls of a
//! WebSocket, see `examples/jsonrpsee`.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode};
use http_body_util::Full;
use jsonrpsee::RpcModule;
use jsonrpsee::server::Server;
use jsonrpsee::types::ErrorObject;
use tower::ServiceBuilder;

use super::{Host, Setup, Url};
use crate::shop::Answer;

pub(super) struct Jsonrpsee;

const CALLS: [&str; 8] =
    ["taste", "meet", "wait", "burn", "delegate", "fail", "complain", "introduce"];

impl Host for Jsonrpsee {
    fn name(&self) -> &'static str {
        "jsonrpsee"
    }

    fn lacks(&self) -> &'static [(&'static str, &'static str)] {
        const WHOLE: &str = "an answer is one JSON value";
        const OK: &str = "a failed call is answered with 200";
        &[
            ("an_event_of_a_streamed_body_has_the_id", WHOLE),
            ("a_body_is_dropped_under_its_id_when_the_client_leaves", WHOLE),
            ("a_failure_is_reported_once", OK),
        ]
    }

    fn start(&self, setup: Setup) -> BoxFuture<'static, SocketAddr> {
        Box::pin(async {
            let mut methods = RpcModule::new(setup.shop);
            for wish in CALLS {
                let register = methods.register_async_method(wish, async |_, shop, _| {
                    match shop.order(wish, None).await {
                        Answer::Failed => Err(ErrorObject::owned(-32000, "not today", None::<()>)),
                        _ => Ok("here you are"),
                    }
                });
                register.unwrap();
            }
            let http = ServiceBuilder::new().layer(setup.layer);
            let server =
                Server::builder().set_http_middleware(http).build("127.0.0.1:0").await.unwrap();
            let address = server.local_addr().unwrap();
            tokio::spawn(server.start(methods).stopped());
            address
        })
    }

    fn unknown(&self) -> StatusCode {
        StatusCode::OK
    }

    fn request(&self, wish: &str) -> Request<Full<Bytes>> {
        let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{wish}"}}"#);
        Request::post("/")
            .header("host", "shop.test")
            .header("content-type", "application/json")
            .extension(Url("http://shop.test/".into()))
            .body(Full::from(call))
            .expect("a call makes a request")
    }

    fn shows_headers(&self) -> bool {
        false
    }
}
