//! What the forwarder counts: how much goes through, and why the rest does not.

use metrics::{Counter, Gauge};

/// Why a datagram goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// From an end that has shown no user name, and not about to.
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
    /// The network or the kernel would not have it.
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
    /// Browser to agent.
    pub up: Counter,
    /// Agent to browser.
    pub down: Counter,
    pub flows: Gauge,
    dropped: [Counter; REASONS.len()],
}

impl Counts {
    #[must_use]
    pub fn new() -> Self {
        let forwarded = |direction| metrics::counter!("gimp_platform_udp_datagrams_total", "direction" => direction);
        Self {
            up: forwarded("up"),
            down: forwarded("down"),
            flows: metrics::gauge!("gimp_platform_udp_flows"),
            dropped: REASONS
                .map(|(_, reason)| metrics::counter!("gimp_platform_udp_dropped_total", "reason" => reason)),
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
