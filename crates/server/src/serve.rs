//! `gimp-platform serve`: listens, answers, ends in order.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::state::App;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the address can't be listened on.
pub async fn serve(app: App) -> anyhow::Result<()> {
    let listener = TcpListener::bind(app.settings.listen)
        .await
        .with_context(|| format!("can't listen on {}", app.settings.listen))?;
    app.start();
    tracing::info!("GIMP Streaming Platform is ready at {}", app.settings.public_url());
    let router = crate::api::router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, router).with_graceful_shutdown(ended()).await?;
    app.background.end().await;
    Ok(())
}

async fn ended() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
