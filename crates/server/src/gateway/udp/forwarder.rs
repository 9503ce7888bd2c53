//! From browsers to agents, and who gets in. One task reads the UDP port, and one each connection, in `tcp`; each session's
//! way back is a task of its own, in `down`.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use governor::Quota;
use protocol::media::{MAX_DATAGRAM, Remote, Transport};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::counts::{Counts, Dropped};
use super::down;
use super::flows::{Flows, Limits, Route};
use super::stun::BindingRequest;
use super::user_name::{Claim, UserNames};
use crate::auth::rate_limit::{Limit, count};
use crate::clock::Clock;
use crate::driver::MediaEndpoint;
use crate::driver::seqpacket::Seqpacket;
use crate::ids::SessionId;

/// How often silent ends and ended sessions are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Paths that the browsers of one session may begin in a second, and at once: each tries some dozen of them.
const PATHS_PER_SECOND: u32 = 20;
const PATHS_AT_ONCE: u32 = 400;
/// Asked of the kernel for what comes in a burst, bytes; it may give less (`net.core.rmem_max`).
const SOCKET_BUFFER: usize = 2 << 20;
/// Holds as many datagrams as the kernel puts together (GRO), bytes.
const BUFFER: usize = 64 * 1024;

/// The bound port.
pub struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Port {
    /// # Errors
    /// When it can't be had.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let options = socket2::SockRef::from(&socket);
        options.set_recv_buffer_size(SOCKET_BUFFER)?;
        options.set_send_buffer_size(SOCKET_BUFFER)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { socket, state })
    }

    /// # Errors
    /// When the kernel does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Fills as many buffers as it can, at least one.
    async fn receive(&self, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<usize> {
        self.socket.async_io(Interest::READABLE, || self.state.recv((&self.socket).into(), buffers, meta)).await
    }

    /// Waits for room in the kernel.
    pub(super) async fn send(&self, transmit: &quinn_udp::Transmit<'_>) -> io::Result<()> {
        self.socket.async_io(Interest::WRITABLE, || self.state.try_send((&self.socket).into(), transmit)).await
    }

    /// Datagrams that one `send` takes.
    pub(super) fn segments(&self) -> usize {
        self.state.max_gso_segments()
    }
}

/// What all directions use.
pub(super) struct Shared {
    /// None: there is only TCP.
    pub port: Option<Port>,
    pub counts: Counts,
    flows: Mutex<Flows<Link>>,
    names: UserNames,
    clock: Clock,
    agents: Box<Agents>,
    paths: Limit<SessionId>,
}

/// Finds the agents of sessions that run here.
type Agents = dyn Fn(SessionId) -> Option<MediaEndpoint> + Send + Sync;

/// The connection to a session's agent.
pub(super) struct Link {
    agent: Arc<Seqpacket>,
    down: AbortOnDropHandle<()>,
}

impl Shared {
    pub fn flows(&self) -> MutexGuard<'_, Flows<Link>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Datagrams that are sent at once.
    pub fn segments(&self) -> usize {
        self.port.as_ref().map_or(BATCH_SIZE, Port::segments)
    }

    /// One datagram of the UDP port, from `to` to `from`.
    fn forward(
        self: &Arc<Self>,
        datagram: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Dropped> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(Dropped::Oversized);
        }
        let end = Remote::new(to, Transport::Udp);
        let known = self.flows().hear(&end, now);
        let (session, link) = match (known, BindingRequest::parse(datagram)) {
            (Some(known), None) => known,
            (None, None) => return Err(Dropped::Unknown),
            // A port of a browser's network can pass from one session to another.
            (known, Some(check)) => {
                let claim = claim(&check)?;
                match known {
                    Some(known) if known.0 == claim.session() => known,
                    _ => (claim.session(), self.admit(&claim, end, Route::Udp { to, from }, now)?),
                }
            }
        };
        self.pass(&link, session, end, datagram)
    }

    /// The first datagram of the connection that `route` reaches: whose it is now.
    pub fn connect(
        self: &Arc<Self>,
        datagram: &[u8],
        end: Remote,
        route: Route,
        now: Instant,
    ) -> Result<(SessionId, Arc<Link>), Dropped> {
        let claim = claim(&BindingRequest::parse(datagram).ok_or(Dropped::Unknown)?)?;
        Ok((claim.session(), self.admit(&claim, end, route, now)?))
    }

    /// To the agent.
    pub fn pass(&self, link: &Link, session: SessionId, end: Remote, datagram: &[u8]) -> Result<(), Dropped> {
        match link.agent.try_send(&[IoSlice::new(&end.encode()), IoSlice::new(datagram)]) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Dropped::AgentBusy),
            Err(_) => {
                self.flows().close_session(session);
                Err(Dropped::AgentGone)
            }
        }
    }

    /// Lets an end in that shows a user name of ours.
    fn admit(self: &Arc<Self>, claim: &Claim, end: Remote, route: Route, now: Instant) -> Result<Arc<Link>, Dropped> {
        if i64::from(claim.expires()) <= self.clock.now().unix_timestamp() {
            return Err(Dropped::Expired);
        }
        let session = claim.session();
        let agent = (self.agents)(session).ok_or(Dropped::NoSession)?;
        // Before the limit, and that by session: who was not let into one can't use up what its users may, whatever
        // address stands in a datagram.
        if !self.names.minted(claim) {
            return Err(Dropped::BadUserName);
        }
        self.paths.check(session).map_err(|_| Dropped::Flooded)?;
        // Held over both: of two links the agent answers on the newer one, whichever is kept here.
        let mut flows = self.flows();
        let link = self.link(&mut flows, session, &agent)?;
        flows.open(end, session, &link, route, now).map_err(|_| Dropped::TableFull)?;
        drop(flows);
        tracing::debug!(%session, transport = ?end.transport(), "a WebRTC path begins");
        Ok(link)
    }

    fn link(
        self: &Arc<Self>,
        flows: &mut Flows<Link>,
        session: SessionId,
        agent: &MediaEndpoint,
    ) -> Result<Arc<Link>, Dropped> {
        match flows.link(session) {
            Some(link) if !link.down.is_finished() => return Ok(link),
            // A new agent; its other ends show themselves again.
            Some(_) => flows.close_session(session),
            None => {}
        }
        let agent = agent.dial().map_err(|error| {
            tracing::debug!(%session, %error, "the agent takes no datagrams");
            Dropped::AgentGone
        })?;
        let agent = Arc::new(agent);
        let down = tokio::spawn(down::run(self.clone(), session, agent.clone()));
        Ok(Arc::new(Link { agent, down: AbortOnDropHandle::new(down) }))
    }

    fn sweep(&self) {
        let mut flows = self.flows();
        flows.sweep(Instant::now(), |session, link| link.down.is_finished() || (self.agents)(session).is_none());
        for transport in [Transport::Udp, Transport::Tcp] {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            self.counts.of(transport).flows.set(flows.count(transport) as f64);
        }
    }
}

fn claim(check: &BindingRequest<'_>) -> Result<Claim, Dropped> {
    check.user_name.and_then(Claim::parse).ok_or(Dropped::BadUserName)
}

/// Forwards between browsers and the agents that `agents` finds: those of sessions that run here.
pub struct Forwarder(Arc<Shared>);

impl Forwarder {
    /// Without a port it forwards only what comes by TCP.
    pub fn new(
        port: Option<Port>,
        names: UserNames,
        clock: Clock,
        agents: impl Fn(SessionId) -> Option<MediaEndpoint> + Send + Sync + 'static,
    ) -> Self {
        let flows = Mutex::new(Flows::new(Limits::default()));
        let paths = Limit::new(&clock, Quota::per_second(count(PATHS_PER_SECOND)).allow_burst(count(PATHS_AT_ONCE)));
        Self(Arc::new(Shared { port, counts: Counts::new(), flows, names, clock, agents: Box::new(agents), paths }))
    }

    /// What connections use. They end with the forwarder.
    pub(super) fn shared(&self) -> Weak<Shared> {
        Arc::downgrade(&self.0)
    }

    /// Until dropped.
    pub async fn run(self) {
        let mut memory = vec![0; BATCH_SIZE * BUFFER];
        let mut buffers: Vec<_> = memory.chunks_mut(BUFFER).map(IoSliceMut::new).collect();
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let mut sweeps = tokio::time::interval(SWEEP_EVERY);
        loop {
            let received = tokio::select! {
                received = self.receive(&mut buffers, &mut meta) => received,
                _ = sweeps.tick() => {
                    self.0.sweep();
                    continue;
                }
            };
            match received {
                Ok(filled) => self.take(&buffers[..filled], &meta[..filled]),
                // Such as a host's answer that it does not listen; the next datagram is another matter. A pause, so that
                // an error that stays does not take a processor.
                Err(error) => {
                    tracing::debug!(%error, "the UDP port could not be read");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }

    async fn receive(&self, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<usize> {
        match &self.0.port {
            Some(port) => port.receive(buffers, meta).await,
            None => std::future::pending().await,
        }
    }

    fn take(&self, buffers: &[IoSliceMut<'_>], meta: &[RecvMeta]) {
        let now = Instant::now();
        let counts = self.0.counts.of(Transport::Udp);
        for (buffer, meta) in buffers.iter().zip(meta) {
            let bytes = buffer.get(..meta.len).unwrap_or_default();
            if bytes.is_empty() {
                counts.dropped(Dropped::Unknown, 1);
            }
            for datagram in bytes.chunks(meta.stride.max(1)) {
                counts.up(self.0.forward(datagram, meta.addr, meta.dst_ip, now));
            }
        }
    }
}

/// The ways back use what we use, and would otherwise keep themselves alive.
impl Drop for Forwarder {
    fn drop(&mut self) {
        self.0.flows().clear();
    }
}
