//! A browser that may see a session's picture, up to where its WebSocket begins.

use std::net::Ipv6Addr;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use protocol::agent::MediaOffer;
use tokio::sync::watch;
use tokio_util::codec::{Decoder, Encoder};

use super::relay::{self, Closed, Limits};
use super::udp::Way;
use super::viewers::{PER_SESSION, Viewer};
use crate::api::client_address::{ClientAddress, Ends};
use crate::api::extract::Path;
use crate::api::sessions;
use crate::auth::current::CurrentUser;
use crate::auth::watch::rights_lost;
use crate::driver::agent_client::{self, AgentClient};
use crate::error::Problem;
use crate::ids::SessionId;
use crate::session::Live;
use crate::session::lifecycle::Phase;
use crate::state::App;

/// Owner of a running session, with a place among its viewers.
pub(super) struct Admitted {
    app: App,
    user: CurrentUser,
    id: SessionId,
    live: watch::Receiver<Live>,
    upgrade: WebSocketUpgrade,
    viewer: Viewer,
    way: Way,
}

impl FromRequestParts<App> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let user = CurrentUser::from_request_parts(parts, app).await?;
        let Path(id) = Path::<SessionId>::from_request_parts(parts, app).await?;
        let row = sessions::find_own(app, &user, id).await?;
        let live = sessions::usable(app, &row).await?;
        let upgrade = WebSocketUpgrade::from_request_parts(parts, app).await.map_err(|_| {
            Problem::new(StatusCode::UPGRADE_REQUIRED, "notWebSocket", "This address speaks WebSocket only.")
        })?;
        let viewer = app.viewers.admit(id).ok_or_else(|| {
            let detail =
                format!("This session is open in {PER_SESSION} places already. Close one of them and try again.");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "session.tooManyViewers", detail).retry_after(10)
        })?;
        Ok(Self { app: app.clone(), user, id, live, upgrade, viewer, way: way(parts) })
    }
}

impl Admitted {
    pub(super) fn agent(&self) -> AgentClient {
        self.app.driver.agent(self.id)
    }

    /// How WebRTC reaches the agent from this browser, for one stream.
    pub(super) fn media_offer(&self) -> Option<MediaOffer> {
        self.app.media.offer(&self.app, self.id, self.way)
    }

    /// Becomes a WebSocket of subprotocol `binary` and relays between it and `agent` until that ends, for the reasons
    /// of `Closed`. `message_limit` is that of one message from the browser, bytes.
    pub(super) fn relay<C>(
        self,
        agent: impl agent_client::Stream + 'static,
        framing: C,
        message_limit: usize,
    ) -> Response
    where
        C: Decoder<Item = BytesMut, Error = std::io::Error>
            + Encoder<Bytes, Error = std::io::Error>
            + Clone
            + Send
            + 'static,
    {
        let Self { app, user, mut live, upgrade, viewer, .. } = self;
        let upgrade = upgrade.protocols(["binary"]).max_message_size(message_limit).max_frame_size(message_limit);
        upgrade.on_upgrade(async move |socket| {
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
            relay::run(sink, stream, agent, framing, Limits::default(), over, async || {
                // The display is gone: because the session ends, or because it is started again.
                let ending = !matches!(live.borrow().life.phase(), Phase::Running);
                if ending { session_over(&mut live).await } else { Closed::PictureLost }
            })
            .await;
        })
    }
}

fn way(parts: &Parts) -> Way {
    // HTTP/1.1 has it in the header, HTTP/2 in the address.
    let header = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let authority = parts.uri.authority().or(header.as_ref());
    let host = authority.and_then(|authority| authority.host().trim_matches(['[', ']']).parse().ok());
    let ends = parts.extensions.get::<ConnectInfo<Ends>>();
    let client = parts.extensions.get::<ClientAddress>().map_or(Ipv6Addr::UNSPECIFIED.into(), |client| client.0);
    Way { host, local: ends.and_then(|ends| ends.0.server), client }
}

/// Returns once the session has ended.
async fn session_over(live: &mut watch::Receiver<Live>) -> Closed {
    match live.wait_for(|live| matches!(live.life.phase(), Phase::Ended { .. })).await {
        Ok(live) => Closed::SessionEnded(live.life.end().map(|end| end.detail.clone()).unwrap_or_default()),
        // Its keeper was stopped: the server ends.
        Err(_) => Closed::ServerEnding,
    }
}
