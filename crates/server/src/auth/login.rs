//! Signing in with a password. Up to the moment the password is right, an address with an account and one without take
//! the same path: the same queries, the same work, the same answers.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use time::OffsetDateTime;

use super::audit::{self, Kind, Subject};
use super::client::Client;
use super::email::Email;
use super::grant::{self, Grant, GrantError};
use super::lockout::{self, Locked, Lockout};
use super::password::{HashError, Verified};
use crate::db::entity::user;
use crate::db::transaction::begin_write;
use crate::ids::{SignInId, UserId};
use crate::state::App;

#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Or there is no such account.
    #[error("The e-mail address or the password is wrong.")]
    Wrong,
    /// For the address typed, whether or not it has an account.
    #[error("Too many wrong passwords for this e-mail address.")]
    Locked(Locked),
    /// Told only to who knows the password.
    #[error("This account is deactivated. Ask your administrator.")]
    Deactivated,
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Grant(#[from] GrantError),
}

impl From<DbErr> for LoginError {
    fn from(error: DbErr) -> Self {
        Self::Grant(error.into())
    }
}

/// Signs in with a password.
///
/// # Errors
/// `Wrong` and `Locked` tell nothing about whether the account exists.
pub async fn login(app: &App, email: &Email, password: String, client: &Client) -> Result<Grant, LoginError> {
    let now = app.clock.now();
    // First: an attempt that nobody has time to look at must not count as a failure.
    let place = app.auth.passwords.place()?;
    let attempt = lockout::charge(&app.db, email, now).await?.map_err(LoginError::Locked)?;
    let user = user::Entity::find().filter(user::Column::Email.eq(email.as_str())).one(&app.db).await?;
    let stored = user.as_ref().map(|user| user.password_hash.clone());
    let verified = app.auth.passwords.verify(&place, password.clone(), stored.clone()).await?;
    let (Some(user), Verified::Right { outdated }) = (&user, verified) else {
        failed(app, email, user.as_ref(), attempt, client, now).await?;
        return Err(LoginError::Wrong);
    };
    let fresh_hash = if outdated { Some(app.auth.passwords.hash_in(&place, password).await?) } else { None };
    drop(place);

    let tx = begin_write(&app.db).await?;
    lockout::clear(&tx, email).await?;
    let current = user::Entity::find_by_id(user.id).lock_exclusive().one(&tx).await?;
    // Deactivated or given another password while we computed.
    let Some(mut current) = current.filter(|current| Some(&current.password_hash) == stored.as_ref()) else {
        return Err(LoginError::Wrong);
    };
    if !current.is_active {
        tx.commit().await?;
        return Err(LoginError::Deactivated);
    }
    if let Some(hash) = fresh_hash {
        current.password_hash = hash;
    }
    current.last_sign_in_at = Some(now);
    user::Entity::update_many()
        .col_expr(user::Column::PasswordHash, Expr::value(current.password_hash.clone()))
        .col_expr(user::Column::LastSignInAt, Expr::value(now))
        .filter(user::Column::Id.eq(current.id))
        .exec(&tx)
        .await?;
    audit::record(&tx, now, Kind::SignedIn, &current, client, None).await?;
    let grant = grant::sign_in(&tx, current, client, app.auth.lifetimes, now).await?;
    tx.commit().await?;
    Ok(grant)
}

async fn failed(
    app: &App,
    email: &Email,
    user: Option<&user::Model>,
    attempt: Lockout,
    client: &Client,
    now: OffsetDateTime,
) -> Result<(), DbErr> {
    let subject = Subject { user: user.map(|user| user.id), email: Some(email.to_string()) };
    let (kind, detail) = match attempt.locked_until {
        Some(until) => (Kind::SignInLocked, Some(format!("for {} s", (until - now).whole_seconds()))),
        None => (Kind::SignInFailed, None),
    };
    audit::record(&app.db, now, kind, subject, client, detail).await
}

/// Compares the password of a user who is signed in, before something that needs it. Counts like a sign-in.
///
/// # Errors
/// `Wrong` or `Locked`.
pub async fn confirm(app: &App, user: &user::Model, password: String, client: &Client) -> Result<(), LoginError> {
    let now = app.clock.now();
    let email: Email = user.email.parse().map_err(|_| LoginError::Wrong)?;
    let place = app.auth.passwords.place()?;
    let attempt = lockout::charge(&app.db, &email, now).await?.map_err(LoginError::Locked)?;
    match app.auth.passwords.verify(&place, password, Some(user.password_hash.clone())).await? {
        Verified::Right { .. } => Ok(lockout::clear(&app.db, &email).await?),
        Verified::Wrong => {
            failed(app, &email, Some(user), attempt, client, now).await?;
            Err(LoginError::Wrong)
        }
    }
}

/// Ends sign-ins because their user asked for it.
///
/// # Errors
/// Of the database.
pub async fn sign_out(
    app: &App,
    user: UserId,
    sign_in: SignInId,
    everywhere: bool,
    client: &Client,
) -> Result<(), DbErr> {
    let now = app.clock.now();
    let tx = begin_write(&app.db).await?;
    let kind = if everywhere {
        grant::revoke_all(&tx, user, now).await?;
        Kind::SignedOutEverywhere
    } else {
        grant::revoke(&tx, user, sign_in, now).await?;
        Kind::SignedOut
    };
    audit::record(&tx, now, kind, user, client, None).await?;
    tx.commit().await
}

/// Ends one of a user's sign-ins from another one. False: there is no such sign-in, or it has ended.
///
/// # Errors
/// Of the database.
pub async fn revoke(app: &App, user: UserId, sign_in: SignInId, client: &Client) -> Result<bool, DbErr> {
    let now = app.clock.now();
    let tx = begin_write(&app.db).await?;
    if !grant::revoke(&tx, user, sign_in, now).await? {
        return Ok(false);
    }
    audit::record(&tx, now, Kind::SignInRevoked, user, client, None).await?;
    tx.commit().await?;
    Ok(true)
}
