//! Failed sign-ins make an e-mail address wait. Keyed by the address typed, whether or not an account has it: what a
//! caller sees can't tell. The decision is pure; `charge` and `clear` keep it in SQL, so that it holds over restarts
//! and servers.
//!
//! An attempt is counted before it is checked and forgiven when it succeeds, so that a thousand attempts at once get no
//! more guesses than one after the other.

use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};
use time::{Duration, OffsetDateTime};

use super::email::Email;
use super::token;
use crate::db::entity::login_failure;

/// Failures before the first pause.
pub const FREE_FAILURES: u32 = 5;
/// Doubles with each further failure.
pub const FIRST_PAUSE: Duration = Duration::seconds(30);
pub const LONGEST_PAUSE: Duration = Duration::hours(1);
/// Quiet time after which failures are forgotten.
pub const FORGET_AFTER: Duration = Duration::hours(24);
/// Lost races against other attempts on the same address before this one is told to wait.
const MAX_RACES: usize = 20;

/// Failures in a row for one e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// At least 1.
    pub failures: u32,
    pub last_at: OffsetDateTime,
    pub locked_until: Option<OffsetDateTime>,
}

/// No attempt is checked for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked {
    /// Seconds until the next attempt, at least 1.
    pub seconds: u64,
}

impl Lockout {
    /// Counts one attempt as failed, or refuses to look at it. Refused attempts change nothing: hammering does not
    /// prolong the pause.
    ///
    /// # Errors
    /// `Locked` during a pause.
    pub fn charge(before: Option<Self>, now: OffsetDateTime) -> Result<Self, Locked> {
        let Some(before) = before.filter(|before| now - before.last_at < FORGET_AFTER) else {
            return Ok(Self { failures: 1, last_at: now, locked_until: None });
        };
        if let Some(until) = before.locked_until.filter(|until| *until > now) {
            return Err(Locked { seconds: seconds_up(until - now) });
        }
        let failures = before.failures.saturating_add(1);
        Ok(Self { failures, last_at: now, locked_until: pause(failures).map(|pause| now + pause) })
    }
}

/// How long the address waits after so many failures.
fn pause(failures: u32) -> Option<Duration> {
    let doublings = failures.checked_sub(FREE_FAILURES)?;
    let factor = 1_i32.checked_shl(doublings.min(30)).unwrap_or(i32::MAX);
    Some(FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE))
}

fn seconds_up(time: Duration) -> u64 {
    u64::try_from(time.whole_milliseconds()).unwrap_or(0).div_ceil(1000).max(1)
}

/// Counts an attempt for this address.
///
/// # Errors
/// Of the database. The inner error says that the address must wait.
pub async fn charge(
    db: &impl ConnectionTrait,
    email: &Email,
    now: OffsetDateTime,
) -> Result<Result<Lockout, Locked>, DbErr> {
    let key = key(email);
    for _ in 0..MAX_RACES {
        let row = login_failure::Entity::find_by_id(&key).one(db).await?;
        let before = row.map(|row| Lockout {
            failures: u32::try_from(row.failures).unwrap_or(u32::MAX),
            last_at: row.last_at,
            locked_until: row.locked_until,
        });
        let after = match Lockout::charge(before, now) {
            Ok(after) => after,
            Err(locked) => return Ok(Err(locked)),
        };
        if store(db, &key, before, after).await? {
            return Ok(Ok(after));
        }
    }
    Ok(Err(Locked { seconds: 1 }))
}

/// Whether nobody else wrote meanwhile.
async fn store(db: &impl ConnectionTrait, key: &str, before: Option<Lockout>, after: Lockout) -> Result<bool, DbErr> {
    let failures = i32::try_from(after.failures).unwrap_or(i32::MAX);
    let Some(before) = before else {
        let row = login_failure::ActiveModel {
            email_hash: Set(key.to_owned()),
            failures: Set(failures),
            last_at: Set(after.last_at),
            locked_until: Set(after.locked_until),
        };
        let inserted = login_failure::Entity::insert(row)
            .on_conflict(OnConflict::column(login_failure::Column::EmailHash).do_nothing().to_owned())
            .exec_without_returning(db)
            .await?;
        return Ok(inserted == 1);
    };
    let updated = login_failure::Entity::update_many()
        .col_expr(login_failure::Column::Failures, Expr::value(failures))
        .col_expr(login_failure::Column::LastAt, Expr::value(after.last_at))
        .col_expr(login_failure::Column::LockedUntil, Expr::value(after.locked_until))
        .filter(login_failure::Column::EmailHash.eq(key))
        .filter(login_failure::Column::Failures.eq(i32::try_from(before.failures).unwrap_or(i32::MAX)))
        .exec(db)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Forgives: after a success or a password reset.
///
/// # Errors
/// Of the database.
pub async fn clear(db: &impl ConnectionTrait, email: &Email) -> Result<(), DbErr> {
    login_failure::Entity::delete_by_id(key(email)).exec(db).await?;
    Ok(())
}

/// People type passwords into the wrong field: what was typed is not kept.
fn key(email: &Email) -> String {
    token::hash(email.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: OffsetDateTime = time::macros::datetime!(2026-01-01 0:00 UTC);

    #[test]
    fn pauses_double_from_the_fifth_failure_to_an_hour() {
        let pauses: Vec<_> = (4..14).map(|failures| pause(failures).map(Duration::whole_seconds)).collect();
        let expected =
            [None, Some(30), Some(60), Some(120), Some(240), Some(480), Some(960), Some(1920), Some(3600), Some(3600)];
        assert_eq!(pauses, expected);
        assert_eq!(pause(u32::MAX), Some(LONGEST_PAUSE));
    }

    #[test]
    fn a_quiet_day_forgives() {
        let before = Lockout { failures: 40, last_at: START, locked_until: Some(START + LONGEST_PAUSE) };
        let after = Lockout::charge(Some(before), START + FORGET_AFTER).expect("not locked");
        assert_eq!(after, Lockout { failures: 1, last_at: START + FORGET_AFTER, locked_until: None });
    }

    #[derive(Debug, Clone)]
    enum Op {
        Attempt,
        Wait(Duration),
        Succeed,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => Just(Op::Attempt),
            3 => (0_i64..4000).prop_map(|seconds| Op::Wait(Duration::seconds(seconds))),
            1 => (0_i64..100_000).prop_map(|seconds| Op::Wait(Duration::seconds(seconds))),
            1 => Just(Op::Succeed),
        ]
    }

    proptest! {
        /// Whatever a guesser does: never more than the free failures without a pause between, pauses never shrink
        /// while failures go on, and every pause ends after at most an hour.
        #[test]
        fn guesses_stay_few(ops in proptest::collection::vec(op(), 1..200)) {
            let mut now = START;
            let mut state: Option<Lockout> = None;
            let mut free = 0;
            let mut last_pause = Duration::ZERO;
            for op in ops {
                match op {
                    Op::Wait(time) => now += time,
                    Op::Succeed => { state = None; free = 0; last_pause = Duration::ZERO; }
                    Op::Attempt => match Lockout::charge(state, now) {
                        Err(Locked { seconds }) => {
                            let until = state.and_then(|state| state.locked_until).expect("locked by a pause");
                            prop_assert!(until > now && (1..=3600).contains(&seconds));
                            prop_assert!(now + Duration::seconds(i64::try_from(seconds).expect("small")) >= until);
                            let opened = Lockout::charge(state, until);
                            prop_assert!(opened.is_ok(), "a pause ends on time");
                        }
                        Ok(after) => {
                            prop_assert_eq!(after.last_at, now);
                            if after.failures == 1 { free = 0; last_pause = Duration::ZERO; }
                            match after.locked_until {
                                None => { free += 1; prop_assert!(free < FREE_FAILURES); }
                                Some(until) => {
                                    prop_assert!(until - now >= last_pause.max(FIRST_PAUSE) && until - now <= LONGEST_PAUSE);
                                    last_pause = until - now;
                                }
                            }
                            state = Some(after);
                        }
                    },
                }
            }
        }
    }
}
