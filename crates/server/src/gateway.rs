//! Lets a browser of the session's owner reach its agent: one WebSocket per viewer, relayed to the session's display: the
//! picture stream, or RFB. Passes messages on without looking into them, and holds no more of them than one each way.
//! Beside the picture stream WebRTC goes by `udp`.
//!
//! What it carries does not count as use of a session: only a human's input does, and only the agent sees that.

mod admitted;
mod framing;
mod relay;
mod stream;
pub mod udp;
mod viewers;
mod vnc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;
pub use udp::Media;
pub use viewers::Viewers;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(vnc::vnc)).routes(routes!(stream::stream))
}

#[cfg(test)]
mod tests;
