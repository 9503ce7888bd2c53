//! From one session's agent to its browsers. An agent shares its sandbox with the user's programs: it reaches only ends
//! that were let in for its session, and not faster than a picture needs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::media::{HEADER, MAX_MESSAGE, Remote, Transport};
use quinn_udp::Transmit;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::counts::Dropped;
use super::flows::Route;
use super::forwarder::Shared;
use crate::driver::seqpacket::Seqpacket;
use crate::ids::SessionId;

/// Bytes of datagrams that one send takes at most: with headers it must stay below 64 KiB.
const BATCH: usize = 63 * 1024;
/// What one session may send in `PERIOD`, bytes: some 170 Mbit/s of video. More is held up at the agent.
const ALLOWANCE: usize = 512 * 1024;
/// What a datagram costs beside its bytes: small ones are not for nothing.
const OVERHEAD: usize = 256;
const PERIOD: Duration = Duration::from_millis(20);

/// Until the agent hangs up.
pub(super) async fn run(shared: Arc<Shared>, session: SessionId, agent: Arc<Seqpacket>) {
    let mut down = Down {
        shared,
        session,
        buffer: vec![0; BATCH + MAX_MESSAGE + 1].into_boxed_slice(),
        batch: None,
        allowance: Allowance { since: Instant::now(), used: 0 },
    };
    while agent.readable().await.is_ok() {
        loop {
            match agent.try_recv(down.room()) {
                Ok(length) => down.take(length).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return down.flush().await,
            }
        }
        down.flush().await;
    }
}

struct Down {
    shared: Arc<Shared>,
    session: SessionId,
    /// The batch's datagrams, one after the other, then room for a message.
    buffer: Box<[u8]>,
    batch: Option<Batch>,
    allowance: Allowance,
}

/// Datagrams to one end that are sent together (GSO): all of one length but the last, which may be shorter.
#[derive(Debug, Clone, Copy)]
struct Batch {
    to: Remote,
    segment: usize,
    length: usize,
}

impl Batch {
    fn count(&self) -> usize {
        self.length.div_ceil(self.segment)
    }

    fn takes(&self, to: Remote, length: usize, segments: usize) -> bool {
        let even = self.length.is_multiple_of(self.segment);
        self.to == to && even && length <= self.segment && self.count() < segments && self.length + length <= BATCH
    }
}

impl Down {
    fn length(&self) -> usize {
        self.batch.map_or(0, |batch| batch.length)
    }

    /// For a message, one byte more than it may have.
    fn room(&mut self) -> &mut [u8] {
        let at = self.length();
        &mut self.buffer[at..at + MAX_MESSAGE + 1]
    }

    /// A message of so many bytes is in `room`.
    async fn take(&mut self, length: usize) {
        let at = self.length();
        let (to, size) = match Remote::decode(&self.buffer[at..at + length]) {
            Ok((to, datagram)) => (to, datagram.len()),
            Err(_) => {
                // Nobody knows to whom.
                self.shared.counts.of(Transport::Udp).dropped(Dropped::Malformed, 1);
                return self.allowance.spend(length + OVERHEAD).await;
            }
        };
        let fits = self.batch.is_some_and(|batch| batch.takes(to, size, self.shared.segments()));
        if !fits {
            self.flush().await;
        }
        let datagram = at + HEADER..at + length;
        let batch = self.batch.get_or_insert(Batch { to, segment: size, length: 0 });
        self.buffer.copy_within(datagram, batch.length);
        batch.length += size;
    }

    async fn flush(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        let count = batch.count() as u64;
        let counts = self.shared.counts.of(batch.to.transport());
        let route = self.shared.flows().route(self.session, &batch.to, Instant::now());
        let sent = match route {
            Some(Route::Udp { to, from }) => Some(self.send(batch, to, from).await),
            Some(Route::Tcp(connection)) => Some(self.queue(batch, &connection)),
            None => None,
        };
        match sent {
            Some(sent) => {
                counts.down.increment(sent);
                counts.dropped(Dropped::NotSent, count - sent);
            }
            None => counts.dropped(Dropped::NotItsOwn, count),
        }
        self.allowance.spend(batch.length + batch.count() * OVERHEAD).await;
    }

    /// Tells how many were sent.
    async fn send(&self, batch: Batch, to: SocketAddr, from: Option<IpAddr>) -> u64 {
        let Some(port) = &self.shared.port else { return 0 };
        let contents = &self.buffer[..batch.length];
        let transmit =
            |contents, segment_size| Transmit { destination: to, ecn: None, contents, segment_size, src_ip: from };
        if port.send(&transmit(contents, Some(batch.segment))).await.is_ok() {
            return batch.count() as u64;
        }
        // Not every way out takes several at once, and one that is too long must not take the others along.
        let mut sent = 0;
        for datagram in contents.chunks(batch.segment) {
            sent += u64::from(port.send(&transmit(datagram, None)).await.is_ok());
        }
        sent
    }

    /// The same onto a connection. Who reads too slowly loses the newest, as where a network is full.
    fn queue(&self, batch: Batch, connection: &mpsc::Sender<Bytes>) -> u64 {
        let datagrams = self.buffer[..batch.length].chunks(batch.segment);
        datagrams.map(|datagram| u64::from(connection.try_send(Bytes::copy_from_slice(datagram)).is_ok())).sum()
    }
}

/// Of a period.
struct Allowance {
    since: Instant,
    used: usize,
}

impl Allowance {
    /// Waits for the next period if this one's is used up.
    async fn spend(&mut self, bytes: usize) {
        self.used += bytes;
        let next = self.since + PERIOD;
        if self.used >= ALLOWANCE {
            tokio::time::sleep_until(next).await;
        }
        let now = Instant::now();
        if now >= next {
            *self = Self { since: now, used: 0 };
        }
    }
}
