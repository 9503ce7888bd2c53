//! `GET /session/{id}/vnc`

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::StatusCode;
use axum::response::Response;
use futures::StreamExt;

use super::relay::{self, Closed, Limits};
use super::viewers::PER_SESSION;
use crate::api::extract::Path;
use crate::api::sessions;
use crate::auth::current::CurrentUser;
use crate::auth::watch::rights_lost;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::session::lifecycle::Phase;
use crate::state::App;

/// Largest message from a browser, bytes: the clipboard's text is the largest thing it says.
const MESSAGE_LIMIT: usize = 1024 * 1024;

/// The session's picture and input, for its owner only: RFB (VNC) over a WebSocket, subprotocol `binary`. Close codes:
/// 4000 the session ended, 4001 signed out, 4002 the picture was interrupted (connect again), 1012 the server is being
/// restarted (connect again), 1002 and 1003 bad messages. The close reason says it in words.
#[utoipa::path(
    get, path = "/session/{id}/vnc", tag = "sessions", operation_id = "vnc", params(("id" = SessionId, Path)),
    responses(
        (status = 101, description = "RFB from here on"),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "origin.foreign, session.notYours"),
        (status = 404, description = "notFound"),
        (status = 409, description = "session.notRunning"),
        (status = 426, description = "notWebSocket"),
        (status = 429, description = "session.tooManyViewers"),
        (status = 503, description = "session.noAnswer"),
    ),
)]
pub async fn vnc(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<SessionId>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let row = sessions::find_own(&app, &user, id).await?;
    let mut live = sessions::usable(&app, &row).await?;
    let upgrade = upgrade.map_err(|_| {
        Problem::new(StatusCode::UPGRADE_REQUIRED, "notWebSocket", "This address speaks WebSocket only.")
    })?;
    let viewer = app.viewers.admit(id).ok_or_else(|| {
        let detail = format!("This session is open in {PER_SESSION} places already. Close one of them and try again.");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "session.tooManyViewers", detail).retry_after(10)
    })?;
    let agent = app.driver.agent(id).vnc().await?;
    let upgrade = upgrade.protocols(["binary"]).max_message_size(MESSAGE_LIMIT).max_frame_size(MESSAGE_LIMIT);
    Ok(upgrade.on_upgrade(async move |socket| {
        let _viewer = viewer;
        let server_ends = app.background.closing();
        let mut session_live = live.clone();
        let over = async {
            tokio::select! {
                closed = session_over(&mut session_live) => closed,
                () = rights_lost(&app, &user) => Closed::SignedOut,
                () = server_ends.cancelled() => Closed::ServerEnding,
            }
        };
        let (sink, stream) = socket.split();
        relay::run(sink, stream, agent, Limits::default(), over, async || {
            // The display is gone: because the session ends, or because it is started again.
            let ending = !matches!(live.borrow().life.phase(), Phase::Running);
            if ending { session_over(&mut live).await } else { Closed::PictureLost }
        })
        .await;
    }))
}

/// Returns once the session has ended.
async fn session_over(live: &mut tokio::sync::watch::Receiver<crate::session::Live>) -> Closed {
    match live.wait_for(|live| matches!(live.life.phase(), Phase::Ended { .. })).await {
        Ok(live) => Closed::SessionEnded(live.life.end().map(|end| end.detail.clone()).unwrap_or_default()),
        // Its keeper was stopped: the server ends.
        Err(_) => Closed::ServerEnding,
    }
}
