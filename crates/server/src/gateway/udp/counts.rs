//! What the forwarder counts: how much goes through, and why the rest does not.

use metrics::{Counter, Gauge};
use protocol::media::Transport;

/// Why a datagram goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// From an end that has shown no user name, and not about to; empty; a connection that begins with anything else.
    Unknown,
    /// An ICE check whose user name no server of ours minted.
    BadUserName,
    /// An ICE check whose user name is no longer good.
    Expired,
    /// An ICE check for a session that does not run here.
    NoSession,
    /// One more ICE check from a network that makes too many.
    Flooded,
    /// An ICE check from one end more than there is room for.
    TableFull,
    /// Longer than `protocol::media::MAX_DATAGRAM`.
    Oversized,
    /// No agent takes datagrams.
    AgentGone,
    /// The agent does not keep up.
    AgentBusy,
    /// From an agent: not as `protocol::media` has it.
    Malformed,
    /// From an agent: to an end that its session has not been heard of from lately.
    NotItsOwn,
    /// The network or the kernel would not have it, or who is connected reads too slowly.
    NotSent,
}

const REASONS: [(Dropped, &str); 12] = [
    (Dropped::Unknown, "unknown"),
    (Dropped::BadUserName, "badUserName"),
    (Dropped::Expired, "expired"),
    (Dropped::NoSession, "noSession"),
    (Dropped::Flooded, "flooded"),
    (Dropped::TableFull, "tableFull"),
    (Dropped::Oversized, "oversized"),
    (Dropped::AgentGone, "agentGone"),
    (Dropped::AgentBusy, "agentBusy"),
    (Dropped::Malformed, "malformed"),
    (Dropped::NotItsOwn, "notItsOwn"),
    (Dropped::NotSent, "notSent"),
];

/// Counters looked up once: looking one up costs as much as forwarding a datagram.
pub struct Counts {
    udp: Counted,
    tcp: Counted,
}

impl Counts {
    #[must_use]
    pub fn new() -> Self {
        Self { udp: Counted::new("udp"), tcp: Counted::new("tcp") }
    }

    #[must_use]
    pub fn of(&self, transport: Transport) -> &Counted {
        match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
        }
    }
}

/// What goes by one transport.
pub struct Counted {
    /// Browser to agent.
    up: Counter,
    /// Agent to browser.
    pub down: Counter,
    pub flows: Gauge,
    dropped: [Counter; REASONS.len()],
}

impl Counted {
    fn new(transport: &'static str) -> Self {
        let forwarded = |direction| metrics::counter!("gimp_platform_media_datagrams_total", "transport" => transport, "direction" => direction);
        let dropped = |(_, reason)| metrics::counter!("gimp_platform_media_dropped_total", "transport" => transport, "reason" => reason);
        Self {
            up: forwarded("up"),
            down: forwarded("down"),
            flows: metrics::gauge!("gimp_platform_media_flows", "transport" => transport),
            dropped: REASONS.map(dropped),
        }
    }

    /// What became of a datagram from a browser.
    pub fn up(&self, passed: Result<(), Dropped>) {
        match passed {
            Ok(()) => self.up.increment(1),
            Err(why) => self.dropped(why, 1),
        }
    }

    pub fn dropped(&self, why: Dropped, datagrams: u64) {
        self.dropped[why as usize].increment(datagrams);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_in_their_order() {
        assert!(REASONS.iter().enumerate().all(|(at, (why, _))| *why as usize == at));
    }
}
