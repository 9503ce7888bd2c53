//! One UDP port for the WebRTC of all sessions, and the web port for browsers that no UDP reaches (ICE-TCP). Datagrams go
//! between browsers and agents as they are: the server knows neither DTLS nor SRTP keys.
//!
//! Who opens a session's stream is told, by way of its agent, a user name that the server has signed. A browser checks a
//! path with it (STUN, RFC 8489), and from then on what comes from its address and port goes to that session's agent, and
//! what the agent has for that address and port goes there, until the browser is silent for half a minute. Everything
//! else is dropped and counted. Nothing is decided here that needs another server or the database.

mod candidates;
mod counts;
mod down;
mod flows;
mod forwarder;
pub(crate) mod stun;
mod tcp;
pub(crate) mod user_name;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use protocol::agent::MediaOffer;
use protocol::media::Transport;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use utoipa::ToSchema;

pub use candidates::Way;
use forwarder::Shared;
pub use forwarder::{Forwarder, Port};
pub use tcp::begins_with as begins_ice_tcp;
pub use user_name::UserNames;

use crate::driver::AgentKey;
use crate::ids::SessionId;
use crate::state::{App, Background};

/// How long new paths may begin with a user name, seconds: as long as a stream is likely to stay open. A browser that
/// comes to another network needs it again.
const GOOD_FOR: i64 = 24 * 60 * 60;

/// How it stands with the UDP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    On(SocketAddr),
    /// By the settings.
    Off,
    /// Why it can't be had.
    Failed(String),
}

/// The same for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UdpPort {
    pub on: bool,
    /// Where it listens, or why it does not.
    #[schema(example = "0.0.0.0:8080")]
    pub detail: String,
}

/// What request handlers know of it. Cheap to clone.
#[derive(Clone)]
pub struct Media(Arc<Inner>);

struct Inner {
    names: UserNames,
    started: OnceLock<Started>,
}

struct Started {
    udp: State,
    web: SocketAddr,
    forwarder: Weak<Shared>,
}

impl Media {
    #[must_use]
    pub fn new(key: &AgentKey) -> Self {
        Self(Arc::new(Inner { names: UserNames::new(key), started: OnceLock::new() }))
    }

    /// Forwards in the background of `app` what comes to `port`, or notes why nothing does, and what comes by TCP to the
    /// port that is bound to `web`. Only the first call counts.
    pub fn start(&self, app: &App, web: SocketAddr, port: Result<Option<Port>, String>) {
        let bound = port.and_then(|port| {
            let bound = port.map(|port| port.address().map(|address| (address, port))).transpose();
            bound.map_err(|error| error.to_string())
        });
        let (udp, port) = match bound {
            Ok(Some((address, port))) => (State::On(address), Some(port)),
            Ok(None) => (State::Off, None),
            Err(why) => (State::Failed(why), None),
        };
        let (sessions, driver) = (app.sessions.clone(), app.driver.clone());
        let agents = move |session| {
            let live = sessions.live(session)?;
            live.borrow().life.usable().ok()?;
            driver.media(session)
        };
        let forwarder = Forwarder::new(port, self.0.names.clone(), app.clock.clone(), agents);
        if self.0.started.set(Started { udp, web, forwarder: forwarder.shared() }).is_ok() {
            app.background.spawn(forwarder.run());
        }
    }

    /// Forwards what comes over a connection of the web port that `begins_ice_tcp`.
    pub fn connected(
        &self,
        background: &Background,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
    ) {
        if let Some(forwarder) = self.0.started.get().and_then(|started| started.forwarder.upgrade()) {
            background.spawn(tcp::run(forwarder, stream, peer, tcp::Patience::default()));
        }
    }

    /// How it stands with the UDP port.
    #[must_use]
    pub fn state(&self) -> &State {
        self.0.started.get().map_or(&State::Off, |started| &started.udp)
    }

    #[must_use]
    pub fn shown(&self) -> UdpPort {
        match self.state() {
            State::On(address) => UdpPort { on: true, detail: address.to_string() },
            State::Off => UdpPort { on: false, detail: "switched off by udp_listen".to_owned() },
            State::Failed(why) => UdpPort { on: false, detail: why.clone() },
        }
    }

    /// What the agent of `session` is told for one stream; None where a browser that came this way can reach neither
    /// port, or the agent takes no datagrams.
    #[must_use]
    pub fn offer(&self, app: &App, session: SessionId, way: Way) -> Option<MediaOffer> {
        let started = self.0.started.get()?;
        app.driver.media(session)?;
        let udp = match started.udp {
            State::On(bound) => Some((Transport::Udp, bound)),
            State::Off | State::Failed(_) => None,
        };
        let public = &app.settings.public_addresses;
        let candidates: Vec<_> = udp
            .into_iter()
            .chain([(Transport::Tcp, started.web)])
            .flat_map(|(transport, bound)| {
                candidates::candidates(transport, bound, public, way, candidates::interfaces)
            })
            .collect();
        let expires = u32::try_from(app.clock.now().unix_timestamp() + GOOD_FOR).ok()?;
        (!candidates.is_empty()).then(|| MediaOffer {
            ufrag: self.0.names.mint(session, expires),
            expires: expires.into(),
            candidates,
        })
    }
}

#[cfg(test)]
mod tests;
