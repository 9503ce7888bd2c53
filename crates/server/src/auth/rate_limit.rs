//! How often one network address and one e-mail address may try. In memory: a restart forgets, which costs a guesser
//! more than it gives, as `lockout` does not.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::email::Email;
use crate::api::client_address::ClientAddress;
use crate::clock::Clock;
use crate::ids::{SessionId, UserId};

/// Keys one limit remembers.
const MAX_KEYS: usize = 20_000;

/// Wait so long, in whole seconds, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    pub seconds: u64,
}

/// All limits of `auth`. Each number is both the burst and what comes back in the time.
pub struct RateLimits {
    /// Sign-ins and password checks: 60 a minute per network address ...
    pub sign_in_address: Limit<IpAddr>,
    /// ... and 20 a minute per account.
    pub sign_in_account: Limit<Email>,
    /// 120 a minute.
    pub refresh_address: Limit<IpAddr>,
    /// 60 an hour.
    pub register_address: Limit<IpAddr>,
    /// Asking for and using reset links: 30 an hour per network address ...
    pub reset_address: Limit<IpAddr>,
    /// ... and 5 mails an hour per account.
    pub reset_account: Limit<Email>,
}

impl RateLimits {
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self {
            sign_in_address: Limit::new(clock, Quota::per_minute(count(60))),
            sign_in_account: Limit::new(clock, Quota::per_minute(count(20))),
            refresh_address: Limit::new(clock, Quota::per_minute(count(120))),
            register_address: Limit::new(clock, Quota::per_hour(count(60))),
            reset_address: Limit::new(clock, Quota::per_hour(count(30))),
            reset_account: Limit::new(clock, Quota::per_hour(count(5))),
        }
    }

    /// Forgets addresses that have all their tries back.
    pub fn prune(&self) {
        for limit in [&self.sign_in_address, &self.refresh_address, &self.register_address, &self.reset_address] {
            limit.prune();
        }
        self.sign_in_account.prune();
        self.reset_account.prune();
    }
}

pub(crate) const fn count(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, WallClock, NoOpMiddleware<Duration>>;

/// One limit for each key.
pub struct Limit<K: Key> {
    clock: WallClock,
    quota: Quota,
    limiter: Mutex<Limiter<K>>,
}

/// What limits count by.
pub trait Key: Hash + Eq + Clone {
    /// The key under which others of the same owner count too.
    #[must_use]
    fn owner(self) -> Self;
}

impl Key for IpAddr {
    fn owner(self) -> Self {
        ClientAddress(self.to_canonical()).network()
    }
}

impl Key for Email {
    fn owner(self) -> Self {
        self
    }
}

impl Key for UserId {
    fn owner(self) -> Self {
        self
    }
}

impl Key for SessionId {
    fn owner(self) -> Self {
        self
    }
}

impl<K: Key> Limit<K> {
    pub(crate) fn new(clock: &Clock, quota: Quota) -> Self {
        let clock = WallClock(clock.clone());
        let limiter = Mutex::new(Limiter::new(quota, HashMapStateStore::default(), clock.clone()));
        Self { clock, quota, limiter }
    }

    /// Counts one try.
    ///
    /// # Errors
    /// When it is one too many; it is not counted then.
    pub fn check(&self, key: K) -> Result<(), Limited> {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        if limiter.len() >= MAX_KEYS {
            limiter.retain_recent();
            limiter.shrink_to_fit();
            if limiter.len() >= MAX_KEYS {
                // Remembering no one is better than refusing everyone; lockout still holds for each account.
                tracing::warn!("rate limits start over: too many addresses at once");
                *limiter = Limiter::new(self.quota, HashMapStateStore::default(), self.clock.clone());
            }
        }
        limiter.check_key(&key.owner()).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            Limited { seconds: wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1) }
        })
    }

    /// Forgets keys that have all their tries back.
    fn prune(&self) {
        let limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.retain_recent();
        limiter.shrink_to_fit();
    }
}

/// Our clock as `governor` wants it: time since the Unix epoch.
#[derive(Debug, Clone)]
struct WallClock(Clock);

impl governor::clock::Clock for WallClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        let ms = self.0.now().unix_timestamp_nanos() / 1_000_000;
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(clock: &Clock) -> Limit<IpAddr> {
        Limit::new(clock, Quota::per_minute(count(3)))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn tries_come_back_with_time() {
        let clock = Clock::default();
        let limit = limit(&clock);
        for _ in 0..3 {
            assert_eq!(limit.check(ip("192.0.2.1")), Ok(()));
        }
        let limited = limit.check(ip("192.0.2.1")).expect_err("the fourth");
        assert!((1..=20).contains(&limited.seconds), "{limited:?}");
        assert_eq!(limit.check(ip("192.0.2.2")), Ok(()), "another address");
        clock.advance(time::Duration::seconds(i64::try_from(limited.seconds).expect("few")));
        assert_eq!(limit.check(ip("192.0.2.1")), Ok(()), "after the time it was told");
    }

    #[test]
    fn one_ipv6_customer_is_one_address() {
        let limit = limit(&Clock::default());
        for last in 1..=3 {
            assert_eq!(limit.check(ip(&format!("2001:db8:1:2::{last}"))), Ok(()));
        }
        assert!(limit.check(ip("2001:db8:1:2:ffff::1")).is_err());
        assert_eq!(limit.check(ip("2001:db8:1:3::1")), Ok(()));
        assert_eq!(ip("::ffff:192.0.2.1").owner(), ip("192.0.2.1"));
    }

    #[test]
    fn memory_stays_bounded() {
        let clock = Clock::default();
        let limit = limit(&clock);
        for number in 0..u32::try_from(MAX_KEYS).expect("fits") * 2 + 10 {
            assert_eq!(limit.check(IpAddr::V4(number.into())), Ok(()));
            assert!(limit.limiter.lock().expect("lock").len() <= MAX_KEYS);
        }
        clock.advance(time::Duration::hours(1));
        limit.prune();
        assert_eq!(limit.limiter.lock().expect("lock").len(), 0);
    }
}
