//! The agent's half of an ICE user name, minted by the server: it says which session a path belongs to and proves that the
//! server let somebody in, so that whichever server a datagram reaches can route it without asking another.
//!
//! 36 bytes in base64 without padding, whose alphabet is that of ICE (RFC 8839 section 5.4):
//!
//! ```text
//! 0..16   session id
//! 16..20  until when new paths may begin with it, seconds since 1970, big-endian
//! 20..24  random, so that the streams of one session have names of their own
//! 24..36  HMAC-SHA-256 of all before, cut to 96 bits
//! ```
//!
//! It is no secret: who is on the way of a check reads it. It opens no more than a path to an agent that wants a password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, Mac};
use rand::Rng;
use sha2::Sha256;
use uuid::Uuid;

use crate::driver::AgentKey;
use crate::ids::SessionId;

/// Keeps these MACs apart from whatever else the key signs.
const PURPOSE: &[u8] = b"gimp-platform media user name\0";
const SIGNED: usize = 24;
const LENGTH: usize = 36;
/// Characters of a minted fragment.
const TEXT: usize = LENGTH / 3 * 4;

/// Mints and checks.
#[derive(Clone)]
pub struct UserNames(Hmac<Sha256>);

/// What a fragment says; not yet known to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim([u8; LENGTH]);

impl UserNames {
    #[must_use]
    pub fn new(key: &AgentKey) -> Self {
        Self(key.mac(PURPOSE))
    }

    /// A fragment that lets new paths to `session` begin until `expires`, seconds since 1970.
    #[must_use]
    pub fn mint(&self, session: SessionId, expires: u32) -> String {
        let mut claim = [0; LENGTH];
        claim[..16].copy_from_slice(session.0.as_bytes());
        claim[16..20].copy_from_slice(&expires.to_be_bytes());
        rand::rng().fill(&mut claim[20..SIGNED]);
        let tag = self.mac(&claim).finalize().into_bytes();
        claim[SIGNED..].copy_from_slice(&tag[..LENGTH - SIGNED]);
        STANDARD_NO_PAD.encode(claim)
    }

    /// Whether a server with our key minted it. In constant time.
    #[must_use]
    pub fn minted(&self, claim: &Claim) -> bool {
        self.mac(&claim.0).verify_truncated_left(&claim.0[SIGNED..]).is_ok()
    }

    fn mac(&self, claim: &[u8; LENGTH]) -> Hmac<Sha256> {
        self.0.clone().chain_update(&claim[..SIGNED])
    }
}

impl Claim {
    /// Reads a check's user name, `<agent's fragment>:<browser's fragment>` (RFC 8445 section 7.2.2). None: no server
    /// of ours minted it.
    #[must_use]
    pub fn parse(user_name: &[u8]) -> Option<Self> {
        let (agents, rest) = user_name.split_at_checked(TEXT)?;
        let browsers = rest.strip_prefix(b":")?;
        let ice = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        if !(4..=256).contains(&browsers.len()) || !browsers.iter().all(ice) {
            return None;
        }
        let mut claim = [0; LENGTH];
        let length = STANDARD_NO_PAD.decode_slice(agents, &mut claim).ok()?;
        (length == LENGTH).then_some(Self(claim))
    }

    #[must_use]
    pub fn session(&self) -> SessionId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.0[..16]);
        SessionId(Uuid::from_bytes(id))
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> u32 {
        let [.., a, b, c, d] = self.0[..20] else { return 0 };
        u32::from_be_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(byte: u8) -> UserNames {
        UserNames::new(&AgentKey::of_bytes([byte; 32]))
    }

    fn claim(fragment: &str) -> Option<Claim> {
        Claim::parse(format!("{fragment}:abcd").as_bytes())
    }

    #[test]
    fn what_is_minted_is_recognised_by_every_server_with_the_key() {
        let session = SessionId::new();
        let fragment = names(1).mint(session, 1_800_000_000);
        let claim = claim(&fragment).unwrap();
        assert_eq!((claim.session(), claim.expires()), (session, 1_800_000_000));
        assert!(names(1).minted(&claim));
        assert!(!names(2).minted(&claim), "another key");
    }

    #[test]
    fn fragments_are_ice_characters_and_each_is_new() {
        let fragment = names(1).mint(SessionId::new(), u32::MAX);
        assert_eq!(fragment.len(), 48);
        assert!(fragment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'));
        let session = SessionId::new();
        assert_ne!(names(1).mint(session, 1), names(1).mint(session, 1));
    }

    #[test]
    fn a_mac_of_the_key_for_another_purpose_is_none_of_ours() {
        let key = AgentKey::of_bytes([1; 32]);
        let other = UserNames(key.mac(b"something else\0")).mint(SessionId::new(), 1);
        assert!(!names(1).minted(&claim(&other).unwrap()));
    }

    #[test]
    fn the_shape_is_strict() {
        let fragment = names(1).mint(SessionId::new(), 1);
        for bad in [
            fragment.clone(),
            format!("{fragment}:"),
            format!("{fragment}:abc"),
            format!("{fragment}:abcd:efgh"),
            format!("{fragment}:ab d"),
            format!("{fragment}:{}", "a".repeat(257)),
            format!("{fragment}A:abcd"),
            format!("{}:abcd", &fragment[1..]),
            format!("-{}:abcd", &fragment[1..]),
            format!("={}:abcd", &fragment[1..]),
            format!("abcd:{fragment}"),
            String::new(),
        ] {
            assert_eq!(Claim::parse(bad.as_bytes()), None, "{bad}");
        }
        assert!(Claim::parse(format!("{fragment}:{}", "a".repeat(256)).as_bytes()).is_some());
    }

    proptest! {
        #[test]
        fn no_change_is_overlooked(at in 0..48_usize, byte in any::<u8>()) {
            let names = names(1);
            let mut fragment = names.mint(SessionId::new(), 1_800_000_000).into_bytes();
            prop_assume!(fragment[at] != byte);
            fragment[at] = byte;
            fragment.extend(b":abcd");
            prop_assert!(Claim::parse(&fragment).is_none_or(|claim| !names.minted(&claim)));
        }

        #[test]
        fn garbage_is_never_ours(garbage in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(Claim::parse(&garbage).is_none_or(|claim| !names(1).minted(&claim)));
        }
    }
}
