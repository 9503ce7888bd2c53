//! The pretended agent's end of WebRTC: sends every datagram back, so that the way there and back can be tested and
//! measured.

use std::io::{self, IoSlice};
use std::sync::Arc;

use protocol::media::{MAX_MESSAGE, Remote};

use crate::driver::seqpacket::Seqpacket;

pub(super) async fn serve(socket: Arc<Seqpacket>) {
    let _hung_up = echo(&socket).await;
}

async fn echo(socket: &Seqpacket) -> io::Result<()> {
    let mut buffer = [0; MAX_MESSAGE];
    loop {
        socket.readable().await?;
        match socket.try_recv(&mut buffer) {
            // A message of ours that does not fit is lost, as on a network.
            Ok(length) => drop(socket.try_send(&[IoSlice::new(&buffer[..length])])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// One message to whatever end, rightly or not.
pub(super) fn say(socket: &Seqpacket, to: Remote, datagram: &[u8]) -> io::Result<()> {
    socket.try_send(&[IoSlice::new(&to.encode()), IoSlice::new(datagram)])
}
