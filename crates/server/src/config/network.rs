//! Settings of the network that have a form of their own.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `off`, or where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum UdpListen {
    Off,
    At(SocketAddr),
}

impl TryFrom<String> for UdpListen {
    type Error = std::net::AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::At) }
    }
}

impl From<UdpListen> for String {
    fn from(listen: UdpListen) -> Self {
        match listen {
            UdpListen::Off => "off".to_owned(),
            UdpListen::At(address) => address.to_string(),
        }
    }
}

/// An IP address; the port is there if it is not the one listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicAddress {
    pub ip: IpAddr,
    /// 1..=65535.
    pub port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no IP address that browsers reach")]
pub struct NotPublic;

impl FromStr for PublicAddress {
    type Err = NotPublic;

    fn from_str(text: &str) -> Result<Self, NotPublic> {
        let (ip, port) = match text.parse::<SocketAddr>() {
            Ok(address) => (address.ip(), Some(address.port())),
            Err(_) => (text.parse().map_err(|_| NotPublic)?, None),
        };
        if ip.is_unspecified() || ip.is_multicast() || port == Some(0) {
            return Err(NotPublic);
        }
        Ok(Self { ip: ip.to_canonical(), port })
    }
}

impl TryFrom<String> for PublicAddress {
    type Error = NotPublic;

    fn try_from(text: String) -> Result<Self, NotPublic> {
        text.parse()
    }
}

impl From<PublicAddress> for String {
    fn from(address: PublicAddress) -> Self {
        match address.port {
            Some(port) => SocketAddr::new(address.ip, port).to_string(),
            None => address.ip.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["203.0.113.5", "203.0.113.5:3478", "2001:db8::5", "[2001:db8::5]:443"] {
            assert_eq!(String::from(text.parse::<PublicAddress>().unwrap()), text);
        }
        for text in ["", "0.0.0.0", "[::]:1", "224.0.0.1", "203.0.113.5:0", "example.org", "203.0.113.5:70000"] {
            assert_eq!(text.parse::<PublicAddress>(), Err(NotPublic), "{text}");
        }
        for text in ["off", "0.0.0.0:8080", "[::]:1"] {
            assert_eq!(String::from(UdpListen::try_from(text.to_owned()).unwrap()), text);
        }
        assert!(UdpListen::try_from("on".to_owned()).is_err());
    }
}
