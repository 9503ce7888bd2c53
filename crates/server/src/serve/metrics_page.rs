//! `/metrics` on its own address, away from the public port.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use tokio::net::TcpListener;

/// Serves Prometheus' text format until dropped.
pub async fn serve(listener: TcpListener) {
    let page = || async {
        crate::telemetry::measure_process();
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], crate::telemetry::metrics().render())
    };
    if let Err(error) = axum::serve(listener, Router::new().route("/metrics", get(page))).await {
        tracing::error!(%error, "metrics are no longer served");
    }
}
