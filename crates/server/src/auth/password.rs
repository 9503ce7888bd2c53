//! Passwords: which are accepted, and bcrypt without letting a flood of sign-ins eat the machine.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::email::Email;

/// Characters.
pub const MIN_CHARACTERS: usize = 10;
/// bcrypt looks at no more; a longer password is refused, never cut.
pub const MAX_BYTES: usize = 72;
/// Checks that may wait for a core; more are told to come back.
const MAX_WAITING: usize = 64;

/// The most used passwords that the other rules let through, lower case.
const COMMON: &[&str] = &[
    "0123456789",
    "0987654321",
    "1234554321",
    "1234567890",
    "12345678900",
    "12345678910",
    "123456789a",
    "123456789q",
    "1234567891",
    "123123123123",
    "147258369",
    "1q2w3e4r5t",
    "1q2w3e4r5t6y",
    "1qaz2wsx3edc",
    "1qazxsw23edc",
    "3rjs1la7qe",
    "abcd123456",
    "abcdefghij",
    "administrator",
    "asdfghjkl;",
    "asdfghjkl1",
    "asdfghjklz",
    "baseball123",
    "changeme123",
    "charlie123",
    "football123",
    "gimp123456",
    "iloveyou12",
    "iloveyou123",
    "letmein123",
    "liverpool1",
    "manchester",
    "password00",
    "password01",
    "password10",
    "password11",
    "password12",
    "password123",
    "password1234",
    "password12345",
    "password123!",
    "passwordpassword",
    "princess123",
    "q1w2e3r4t5",
    "q1w2e3r4t5y6",
    "qazwsxedcrfv",
    "qwerty1234",
    "qwerty12345",
    "qwerty123456",
    "qwertyuiop",
    "qwertyuiop1",
    "qwertyuiop123",
    "superman123",
    "sunshine123",
    "welcome123",
    "welcome1234",
    "zaq12wsxcde3",
    "zxcvbnm123",
    "zxcvbnm1234",
];

/// Why a password is not accepted, in words for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRule {
    #[error("Use at least {MIN_CHARACTERS} characters.")]
    TooShort,
    #[error("Use at most {MAX_BYTES} bytes: {MAX_BYTES} plain letters and digits; other characters count as 2 to 4.")]
    TooLong,
    #[error("A password can't contain the character NUL.")]
    Nul,
    #[error("This password is among the first that anybody tries. Choose another one.")]
    Common,
    #[error("Choose a password that is not your e-mail address.")]
    IsEmail,
}

/// Whether a new password may be used for this account.
///
/// # Errors
/// The rule it breaks.
pub fn check(password: &str, email: &Email) -> Result<(), PasswordRule> {
    check_length(password)?;
    if password.chars().count() < MIN_CHARACTERS {
        return Err(PasswordRule::TooShort);
    }
    let lower = password.to_lowercase();
    if lower == email.as_str() || lower == email.local_part() {
        return Err(PasswordRule::IsEmail);
    }
    let first = lower.chars().next();
    if COMMON.contains(&lower.as_str()) || lower.chars().all(|character| Some(character) == first) {
        return Err(PasswordRule::Common);
    }
    Ok(())
}

/// What bcrypt can hash at all.
fn check_length(password: &str) -> Result<(), PasswordRule> {
    if password.len() > MAX_BYTES {
        Err(PasswordRule::TooLong)
    } else if password.contains('\0') {
        Err(PasswordRule::Nul)
    } else {
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The queue is full: try again in some seconds.
    #[error("too many sign-ins at once")]
    Busy,
    /// `check` the password first.
    #[error(transparent)]
    Unhashable(#[from] PasswordRule),
    #[error("bcrypt: {0}")]
    Bcrypt(#[from] bcrypt::BcryptError),
    #[error("the thread that computes password hashes died")]
    Thread,
}

/// What comparing a password with an account's brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    Wrong,
    Right {
        /// Hashed with another cost than the configured one.
        outdated: bool,
    },
}

/// A place in the queue for a core; free again when its last clone is gone.
#[derive(Debug, Clone)]
pub struct Place(#[expect(dead_code, reason = "dropping it frees the place")] Arc<OwnedSemaphorePermit>);

/// Computes bcrypt on blocking threads: at most one for every two cores, at most `MAX_WAITING` waiting. Clones share.
#[derive(Debug, Clone)]
pub struct Passwords {
    cost: u32,
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Passwords {
    /// `cost` is bcrypt's, 4..=31: each step doubles the work.
    #[must_use]
    pub fn new(cost: u32) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cost,
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            running: Arc::new(Semaphore::new(cores.div_ceil(2))),
        }
    }

    /// For what must not be begun when there is no place to finish it.
    ///
    /// # Errors
    /// `Busy` when the queue is full.
    pub fn place(&self) -> Result<Place, HashError> {
        self.waiting.clone().try_acquire_owned().map_or(Err(HashError::Busy), |place| Ok(Place(Arc::new(place))))
    }

    /// # Errors
    /// When the queue is full, or the password is longer than bcrypt looks at (`check` it first).
    pub async fn hash(&self, password: String) -> Result<String, HashError> {
        let place = self.place()?;
        self.hash_in(&place, password).await
    }

    /// The same in a place that one has.
    ///
    /// # Errors
    /// When the password is longer than bcrypt looks at.
    pub async fn hash_in(&self, place: &Place, password: String) -> Result<String, HashError> {
        let cost = self.cost;
        self.run(place.clone(), move || {
            check_length(&password)?;
            Ok(bcrypt::hash(password, cost)?)
        })
        .await
    }

    /// Compares with an account's hash; None means that there is no such account and takes as long. A wrong password
    /// takes the work of the configured cost even where the account's hash is of a lower one. (An account whose hash
    /// is of a higher cost than configured answers slower until its owner has signed in once.)
    ///
    /// # Errors
    /// When the stored hash is damaged.
    pub async fn verify(&self, place: &Place, password: String, stored: Option<String>) -> Result<Verified, HashError> {
        let cost = self.cost;
        self.run(place.clone(), move || verify(&password, stored.as_deref(), cost)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let Ok(core) = self.running.clone().acquire_owned().await else { return Err(HashError::Thread) };
        // The permits go along: a caller that hangs up does not free a core that is still computing.
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop((place, core));
            result
        })
        .await
        .map_err(|_| HashError::Thread)?
    }
}

fn verify(password: &str, stored: Option<&str>, cost: u32) -> Result<Verified, HashError> {
    let (Some(stored), Ok(())) = (stored, check_length(password)) else {
        work(cost)?;
        return Ok(Verified::Wrong);
    };
    let stored_cost = stored.parse::<bcrypt::HashParts>()?.get_cost();
    if bcrypt::verify(password, stored)? {
        return Ok(Verified::Right { outdated: stored_cost != cost });
    }
    // 2^stored + 2^stored + 2^(stored+1) + ... + 2^(cost-1) = 2^cost.
    for step in stored_cost..cost {
        work(step)?;
    }
    Ok(Verified::Wrong)
}

/// The work of one hash of this cost.
fn work(cost: u32) -> Result<(), HashError> {
    #[cfg(test)]
    tests::WORK.with_borrow_mut(|done| *done += 1_u64 << cost);
    bcrypt::hash_with_salt(b"no such account", cost, [0; 16])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// Rounds of bcrypt done by `work` on this thread.
        pub(super) static WORK: RefCell<u64> = const { RefCell::new(0) };
    }

    fn email() -> Email {
        "long.name.here@example.org".parse().expect("an address")
    }

    #[test]
    fn rules() {
        assert_eq!(check("correct horse", &email()), Ok(()));
        assert_eq!(check("ninechars", &email()), Err(PasswordRule::TooShort));
        assert_eq!(check(&"aé".repeat(24), &email()), Ok(()), "72 bytes");
        assert_eq!(check(&("aé".repeat(24) + "x"), &email()), Err(PasswordRule::TooLong));
        assert_eq!(check("with a \0 inside", &email()), Err(PasswordRule::Nul));
        assert_eq!(check("Password1234", &email()), Err(PasswordRule::Common));
        assert_eq!(check("aaaaaaaaaaaa", &email()), Err(PasswordRule::Common));
        assert_eq!(check("Long.Name.Here@example.org", &email()), Err(PasswordRule::IsEmail));
        assert_eq!(check("LONG.name.here", &email()), Err(PasswordRule::IsEmail));
        assert!(PasswordRule::TooLong.to_string().contains("72"), "{}", PasswordRule::TooLong);
    }

    #[test]
    fn a_wrong_password_costs_the_same_with_and_without_an_account() {
        let rounds = |stored: Option<&str>, password: &str| {
            WORK.set(0);
            assert_eq!(verify(password, stored, 6).expect("verifies"), Verified::Wrong);
            let own = stored
                .filter(|_| check_length(password).is_ok())
                .map_or(0, |stored| 1_u64 << stored.parse::<bcrypt::HashParts>().expect("a hash").get_cost());
            own + WORK.with_borrow(|done| *done)
        };
        let current = bcrypt::hash("right password", 6).expect("hashes");
        let older = bcrypt::hash("right password", 4).expect("hashes");
        let long = "x".repeat(73);
        for stored in [None, Some(current.as_str()), Some(older.as_str())] {
            for password in ["wrong password", "", "nul\0inside", long.as_str()] {
                assert_eq!(rounds(stored, password), 1 << 6, "{stored:?} {password:?}");
            }
        }
    }

    #[tokio::test]
    async fn another_cost_is_noticed() {
        let old = Passwords::new(4).hash("right password".into()).await.expect("hashes");
        let verify = |cost, password: &str| {
            let (old, password) = (old.clone(), password.to_owned());
            async move {
                let passwords = Passwords::new(cost);
                passwords.verify(&passwords.place().expect("free"), password, Some(old)).await.expect("verifies")
            }
        };
        assert_eq!(verify(4, "right password").await, Verified::Right { outdated: false });
        assert_eq!(verify(5, "right password").await, Verified::Right { outdated: true });
        assert_eq!(verify(4, "wrong password").await, Verified::Wrong);
        // bcrypt alone would take this for the same password.
        let full = Passwords::new(4).hash("y".repeat(72)).await.expect("hashes");
        let passwords = Passwords::new(4);
        let place = passwords.place().expect("free");
        let longer = passwords.verify(&place, "y".repeat(73), Some(full)).await.expect("verifies");
        assert_eq!(longer, Verified::Wrong);
    }

    #[tokio::test]
    async fn a_flood_is_told_to_come_back() {
        let passwords = Passwords::new(4);
        let cores = passwords.running.available_permits();
        let all = passwords.running.clone().acquire_many_owned(u32::try_from(cores).expect("few")).await.expect("open");
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..=MAX_WAITING {
            let passwords = passwords.clone();
            waiting.spawn(async move { passwords.verify(&passwords.place()?, "some password".into(), None).await });
        }
        let first = waiting.join_next().await.expect("one").expect("no panic");
        assert!(matches!(first, Err(HashError::Busy)), "the one too many: {first:?}");
        drop(all);
        while let Some(result) = waiting.join_next().await {
            assert!(matches!(result.expect("no panic"), Ok(Verified::Wrong)));
        }
        assert_eq!(passwords.waiting.available_permits(), MAX_WAITING);
    }
}
