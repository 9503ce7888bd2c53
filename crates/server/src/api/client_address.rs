//! Where a request really comes from: the peer of the TCP connection, or what a trusted proxy says about it.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub client: SocketAddr,
    /// Ours; None where the kernel did not tell.
    pub server: Option<IpAddr>,
}

/// Extractor: the client's address. Its text form is what logs and the database hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// Whose requests are counted together: one IPv4 address or one IPv6 /64, which is what one household gets.
    #[must_use]
    pub fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        }
    }

    /// Reads `X-Forwarded-For` from the right: each trusted proxy vouches for the address before it.
    pub(crate) fn determine(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
        let mut client = peer.to_canonical();
        let forwarded = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim);
        let hops: Vec<&str> = forwarded.collect();
        for hop in hops.into_iter().rev() {
            if !is_trusted(client) {
                break;
            }
            match parse(hop) {
                Some(ip) => client = ip,
                None => break,
            }
        }
        Self(client)
    }
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn parse(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches('"');
    let ip: Option<IpAddr> = hop.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()));
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    ip.or_else(bracketed).map(|ip| ip.to_canonical())
}

impl std::fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The TCP peer; unspecified where there is none (requests made in memory).
pub(super) fn peer(extensions: &Extensions) -> IpAddr {
    extensions.get::<ConnectInfo<Ends>>().map_or(Ipv6Addr::UNSPECIFIED.into(), |info| info.0.client.ip())
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // The outermost layer has put it there; without it only the peer is known.
        Ok(parts.extensions.get().copied().unwrap_or_else(|| Self(peer(&parts.extensions).to_canonical())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        ClientAddress::determine(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client("198.51.100.7", &["203.0.113.9"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("fd00::1", &["2001:db8::5"]), "2001:db8::5");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_the_client_itself_sent_is_not_believed() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, nonsense, 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn addresses_come_in_several_dresses() {
        assert_eq!(client("10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["\"[2001:db8::5]:4711\""]), "2001:db8::5");
        assert_eq!(client("10.0.0.1", &["[2001:db8::5]"]), "2001:db8::5");
        assert_eq!(client("::ffff:10.0.0.1", &["::ffff:203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn a_household_is_counted_as_one() {
        let of = |text: &str| ClientAddress(text.parse().unwrap()).network().to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("203.0.113.9"), "203.0.113.9");
    }
}
