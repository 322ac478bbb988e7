//! salvo: `layer.compat()` opens the scope and handles the request outside of it, because the adapter sends the
//! request back to the task that called the layer. So this file has an adapter of its own, which calls the rest
//! of the flow inside the layer.

use std::convert::Infallible;
use std::mem;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use http::StatusCode;
use http_body_util::BodyExt;
use libtest_mimic::Trial;
use salvo::conn::tcp::TcpAcceptor;
use salvo::http::ResBody;
use salvo::prelude::TowerLayerCompat;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, Server, async_trait};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_transaction_id::BindTransactionIdLayer;

use super::respond::{fallible, status};
use super::{Host, Setup, layer};
use crate::sentry::Sentry;
use crate::shop::{Answer, Shop};
use crate::trial::trial;
use crate::wire::Connection;

pub(super) struct Salvo;

/// Runs the rest of the flow inside the layer: `Router::new().hoop(BindTransactionId(layer))`.
struct BindTransactionId(BindTransactionIdLayer);

#[async_trait]
impl Handler for BindTransactionId {
    async fn handle(
        &self,
        request: &mut Request,
        depot: &mut Depot,
        response: &mut Response,
        flow: &mut FlowCtrl,
    ) {
        let mut head = http::Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.version_mut() = request.version();
        *head.headers_mut() = request.headers().clone();
        *head.extensions_mut() = request.extensions().clone();

        let mut has_body = false;
        let mut rest = Some((request, depot, &mut *response, flow, &mut has_body));
        let rest = service_fn(move |head: http::Request<()>| {
            let rest = rest.take().expect("the layer calls its service once");
            async move {
                let (request, depot, response, flow, has_body) = rest;
                *request.headers_mut() = head.into_parts().0.headers;
                flow.call_next(request, depot, response).await;
                let mut answer = http::Response::new(ResBody::None);
                *answer.headers_mut() = mem::take(response.headers_mut());
                *answer.status_mut() = response.status_code.unwrap_or(StatusCode::OK);
                // Without a body, a catcher writes the page of an error afterwards.
                *has_body = !response.body.is_none() && !response.body.is_error();
                if *has_body {
                    *answer.body_mut() = response.take_body();
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let service = ServiceBuilder::new().layer(&self.0).service(rest);
        let Ok(answer) = service.oneshot(head).await;
        let (head, body) = answer.into_parts();
        response.status_code = Some(head.status);
        *response.headers_mut() = head.headers;
        if has_body {
            response.replace_body(ResBody::Boxed(Box::pin(body.map_err(Into::into))));
        }
    }
}

#[derive(Clone)]
struct Order(Shop);

#[async_trait]
impl Handler for Order {
    async fn handle(
        &self,
        request: &mut Request,
        _: &mut Depot,
        response: &mut Response,
        _: &mut FlowCtrl,
    ) {
        let wish: String = request.param("wish").unwrap_or_default();
        let answer = self.0.order(&wish, Some(request.headers())).await;
        response.status_code(status(&answer));
        if let Answer::Streamed(chunks) = answer {
            response.stream(fallible::<Infallible>(chunks));
        }
    }
}

impl Host for Salvo {
    fn name(&self) -> &'static str {
        "salvo"
    }

    fn start(&self, setup: Setup) -> BoxFuture<'static, SocketAddr> {
        Box::pin(async {
            let router = Router::with_path("{wish}").get(Order(setup.shop));
            // On the service, not on a router: an answer to an unknown path then has an ID as well.
            let service = salvo::Service::new(router).hoop(BindTransactionId(setup.layer));
            serve(service).await
        })
    }
}

async fn serve(service: salvo::Service) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TcpAcceptor::try_from(listener).unwrap();
    tokio::spawn(Server::new(acceptor).serve(service));
    address
}

/// The reason for the handler in this file: if this fails, salvo's own adapter may take its place.
pub(super) fn compat_trial() -> Trial {
    let claim = "its_own_adapter_handles_a_request_outside_of_the_scope";
    trial(&format!("servers::salvo::{claim}"), claim, &[], async || {
        let sentry = Sentry::new();
        let router = Router::with_path("{wish}").get(Order(Shop::new()));
        let service = salvo::Service::new(router).hoop(layer(&sentry.hub).compat());
        let address = serve(service).await;
        let mut connection = Connection::open(address, Salvo.version()).await;
        // The handler captures its event on a hub without a client, and so no event comes.
        let reply = connection.send(Salvo.request("taste"), &["order-1"]).await.unwrap();
        assert_eq!((reply.id(), sentry.events().len()), ("order-1", 0));
    })
}
