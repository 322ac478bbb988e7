//! aws-smithy-http-server, which runs the services that Smithy generates. The layer goes around the whole
//! service, so that the answers of its router have the ID, too.

use std::convert::Infallible;
use std::net::SocketAddr;

use aws_smithy_http_server::body::boxed;
use aws_smithy_http_server::protocol::rest_json_1::RestJson1;
use aws_smithy_http_server::protocol::rest_json_1::router::RestRouter;
use aws_smithy_http_server::routing::request_spec::{
    PathAndQuerySpec, PathSegment, PathSpec, QuerySpec, RequestSpec, UriSpec,
};
use aws_smithy_http_server::routing::{IntoMakeService, Route, RoutingService};
use aws_smithy_http_server::serve::serve;
use futures_util::future::BoxFuture;
use http::{Method, Request};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};

use super::respond::respond;
use super::{Host, Setup};

pub(super) struct AwsSmithy;

impl Host for AwsSmithy {
    fn name(&self) -> &'static str {
        "aws-smithy-http-server"
    }

    fn start(&self, setup: Setup) -> BoxFuture<'static, SocketAddr> {
        Box::pin(async {
            let shop = setup.shop;
            let order = service_fn(move |request: Request<Incoming>| {
                let shop = shop.clone();
                async move {
                    let wish = request.uri().path().trim_start_matches('/');
                    let answer = shop.order(wish, Some(request.headers())).await;
                    Ok::<_, Infallible>(respond(answer).map(boxed))
                }
            });
            // Generated code builds this router from the model.
            let path = PathSpec::from_vector_unchecked(vec![PathSegment::Label]);
            let path = PathAndQuerySpec::new(path, QuerySpec::from_vector_unchecked(Vec::new()));
            let path = RequestSpec::new(Method::GET, UriSpec::new(path));
            let router = RestRouter::from_iter([(path, Route::new(order))]);
            let generated = RoutingService::<_, RestJson1>::new(router);

            let service = ServiceBuilder::new().layer(setup.layer).service(generated);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(serve(listener, IntoMakeService::new(service)).into_future());
            address
        })
    }
}
