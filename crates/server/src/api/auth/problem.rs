//! How refusals of `auth` read over HTTP.

use axum::http::StatusCode;

use crate::auth::accounts::AccountError;
use crate::auth::grant::GrantError;
use crate::auth::login::LoginError;
use crate::auth::outbox::OutboxFull;
use crate::auth::password::HashError;
use crate::auth::rate_limit::Limited;
use crate::auth::registration::RegisterError;
use crate::auth::reset::{ChangeError, ResetError};
use crate::error::Problem;

impl From<Limited> for Problem {
    fn from(limited: Limited) -> Self {
        let wait = minutes(limited.seconds);
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rateLimited",
            format!("Too many attempts. Wait {wait} and try again."),
        )
        .retry_after(limited.seconds)
    }
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "auth.busy",
                "Many people are signing in at the moment. Try again in some seconds.",
            )
            .retry_after(5),
            HashError::Unhashable(rule) => Self::invalid(&[("password", rule.to_string())]),
            HashError::Bcrypt(_) | HashError::Thread => Self::internal(error),
        }
    }
}

impl From<GrantError> for Problem {
    fn from(error: GrantError) -> Self {
        let signed_out =
            |detail: &str| Self::new(StatusCode::UNAUTHORIZED, "auth.signedOut", format!("{detail} Sign in again."));
        match error {
            GrantError::Invalid => signed_out("You are signed out."),
            GrantError::Reused => signed_out(
                "You were signed out for safety: this browser's sign-in was used twice, so somebody may have copied it.",
            ),
            GrantError::Random(_) | GrantError::Db(_) => Self::internal(error),
        }
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        let text = error.to_string();
        match error {
            LoginError::Wrong => Self::new(StatusCode::UNAUTHORIZED, "auth.wrongCredentials", text),
            LoginError::Locked(locked) => {
                let wait = minutes(locked.seconds);
                let detail = format!("{text} Wait {wait}, or choose a new password with \"Forgot password\".");
                Self::new(StatusCode::TOO_MANY_REQUESTS, "auth.locked", detail).retry_after(locked.seconds)
            }
            LoginError::Deactivated => Self::new(StatusCode::FORBIDDEN, "auth.deactivated", text),
            LoginError::Hash(error) => error.into(),
            LoginError::Grant(error) => error.into(),
        }
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        let text = error.to_string();
        match error {
            AccountError::Email(_) => Self::invalid(&[("email", text)]),
            AccountError::Password(_) => Self::invalid(&[("password", text)]),
            AccountError::Name { field } => Self::invalid(&[(field, text)]),
            AccountError::EmailTaken => Self::new(StatusCode::CONFLICT, "auth.emailTaken", text),
            AccountError::Unknown => Self::new(StatusCode::NOT_FOUND, "notFound", text),
            AccountError::Inactive => Self::new(StatusCode::CONFLICT, "users.inactive", text),
            AccountError::LastAdmin => Self::new(StatusCode::CONFLICT, "users.lastAdmin", text),
            AccountError::Hash(error) => error.into(),
            AccountError::Db(error) => error.into(),
        }
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        let text = error.to_string();
        match error {
            RegisterError::Closed => Self::new(StatusCode::FORBIDDEN, "auth.registrationClosed", text),
            RegisterError::InviteNeeded => Self::new(StatusCode::FORBIDDEN, "auth.inviteNeeded", text),
            RegisterError::InviteInvalid => Self::new(StatusCode::FORBIDDEN, "auth.inviteInvalid", text),
            RegisterError::Account(error) => error.into(),
            RegisterError::Grant(error) => error.into(),
        }
    }
}

impl From<ResetError> for Problem {
    fn from(error: ResetError) -> Self {
        let text = error.to_string();
        match error {
            ResetError::Invalid => Self::new(StatusCode::BAD_REQUEST, "auth.resetInvalid", text),
            ResetError::Account(error) => error.into(),
            ResetError::Grant(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Account(AccountError::Password(rule)) => Self::invalid(&[("newPassword", rule.to_string())]),
            ChangeError::Account(error) => error.into(),
            ChangeError::Login(error) => error.into(),
        }
    }
}

impl From<OutboxFull> for Problem {
    fn from(_: OutboxFull) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "auth.busy",
            "Many mails are on their way at the moment. Try again in a minute.",
        )
        .retry_after(60)
    }
}

/// A time to wait as people say it.
fn minutes(seconds: u64) -> String {
    match seconds {
        1 => "1 second".to_owned(),
        2..=90 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::accounts::AccountError;
    use crate::auth::lockout::Locked;
    use crate::auth::password::PasswordRule;

    #[track_caller]
    fn assert_reads(problem: impl Into<Problem>, status: u16, code: &str, retry_after: Option<u64>, words: &str) {
        let problem = problem.into();
        assert_eq!((problem.status.as_u16(), problem.code, problem.retry_after), (status, code, retry_after));
        assert!(problem.detail.contains(words), "{}", problem.detail);
    }

    #[test]
    fn refusals_say_what_to_do() {
        assert_reads(Limited { seconds: 1 }, 429, "rateLimited", Some(1), "Wait 1 second and");
        assert_reads(Limited { seconds: 90 }, 429, "rateLimited", Some(90), "Wait 90 seconds");
        assert_reads(Limited { seconds: 121 }, 429, "rateLimited", Some(121), "Wait 3 minutes");
        assert_reads(LoginError::Locked(Locked { seconds: 3600 }), 429, "auth.locked", Some(3600), "60 minutes");
        assert_reads(OutboxFull, 503, "auth.busy", Some(60), "in a minute");
        for busy in [
            Problem::from(LoginError::Hash(HashError::Busy)),
            RegisterError::Account(HashError::Busy.into()).into(),
            ResetError::Account(HashError::Busy.into()).into(),
            ChangeError::Account(HashError::Busy.into()).into(),
        ] {
            assert_reads(busy, 503, "auth.busy", Some(5), "in some seconds");
        }
        assert_reads(HashError::Unhashable(PasswordRule::Nul), 422, "invalid", None, "NUL");
        assert_reads(AccountError::LastAdmin, 409, "users.lastAdmin", None, "Make another one first");
    }

    #[test]
    fn our_own_failures_tell_nothing() {
        let db = || sea_orm::DbErr::Custom("secret cause".to_owned());
        for problem in [
            Problem::from(HashError::Thread),
            HashError::Bcrypt(bcrypt::BcryptError::CostNotAllowed(99)).into(),
            GrantError::Db(db()).into(),
            LoginError::from(db()).into(),
            RegisterError::from(db()).into(),
            RegisterError::Grant(db().into()).into(),
            ResetError::from(db()).into(),
            ResetError::Grant(db().into()).into(),
            ChangeError::from(db()).into(),
            ChangeError::Login(db().into()).into(),
        ] {
            assert_reads(problem, 500, "internal", None, "request id");
        }
    }
}
