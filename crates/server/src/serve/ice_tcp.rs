//! The web port carries WebRTC as well, for browsers that no UDP reaches. Its connections are told by their first byte, before
//! TLS and HTTP see them.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::time::timeout;

use super::listener::Connection;
use crate::gateway::Media;
use crate::gateway::udp::begins_ice_tcp;
use crate::state::{App, Background};

/// An acceptor that gives connections of ICE-TCP to the gateway, and all others to `inner`.
#[derive(Clone)]
pub struct IceTcp<A> {
    inner: A,
    /// Longest wait for the first byte.
    limit: Duration,
    media: Media,
    background: Background,
}

impl<A> IceTcp<A> {
    pub fn new(inner: A, limit: Duration, app: &App) -> Self {
        Self { inner, limit, media: app.media.clone(), background: app.background.clone() }
    }
}

impl<A, S> Accept<Connection, S> for IceTcp<A>
where
    A: Accept<Connection, S> + Clone + Send + 'static,
    A::Future: Send,
    S: Send + 'static,
{
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, connection: Connection, service: S) -> Self::Future {
        let Self { inner, limit, media, background } = self.clone();
        Box::pin(async move {
            // Who has said nothing yet does not hold up the server's end.
            let first = background.closing().run_until_cancelled_owned(timeout(limit, connection.first_byte())).await;
            match first.ok_or(io::ErrorKind::ConnectionAborted)??? {
                Some(byte) if begins_ice_tcp(byte) => {
                    let peer = connection.peer()?;
                    media.connected(&background, connection, peer);
                    Err(io::Error::other("the gateway has it"))
                }
                _ => inner.accept(connection, service).await,
            }
        })
    }
}
