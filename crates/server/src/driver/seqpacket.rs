//! A Unix socket that keeps messages apart and holds up its writer (`SOCK_SEQPACKET`): what datagrams travel on between
//! gateway and agent. A datagram socket would hold ten messages (`net.unix.max_dgram_qlen`) and not tell when an end is
//! gone.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, sendmsg,
    socket_with, socketpair,
};
use tokio::net::UnixDatagram;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// The standard library has no type for it; that for datagrams makes the same calls.
#[derive(Debug)]
pub struct Seqpacket(UnixDatagram);

impl Seqpacket {
    /// Connects to a socket in a folder that a session can write to, see `agent_client::open_socket`. Does not wait: on a
    /// Unix socket there is nothing to wait for but room in the queue of who listens.
    ///
    /// # Errors
    /// When nobody listens or their queue is full.
    pub fn dial(path: &Path) -> io::Result<Self> {
        let target = super::agent_client::open_socket(path)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
        connect(&socket, &SocketAddrUnix::new(format!("/proc/self/fd/{}", target.as_raw_fd()))?)?;
        Self::new(socket)
    }

    /// Two that are connected.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
        Ok((Self::new(one)?, Self::new(other)?))
    }

    fn new(socket: OwnedFd) -> io::Result<Self> {
        UnixDatagram::from_std(socket.into()).map(Self)
    }

    /// Sends one message, in parts. Whole or not at all.
    ///
    /// # Errors
    /// `WouldBlock` when the other end does not keep up; others when it is gone.
    pub fn try_send(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        // Nobody waits for room: what does not fit is lost, as on a network.
        sendmsg(&self.0, parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message. One that is longer than `buffer` is cut: give room for one byte more than is allowed.
    ///
    /// # Errors
    /// `WouldBlock` when there is none yet; `UnexpectedEof` when the other end hung up.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // An empty message can't be told from a closed end; neither is of use.
        match self.0.try_recv(buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => Ok(length),
        }
    }

    /// Returns when there may be a message.
    ///
    /// # Errors
    /// When the runtime ends.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(socket: &Seqpacket, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            socket.readable().await?;
            match socket.try_recv(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    #[tokio::test]
    async fn messages_stay_apart_and_a_closed_end_is_noticed() {
        let (one, other) = Seqpacket::pair().unwrap();
        one.try_send(&[IoSlice::new(b"he"), IoSlice::new(b"llo")]).unwrap();
        one.try_send(&[IoSlice::new(b"you")]).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(next(&other, &mut buffer).await.unwrap(), 5);
        assert_eq!(&buffer[..5], b"hello");
        assert_eq!(next(&other, &mut buffer[..2]).await.unwrap(), 2, "cut");
        assert_eq!(other.try_recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(one);
        assert_eq!(next(&other, &mut buffer).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(other.try_send(&[IoSlice::new(b"x")]).is_err());
    }

    #[tokio::test]
    async fn who_does_not_read_holds_up_the_writer() {
        let (one, _other) = Seqpacket::pair().unwrap();
        let full = (0..100_000).find_map(|_| one.try_send(&[IoSlice::new(&[0; 1000])]).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_link_planted_by_the_session_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link, stream) = (dir.path().join("real"), dir.path().join("link"), dir.path().join("stream"));
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&real).unwrap()).unwrap();
        assert!(Seqpacket::dial(&real).is_err(), "nobody listens");
        rustix::net::listen(&listener, 1).unwrap();
        Seqpacket::dial(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(Seqpacket::dial(&link).is_err());
        let _other_kind = std::os::unix::net::UnixListener::bind(&stream).unwrap();
        assert!(Seqpacket::dial(&stream).is_err());
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(Seqpacket::dial(&dir.path().join("file")).is_err());
        assert!(Seqpacket::dial(&dir.path().join("nothing")).is_err());
    }
}
