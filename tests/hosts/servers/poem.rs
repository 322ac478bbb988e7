//! poem has a request type of its own, so no Tower layer of HTTP requests fits into it. A middleware calls the
//! endpoint inside the layer, and passes the head of the request through it.

use std::convert::Infallible;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use http_body_util::combinators::BoxBody;
use poem::listener::TcpAcceptor;
use poem::web::{Data, Path};
use poem::{
    Body, Endpoint, EndpointExt, IntoResponse, Middleware, Request, Response, Route, Server, get,
    handler,
};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_transaction_id::BindTransactionIdLayer;

use super::respond::{fallible, status};
use super::{Host, Setup};
use crate::shop::{Answer, Shop};

pub(super) struct Poem;

/// Runs each request inside the layer: `app.with(BindTransactionId(layer))`, added last.
struct BindTransactionId(BindTransactionIdLayer);

struct Bound<E> {
    endpoint: E,
    layer: BindTransactionIdLayer,
}

impl<E: Endpoint> Middleware<E> for BindTransactionId {
    type Output = Bound<E>;

    fn transform(&self, endpoint: E) -> Bound<E> {
        Bound { endpoint, layer: self.0.clone() }
    }
}

impl<E: Endpoint> Endpoint for Bound<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let mut head = http::Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.version_mut() = request.version();
        *head.headers_mut() = request.headers().clone();
        *head.extensions_mut() = request.extensions().clone();

        let mut request = Some(request);
        let endpoint = service_fn(|head: http::Request<()>| {
            let mut request = request.take().expect("the layer calls its service once");
            *request.headers_mut() = head.into_parts().0.headers;
            async {
                // An error becomes a response inside, so that the response has the ID.
                let response = self.endpoint.get_response(request).await;
                Ok::<_, Infallible>(http::Response::<BoxBody<_, _>>::from(response))
            }
        });
        let service = ServiceBuilder::new().layer(&self.layer).service(endpoint);
        let Ok(response) = service.oneshot(head).await;
        let (head, body) = response.into_parts();
        let mut response = Response::from(Body::from(BoxBody::new(body)));
        response.set_status(head.status);
        response.set_version(head.version);
        *response.headers_mut() = head.headers;
        *response.extensions_mut() = head.extensions;
        Ok(response)
    }
}
#[handler]
async fn order(Data(shop): Data<&Shop>, Path(wish): Path<String>, request: &Request) -> Response {
    let answer = shop.order(&wish, Some(request.headers())).await;
    let status = status(&answer);
    let response = match answer {
        Answer::Streamed(chunks) => {
            Body::from_bytes_stream(fallible::<std::io::Error>(chunks)).into_response()
        }
        _ => ().into_response(),
    };
    response.with_status(status).into_response()
}

impl Host for Poem {
    fn name(&self) -> &'static str {
        "poem"
    }

    fn lacks(&self) -> &'static [(&'static str, &'static str)] {
        // Its server polls the connection once more after the client left, and so waits for the handler.
        const STAYS: &str = "poem keeps the handler of a client that left";
        &[
            ("a_handler_is_dropped_under_its_id_when_the_client_leaves", STAYS),
            ("a_body_is_dropped_under_its_id_when_the_client_leaves", STAYS),
        ]
    }

    fn start(&self, setup: Setup) -> BoxFuture<'static, SocketAddr> {
        Box::pin(async {
            let app = Route::new()
                .at("/:wish", get(order))
                .data(setup.shop)
                .with(BindTransactionId(setup.layer));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
            tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
            address
        })
    }
}
