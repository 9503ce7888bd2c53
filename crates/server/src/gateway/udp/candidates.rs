//! At which addresses browsers are told to try the UDP port and the web port, which takes ICE-TCP. A server rarely knows the address it is reached at, but the
//! browser has just reached it: what that tells comes first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use protocol::agent::MediaCandidate;
use protocol::media::Transport;

use crate::config::PublicAddress;

/// Most candidates told: 16 of both. A browser has one end for all that it reaches by UDP, but makes a connection to each
/// that it reaches by TCP.
fn limit(transport: Transport) -> usize {
    match transport {
        Transport::Udp => 12,
        Transport::Tcp => 4,
    }
}

/// How a browser reached the server.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The host of its URL, if that is an address.
    pub host: Option<IpAddr>,
    /// Our end of its connection.
    pub local: Option<IpAddr>,
    /// Its own address.
    pub client: IpAddr,
}

/// Of the port that is bound to `bound`, best first. `interfaces` are asked for only where nothing better is known.
pub fn candidates(
    transport: Transport,
    bound: SocketAddr,
    public: &[PublicAddress],
    way: Way,
    interfaces: impl FnOnce() -> Vec<IpAddr>,
) -> Vec<MediaCandidate> {
    let from_here = way.client.to_canonical().is_loopback();
    let usable = |ip: &IpAddr| {
        let ip = ip.to_canonical();
        !ip.is_unspecified()
            && !ip.is_multicast()
            && !is_link_local(ip)
            && (from_here || !ip.is_loopback())
            // A socket on [::] has both families.
            && (ip.is_ipv4() == bound.is_ipv4() || bound.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    };
    let reaches = |ip: &IpAddr| usable(ip) && (bound.ip().is_unspecified() || bound.ip() == ip.to_canonical());

    let mut found: Vec<(IpAddr, u16)> =
        public.iter().map(|address| (address.ip, address.port.unwrap_or(bound.port()))).collect();
    let mut add = |ip: IpAddr| found.push((ip.to_canonical(), bound.port()));
    // It may be that of a router in front: then it is none of ours. Nobody forwards to a loopback address.
    let host = way.host.filter(|ip| usable(ip) && (reaches(ip) || !bound.ip().is_loopback()));
    host.into_iter().for_each(&mut add);
    if !bound.ip().is_unspecified() {
        Some(bound.ip()).filter(reaches).into_iter().for_each(&mut add);
    } else if host.is_none() && public.is_empty() {
        let outward = |ip: &IpAddr| usable(ip) && !ip.to_canonical().is_loopback();
        // Behind a proxy on this machine our end says nothing.
        match way.local.filter(outward) {
            Some(ip) => add(ip),
            None => interfaces().into_iter().filter(outward).for_each(&mut add),
        }
    }
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    loopback.into_iter().filter(|ip| from_here && reaches(ip)).for_each(&mut add);

    let mut candidates: Vec<MediaCandidate> = vec![];
    for (address, port) in found {
        let candidate = MediaCandidate { address, port, transport };
        if candidates.len() < limit(transport) && !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    candidates
}

/// Means nothing without its interface.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The addresses of this machine; none where they can't be had.
pub fn interfaces() -> Vec<IpAddr> {
    let Ok(networks) = sysinfo::Networks::new_with_refreshed_list() else { return vec![] };
    let mut addresses: Vec<IpAddr> =
        networks.values().flat_map(|network| network.ip_networks()).map(|network| network.addr).collect();
    // The map has no order; IPv4 first.
    addresses.sort();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn way(host: &str, local: &str, client: &str) -> Way {
        Way { host: host.parse().ok(), local: local.parse().ok(), client: ip(client) }
    }

    fn found(bound: &str, public: &[&str], way: Way) -> Vec<String> {
        let public: Vec<PublicAddress> = public.iter().map(|text| text.parse().unwrap()).collect();
        let interfaces = || ["127.0.0.1", "169.254.1.1", "198.51.100.1", "2001:db8::1", "fe80::1"].map(ip).to_vec();
        let of = |transport| candidates(transport, bound.parse().unwrap(), &public, way, interfaces);
        let (udp, tcp) = (of(Transport::Udp), of(Transport::Tcp));
        let by_tcp = |one: &MediaCandidate| MediaCandidate { transport: Transport::Tcp, ..*one };
        assert!(udp.iter().all(|candidate| candidate.transport == Transport::Udp));
        assert_eq!(tcp, udp.iter().take(limit(Transport::Tcp)).map(by_tcp).collect::<Vec<_>>());
        udp.iter().map(|one| SocketAddr::new(one.address, one.port).to_string()).collect()
    }

    #[test]
    fn the_address_the_browser_used_is_the_best() {
        let way = way("203.0.113.5", "192.168.1.2", "203.0.113.77");
        assert_eq!(found("0.0.0.0:8080", &[], way), ["203.0.113.5:8080"]);
        assert_eq!(found("[::]:8080", &[], way), ["203.0.113.5:8080"]);
        // A router forwards to the one address.
        assert_eq!(found("192.168.1.2:8080", &[], way), ["203.0.113.5:8080", "192.168.1.2:8080"]);
    }

    #[test]
    fn behind_a_name_it_is_our_end_of_the_connection() {
        let named = way("gimp.example.org", "192.168.1.2", "192.168.1.77");
        assert_eq!(found("0.0.0.0:8080", &[], named), ["192.168.1.2:8080"]);
        let mapped = way("", "::ffff:192.168.1.2", "192.168.1.77");
        assert_eq!(found("[::]:8080", &[], mapped), ["192.168.1.2:8080"]);
    }

    #[test]
    fn behind_a_proxy_it_is_what_the_machine_has() {
        let proxied = way("", "127.0.0.1", "203.0.113.77");
        assert_eq!(found("0.0.0.0:8080", &[], proxied), ["198.51.100.1:8080"]);
        assert_eq!(found("[::]:8080", &[], proxied), ["198.51.100.1:8080", "[2001:db8::1]:8080"]);
        assert_eq!(found("127.0.0.1:8080", &[], proxied), [""; 0], "nobody gets there");
    }

    #[test]
    fn what_is_configured_is_told_first() {
        let way = way("", "127.0.0.1", "203.0.113.77");
        let public = ["203.0.113.5", "203.0.113.6:443", "[2001:db8::9]:1"];
        let expected = ["203.0.113.5:8080", "203.0.113.6:443", "[2001:db8::9]:1"];
        assert_eq!(found("127.0.0.1:8080", &public, way), expected);
        assert_eq!(found("0.0.0.0:8080", &public, way), expected);
    }

    #[test]
    fn who_is_on_this_machine_is_told_of_loopback() {
        let here = way("127.0.0.1", "127.0.0.1", "127.0.0.1");
        assert_eq!(found("127.0.0.1:8080", &[], here), ["127.0.0.1:8080"]);
        let named = way("localhost", "::1", "::1");
        assert_eq!(found("[::1]:8080", &[], named), ["[::1]:8080"]);
        let expected = ["198.51.100.1:8080", "[2001:db8::1]:8080", "127.0.0.1:8080", "[::1]:8080"];
        assert_eq!(found("[::]:8080", &[], named), expected);
        let outside = way("127.0.0.1", "127.0.0.1", "203.0.113.77");
        assert_eq!(found("127.0.0.1:8080", &[], outside), [""; 0]);
    }

    #[test]
    fn families_are_kept_apart_and_the_list_is_short() {
        let six = way("2001:db8::5", "", "2001:db8::77");
        assert_eq!(found("[::]:1", &[], six), ["[2001:db8::5]:1"]);
        assert_eq!(found("0.0.0.0:1", &[], six), ["198.51.100.1:1"]);
        let public: Vec<String> = (0..40).map(|last| format!("203.0.113.{}", last / 2)).collect();
        let public: Vec<&str> = public.iter().map(String::as_str).collect();
        assert_eq!(found("0.0.0.0:1", &public, six).len(), limit(Transport::Udp));
    }

    #[test]
    fn this_machine_is_asked_without_failing() {
        assert!(interfaces().is_sorted());
    }
}
