//! `GET /session/{id}/stream`

use axum::response::Response;
use protocol::stream::MAX_TO_AGENT;

use super::admitted::Admitted;
use super::framing;
use crate::error::Problem;
use crate::ids::SessionId;

/// The session's picture and input, for its owner only: the messages of `crates/protocol/src/stream.rs` over a WebSocket,
/// subprotocol `binary`, one binary message each, at most 32 MiB from the session and 1 MiB and 16 bytes to it. Close
/// codes: 4000 the session ended, 4001 signed out, 4002 the picture was interrupted (connect again), 1012 the server is
/// being restarted (connect again), 1002 and 1003 bad messages. The close reason says it in words.
#[utoipa::path(
    get, path = "/session/{id}/stream", tag = "sessions", operation_id = "stream", params(("id" = SessionId, Path)),
    responses(
        (status = 101, description = "Messages of the picture stream from here on"),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "origin.foreign, session.notYours"),
        (status = 404, description = "notFound"),
        (status = 409, description = "session.notRunning"),
        (status = 426, description = "notWebSocket"),
        (status = 429, description = "session.tooManyViewers"),
        (status = 503, description = "session.noAnswer"),
    ),
)]
pub async fn stream(admitted: Admitted) -> Result<Response, Problem> {
    let agent = admitted.agent().stream(admitted.media_offer().as_ref()).await?;
    Ok(admitted.relay(agent, framing::records(), MAX_TO_AGENT))
}
