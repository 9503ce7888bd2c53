//! Datagrams of WebRTC between gateway and agent. The gateway has the one UDP port and knows neither DTLS nor SRTP; the
//! agent has no network.
//!
//! One message of the agent's socket `agent::paths::MEDIA_SOCKET` (`SOCK_SEQPACKET`; the agent listens) is one datagram:
//!
//! ```text
//! 0..16   address of the browser's end, IPv6 (an IPv4 address as ::ffff:a.b.c.d, RFC 4291 section 2.5.5.2)
//! 16..18  its port, big-endian
//! 18      flags: bit 0: by ICE-TCP (RFC 6544) and not by UDP; the others are 0
//! 19..    the datagram, 1..=MAX_DATAGRAM bytes
//! ```
//!
//! From the gateway it tells who sent the datagram, from the agent who is to get it: only ends that the gateway has
//! heard from lately are reached.

use std::net::{Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Bytes before the datagram.
pub const HEADER: usize = 19;
/// Largest datagram, bytes: what one Ethernet frame carries, headers not counted.
pub const MAX_DATAGRAM: usize = 1500;
/// Largest message, bytes.
pub const MAX_MESSAGE: usize = HEADER + MAX_DATAGRAM;

const TCP: u8 = 1;

/// How a datagram travels between browser and gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Transport {
    Udp,
    /// ICE-TCP: framed by RFC 4571.
    Tcp,
}

/// A browser's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Remote {
    ip: Ipv6Addr,
    port: u16,
    transport: Transport,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it has no datagram")]
    TooShort,
    #[error("its datagram is longer than {MAX_DATAGRAM} bytes")]
    TooLong,
    #[error("it has unknown flags")]
    Flags,
}

impl Remote {
    /// The zone of a link-local address is left out: the gateway knows it.
    #[must_use]
    pub fn new(address: SocketAddr, transport: Transport) -> Self {
        let ip = match address {
            SocketAddr::V4(address) => address.ip().to_ipv6_mapped(),
            SocketAddr::V6(address) => *address.ip(),
        };
        Self { ip, port: address.port(), transport }
    }

    /// As addresses are written: a mapped IPv4 address is an IPv4 address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip.to_canonical(), self.port)
    }

    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// What goes before the datagram.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..16].copy_from_slice(&self.ip.octets());
        header[16..18].copy_from_slice(&self.port.to_be_bytes());
        header[18] = match self.transport {
            Transport::Udp => 0,
            Transport::Tcp => TCP,
        };
        header
    }

    /// Takes a message apart.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(message: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (header, datagram) = message.split_first_chunk::<HEADER>().ok_or(Malformed::TooShort)?;
        if datagram.is_empty() {
            return Err(Malformed::TooShort);
        }
        if datagram.len() > MAX_DATAGRAM {
            return Err(Malformed::TooLong);
        }
        let [ip @ .., high, low, flags] = *header;
        let transport = match flags {
            0 => Transport::Udp,
            TCP => Transport::Tcp,
            _ => return Err(Malformed::Flags),
        };
        Ok((Self { ip: Ipv6Addr::from(ip), port: u16::from_be_bytes([high, low]), transport }, datagram))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_layout_is_the_one_described() {
        let remote = Remote::new("192.0.2.7:4660".parse().unwrap(), Transport::Tcp);
        assert_eq!(remote.encode(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7, 0x12, 0x34, 1]);
        let mapped = Remote::new("[::ffff:192.0.2.7]:4660".parse().unwrap(), Transport::Tcp);
        assert_eq!(mapped, remote);
        assert_eq!(mapped.address().to_string(), "192.0.2.7:4660");
    }

    #[test]
    fn nonsense_is_refused() {
        let mut message = [0; MAX_MESSAGE + 1];
        assert_eq!(Remote::decode(&message[..HEADER]), Err(Malformed::TooShort));
        assert_eq!(Remote::decode(&[]), Err(Malformed::TooShort));
        assert_eq!(Remote::decode(&message), Err(Malformed::TooLong));
        assert_eq!(Remote::decode(&message[..MAX_MESSAGE]).unwrap().1.len(), MAX_DATAGRAM);
        message[18] = 2;
        assert_eq!(Remote::decode(&message[..40]), Err(Malformed::Flags));
    }

    proptest! {
        #[test]
        fn messages_come_back(
            address in any::<SocketAddr>(), tcp in any::<bool>(), datagram in prop::collection::vec(any::<u8>(), 1..64),
        ) {
            let remote = Remote::new(address, if tcp { Transport::Tcp } else { Transport::Udp });
            let message = [&remote.encode()[..], &datagram].concat();
            prop_assert_eq!(Remote::decode(&message), Ok((remote, &datagram[..])));
            prop_assert_eq!(remote.address(), SocketAddr::new(address.ip().to_canonical(), address.port()));
        }

        #[test]
        fn what_is_read_is_written_the_same(message in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((remote, datagram)) = Remote::decode(&message) {
                prop_assert_eq!([&remote.encode()[..], datagram].concat(), message);
            }
        }
    }
}
