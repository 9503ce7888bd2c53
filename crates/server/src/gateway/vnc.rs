//! `GET /session/{id}/vnc`

use axum::response::Response;

use super::admitted::Admitted;
use super::framing::Unframed;
use crate::error::Problem;
use crate::ids::SessionId;

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
pub async fn vnc(admitted: Admitted) -> Result<Response, Problem> {
    let agent = admitted.agent().vnc().await?;
    Ok(admitted.relay(agent, Unframed, MESSAGE_LIMIT))
}
