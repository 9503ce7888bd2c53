//! ICE-TCP (RFC 6544) on the web port, for browsers that no UDP reaches: the same datagrams, each behind its length (RFC
//! 4571). A connection is one end. Its first datagram says whose, once and for all, and it lives as long as its flow.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::{Stream, StreamExt};
use protocol::media::{MAX_DATAGRAM, Remote, Transport};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::counts::Dropped;
use super::flows::{Limits, Route};
use super::forwarder::Shared;
use crate::ids::SessionId;

/// Longest waits for what a browser says.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub first: Duration,
    /// Between two datagrams. The flow of who is silent ends by itself, but that is not seen while something waits to be
    /// written.
    pub next: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: Duration::from_secs(10), next: Limits::default().idle }
    }
}

/// Datagrams that wait for a connection; together at most 375 KiB.
const QUEUE: usize = 256;

/// Whether a connection of the web port that begins with this byte is one: it is the upper half of a length of at most
/// `MAX_DATAGRAM`. HTTP begins with a letter and TLS with 0x16.
#[must_use]
pub fn begins_with(byte: u8) -> bool {
    usize::from(byte) <= MAX_DATAGRAM >> 8
}

/// Until the peer or the flow is gone.
pub(super) async fn run(
    shared: Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    patience: Patience,
) {
    let end = Remote::new(peer, Transport::Tcp);
    if let Err(why) = carry(&shared, stream, end, patience).await {
        shared.counts.of(Transport::Tcp).dropped(why, 1);
    }
    shared.flows().hang_up(&end);
}

/// Tells which datagram was the reason to close.
async fn carry(
    shared: &Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    end: Remote,
    patience: Patience,
) -> Result<(), Dropped> {
    let framing = LengthDelimitedCodec::builder().length_field_length(2).max_frame_length(MAX_DATAGRAM).new_codec();
    let (sink, mut datagrams) = Framed::new(stream, framing).split();
    let first = next(&mut datagrams, patience.first).await?.ok_or(Dropped::Unknown)?;
    let (connection, queue) = mpsc::channel(QUEUE);
    let (session, link) = shared.connect(&first, end, Route::Tcp(connection), Instant::now())?;
    shared.counts.of(Transport::Tcp).up(shared.pass(&link, session, end, &first));
    drop(link);
    tokio::select! {
        closed = up(shared, datagrams, end, session, patience.next) => closed,
        // Ends with the flow, or where nobody listens any more.
        _ = ReceiverStream::new(queue).map(Ok).forward(sink) => Ok(()),
    }
}

type Read = io::Result<BytesMut>;

async fn up(
    shared: &Shared,
    mut datagrams: impl Stream<Item = Read> + Unpin,
    end: Remote,
    session: SessionId,
    limit: Duration,
) -> Result<(), Dropped> {
    let counts = shared.counts.of(Transport::Tcp);
    while let Some(datagram) = next(&mut datagrams, limit).await? {
        if datagram.is_empty() {
            counts.dropped(Dropped::Unknown, 1);
            continue;
        }
        let known = shared.flows().hear(&end, Instant::now());
        let Some((_, link)) = known.filter(|known| known.0 == session) else { return Err(Dropped::Unknown) };
        counts.up(shared.pass(&link, session, end, &datagram));
    }
    Ok(())
}

/// None: there won't be one, at least not in time.
async fn next(
    datagrams: &mut (impl Stream<Item = Read> + Unpin),
    limit: Duration,
) -> Result<Option<BytesMut>, Dropped> {
    match timeout(limit, datagrams.next()).await {
        Ok(Some(Ok(datagram))) => Ok(Some(datagram)),
        Ok(Some(Err(error))) if error.kind() == io::ErrorKind::InvalidData => Err(Dropped::Oversized),
        Ok(Some(Err(_)) | None) | Err(_) => Ok(None),
    }
}
