//! The way of WebRTC's datagrams: the gateway has the UDP port and passes on what is for this session, on one connection
//! for all viewers; see `protocol::media`.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use protocol::media::{MAX_MESSAGE, Remote};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
/// Connections of the gateway that wait to be taken.
const BACKLOG: i32 = 8;
/// Datagrams that wait for one viewer. Who is slower loses the newest, as on a network.
const INBOX: usize = 256;
/// For a gateway that takes nothing.
const PATIENCE: Duration = Duration::from_millis(500);
/// Browsers' ends that are remembered, of all viewers.
const MAX_REMOTES: usize = 256;

/// A datagram and whose it is.
pub type Received = (Remote, Bytes);

/// A Unix socket that keeps messages apart. The standard library has no type for it; those for streams make the same calls.
type Seqpacket = UnixStream;

/// Goes with the last clone.
#[derive(Debug, Clone)]
pub struct MediaSocket {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    routes: Mutex<Routes>,
}

#[derive(Debug, Default)]
struct Routes {
    /// The gateway's newest connection.
    gateway: Option<Arc<Seqpacket>>,
    /// Who reads from it.
    reader: Option<AbortHandle>,
    /// A viewer's inbox, by its number.
    inboxes: HashMap<u64, mpsc::Sender<Received>>,
    remotes: HashMap<Remote, u64>,
    next: u64,
}

impl MediaSocket {
    /// Opens the socket, in the place of one that an agent before has left.
    ///
    /// # Errors
    /// When it cannot be opened there.
    pub fn open(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        listen(&socket, BACKLOG)?;
        let listener = UnixListener::from_std(socket.into())?;
        let shared = Arc::new(Shared::default());
        tokio::spawn(accept(listener, Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// A place among the viewers.
    pub fn enter(&self) -> (Inlet, mpsc::Receiver<Received>) {
        let (sender, received) = mpsc::channel(INBOX);
        let mut routes = self.shared.routes();
        let id = routes.next;
        routes.next += 1;
        routes.inboxes.insert(id, sender);
        (Inlet { socket: self.clone(), id }, received)
    }
}

impl Shared {
    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To the viewer whose end it is; else to all, of whom one will claim the end. The gateway lets nobody in who does not
    /// know the name of a connection of this session.
    fn route(&self, remote: Remote, datagram: &[u8]) {
        let routes = self.routes();
        let datagram = Bytes::copy_from_slice(datagram);
        if let Some(inbox) = routes.remotes.get(&remote).and_then(|id| routes.inboxes.get(id)) {
            let _full = inbox.try_send((remote, datagram));
        } else {
            for inbox in routes.inboxes.values() {
                let _full = inbox.try_send((remote, datagram.clone()));
            }
        }
    }
}

/// One viewer's way to its browser; leaves when dropped.
#[derive(Debug)]
pub struct Inlet {
    socket: MediaSocket,
    id: u64,
}

impl Inlet {
    /// This end is this viewer's browser.
    pub fn claim(&self, remote: Remote) {
        let mut routes = self.socket.shared.routes();
        if routes.remotes.len() < MAX_REMOTES || routes.remotes.contains_key(&remote) {
            routes.remotes.insert(remote, self.id);
        }
    }

    /// Sends a datagram; waits while the gateway does not keep up, and gives false when that is for long. Without a gateway
    /// it is lost.
    pub async fn send(&self, to: Remote, datagram: &[u8]) -> bool {
        let Some(gateway) = self.socket.shared.routes().gateway.clone() else { return true };
        let header = to.encode();
        let parts = [IoSlice::new(&header), IoSlice::new(datagram)];
        let sent = gateway.async_io(Interest::WRITABLE, || gateway.try_write_vectored(&parts));
        match timeout(PATIENCE, sent).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the gateway takes no datagrams");
                true
            }
            Err(_) => false,
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let mut routes = self.socket.shared.routes();
        routes.inboxes.remove(&self.id);
        routes.remotes.retain(|_, id| *id != self.id);
    }
}

/// Takes the gateway's connections: one that comes anew after a restart takes the place of the one before.
async fn accept(listener: UnixListener, shared: Weak<Shared>) {
    loop {
        let accepted = listener.accept().await;
        let Some(shared) = shared.upgrade() else { return };
        match accepted {
            Ok((gateway, _)) => {
                let gateway = Arc::new(gateway);
                let reader = tokio::spawn(read(Arc::clone(&gateway), Arc::downgrade(&shared)));
                let mut routes = shared.routes();
                routes.gateway = Some(gateway);
                if let Some(former) = routes.reader.replace(reader.abort_handle()) {
                    former.abort();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take the gateway's connection for datagrams");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn read(gateway: Arc<Seqpacket>, shared: Weak<Shared>) {
    let mut message = vec![0; MAX_MESSAGE + 1];
    loop {
        // An empty message can't be told from a closed end.
        let length = match gateway.async_io(Interest::READABLE, || gateway.try_read(&mut message)).await {
            Ok(length) if length > 0 => length,
            _ => break,
        };
        let Some(shared) = shared.upgrade() else { return };
        match Remote::decode(&message[..length]) {
            Ok((remote, datagram)) => shared.route(remote, datagram),
            Err(error) => tracing::debug!(%error, "the gateway sent nonsense"),
        }
    }
    if let Some(shared) = shared.upgrade() {
        let mut routes = shared.routes();
        if routes.gateway.as_ref().is_some_and(|newest| Arc::ptr_eq(newest, &gateway)) {
            routes.gateway = None;
        }
    }
}
