//! Who is asking: accounts, sign-ins, tokens, passwords. No HTTP beyond the extractors.

pub mod accounts;
pub mod audit;
pub mod client;
pub mod current;
pub mod email;
pub mod grant;
pub mod invite;
pub mod lockout;
pub mod login;
pub mod outbox;
pub mod password;
pub mod prune;
pub mod rate_limit;
pub mod registration;
pub mod reset;
pub mod token;
pub mod watch;

use std::sync::Arc;

use time::Duration;

use crate::clock::Clock;
use crate::config::Settings;
use crate::mail::{MailError, Mailer};
use grant::Lifetimes;
use outbox::Outbox;
use password::Passwords;
use rate_limit::RateLimits;

/// What accounts need beside the database. Clones share everything.
#[derive(Clone)]
pub struct Auth {
    pub passwords: Passwords,
    pub limits: Arc<RateLimits>,
    pub lifetimes: Lifetimes,
    pub outbox: Outbox,
}

impl Auth {
    /// # Errors
    /// When the mail settings are not usable.
    pub fn new(settings: &Settings, clock: &Clock) -> Result<Self, MailError> {
        Ok(Self {
            passwords: Passwords::new(settings.bcrypt_cost),
            limits: Arc::new(RateLimits::new(clock)),
            lifetimes: Lifetimes {
                access: Duration::minutes(settings.access_minutes.into()),
                refresh: Duration::days(settings.refresh_days.into()),
            },
            outbox: Outbox::new(Mailer::new(settings)?),
        })
    }
}
