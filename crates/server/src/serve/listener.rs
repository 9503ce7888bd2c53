//! A TCP listener that holds at most so many connections; more wait in the kernel's queue.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum_server::{AddrListener, Address};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::client_address::Ends;

/// Bytes of one connection that wait in the kernel for the network, as for `TCP_NOTSENT_LOWAT`: a picture that waits
/// there can't be replaced by a newer one any more. What is on its way and not acknowledged does not count.
const UNSENT: u32 = 16 * 1024;

/// Who connected.
#[derive(Debug, Clone, Copy)]
pub struct Peer(Ends);

impl Address for Peer {
    type Stream = Connection;
    type Listener = Listener;
}

impl Connected<Peer> for Ends {
    fn connect_info(peer: Peer) -> Self {
        peer.0
    }
}

pub struct Listener {
    tcp: TcpListener,
    slots: Arc<Semaphore>,
}

impl Listener {
    pub fn new(tcp: TcpListener, connections: u32) -> Self {
        let slots = usize::try_from(connections).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self { tcp, slots: Arc::new(Semaphore::new(slots)) }
    }
}

impl AddrListener<Connection, Peer> for Listener {
    async fn bind_to(address: Peer) -> io::Result<Self> {
        Ok(Self::new(TcpListener::bind(address.0.client).await?, u32::MAX))
    }

    async fn accept_stream(&self) -> io::Result<(Connection, Peer)> {
        let slot = self.slots.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (tcp, peer) = self.tcp.accept().await?;
        // Input and picture are small messages that must not wait for each other.
        tcp.set_nodelay(true)?;
        socket2::SockRef::from(&tcp).set_tcp_notsent_lowat(UNSENT)?;
        metrics::gauge!("gimp_platform_connections").increment(1);
        let server = tcp.local_addr().ok().map(|address| address.ip());
        Ok((Connection { tcp, _slot: slot }, Peer(Ends { client: peer, server })))
    }

    fn get_local_addr(&self) -> io::Result<Peer> {
        self.tcp.local_addr().map(|client| Peer(Ends { client, server: None }))
    }
}

/// A connection that gives its slot back when it is dropped: also after it became a WebSocket.
pub struct Connection {
    tcp: TcpStream,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// Waits for the first byte and leaves it to be read; None: there won't be one.
    pub async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        Ok((self.tcp.peek(&mut first).await? > 0).then_some(first[0]))
    }

    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        metrics::gauge!("gimp_platform_connections").decrement(1);
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpSocket;

    use super::*;

    /// What its reader does not take is held up at its writer, and not somewhere on the way.
    #[tokio::test]
    async fn little_waits_in_the_kernel() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = Listener::new(tcp, 1);
        let reader = TcpSocket::new_v4().unwrap();
        reader.set_recv_buffer_size(4096).unwrap();
        let (reader, accepted) = tokio::join!(reader.connect(address), listener.accept_stream());
        let (_reads_nothing, (mut connection, _)) = (reader.unwrap(), accepted.unwrap());
        let mut taken = 0;
        let writing = async {
            loop {
                taken += connection.write(&[0; 1024]).await.unwrap();
            }
        };
        assert!(tokio::time::timeout(std::time::Duration::from_secs(1), writing).await.is_err());
        // By default it is more than two megabytes.
        assert!(taken <= 128 * 1024, "{taken} bytes were taken");
    }
}
