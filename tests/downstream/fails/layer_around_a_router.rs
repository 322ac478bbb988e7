//! axum's `serve` takes services whose body is axum's own. The page `troubleshooting` of the guide has the
//! remedy.

use axum::extract::Request;
use axum::{Router, ServiceExt};
use tokio::net::TcpListener;
use tower::Layer;
use tower_transaction_id::BindTransactionIdLayer;

pub async fn serve(listener: TcpListener, router: Router) -> std::io::Result<()> {
    let app = BindTransactionIdLayer::new().layer(router);
    axum::serve(listener, ServiceExt::<Request>::into_make_service(app)).await
}
