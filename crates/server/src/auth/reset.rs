//! New passwords: by a link that works once, or by knowing the old one.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QuerySelect,
};
use time::{Duration, OffsetDateTime};

use super::accounts::{self, AccountError, set_password};
use super::audit::{self, Kind};
use super::client::Client;
use super::current::CurrentUser;
use super::email::Email;
use super::grant::{self, GrantError};
use super::login::LoginError;
use super::{lockout, password, token};
use crate::db::entity::{password_reset, user};
use crate::db::transaction::begin_write;
use crate::ids::UserId;
use crate::mail::Letter;
use crate::state::App;

/// How long a link works.
pub const LIFETIME: Duration = Duration::hours(1);

#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    #[error("This link was used or is older than an hour. Ask for a new one.")]
    Invalid,
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Grant(#[from] GrantError),
}

impl From<DbErr> for ResetError {
    fn from(error: DbErr) -> Self {
        Self::Account(error.into())
    }
}

/// Makes a link for `user`, whoever asked for it.
///
/// # Errors
/// Of the database or without randomness.
pub async fn make_link(
    db: &impl ConnectionTrait,
    public_url: &str,
    user: UserId,
    now: OffsetDateTime,
) -> Result<String, GrantError> {
    let token = token::generate()?;
    let row = password_reset::ActiveModel {
        hash: Set(token::hash(&token)),
        user_id: Set(user.0),
        expires_at: Set(now + LIFETIME),
        used_at: Set(None),
    };
    password_reset::Entity::insert(row).exec_without_returning(db).await?;
    // In the fragment, which browsers send to nobody.
    Ok(format!("{public_url}/reset#token={token}"))
}

/// The same for an administrator, who hands it on. For `POST /admin/users/{id}/reset-link` and `users reset-password`.
///
/// # Errors
/// Of the database or without randomness.
pub async fn make_link_for(
    db: &DatabaseConnection,
    public_url: &str,
    user: &user::Model,
    client: &Client,
    by: String,
    now: OffsetDateTime,
) -> Result<String, GrantError> {
    let tx = begin_write(db).await?;
    let link = make_link(&tx, public_url, UserId(user.id), now).await?;
    audit::record(&tx, now, Kind::ResetLinkMade, user, client, Some(by)).await?;
    tx.commit().await?;
    Ok(link)
}

/// `users reset-password`: a link for whoever has the machine to hand on.
///
/// # Errors
/// `Unknown`, a bad address, `Inactive`.
pub async fn make_link_at_command_line(
    db: &DatabaseConnection,
    public_url: &str,
    email: &str,
    now: OffsetDateTime,
) -> Result<String, ResetError> {
    let user = accounts::by_email(db, email).await?;
    let user = accounts::active(db, UserId(user.id)).await?;
    let by = format!("by {}", accounts::COMMAND_LINE);
    Ok(make_link_for(db, public_url, &user, &Client::local(), by, now).await?)
}

/// Sends a link to the address if an active account has it. Runs after the answer; what fails is for the log.
pub async fn send_link(app: App, email: Email, client: Client) {
    if let Err(error) = try_send_link(&app, &email, &client).await {
        tracing::warn!(%error, "a reset link could not be sent");
    }
}

async fn try_send_link(app: &App, email: &Email, client: &Client) -> anyhow::Result<()> {
    let now = app.clock.now();
    let user = user::Entity::find().filter(user::Column::Email.eq(email.as_str())).one(&app.db).await?;
    let Some(user) = user.filter(|user| user.is_active) else { return Ok(()) };
    let tx = begin_write(&app.db).await?;
    let link = make_link(&tx, &app.settings.public_url(), UserId(user.id), now).await?;
    audit::record(&tx, now, Kind::ResetRequested, &user, client, None).await?;
    tx.commit().await?;
    Ok(app.auth.outbox.mailer.send(email, &Letter::PasswordReset { link }).await?)
}

/// Sets a new password by a link's token, ends every sign-in of the user and lifts a lockout.
///
/// # Errors
/// `Invalid`; or the rule the password breaks, and the link still works.
pub async fn redeem(app: &App, presented: &str, password: String, client: &Client) -> Result<(), ResetError> {
    let now = app.clock.now();
    let hash = token::hash(presented);
    let row = password_reset::Entity::find_by_id(&hash)
        .filter(password_reset::Column::UsedAt.is_null())
        .filter(password_reset::Column::ExpiresAt.gt(now))
        .find_also_related(user::Entity)
        .one(&app.db)
        .await?;
    let user = row.and_then(|(_, user)| user).filter(|user| user.is_active).ok_or(ResetError::Invalid)?;
    let email: Email = user.email.parse().map_err(AccountError::from)?;
    password::check(&password, &email).map_err(AccountError::from)?;
    let password_hash = app.auth.passwords.hash(password).await.map_err(AccountError::from)?;

    let tx = begin_write(&app.db).await?;
    let user = user::Entity::find_by_id(user.id).lock_exclusive().one(&tx).await?;
    let user = user.filter(|user| user.is_active).ok_or(ResetError::Invalid)?;
    let used = password_reset::Entity::update_many()
        .col_expr(password_reset::Column::UsedAt, Expr::value(now))
        .filter(password_reset::Column::Hash.eq(&hash))
        .filter(password_reset::Column::UsedAt.is_null())
        .exec(&tx)
        .await?;
    if used.rows_affected != 1 {
        return Err(ResetError::Invalid);
    }
    set_password(&tx, UserId(user.id), password_hash, now).await?;
    forget_links(&tx, UserId(user.id)).await?;
    grant::revoke_all(&tx, UserId(user.id), now).await?;
    lockout::clear(&tx, &email).await?;
    audit::record(&tx, now, Kind::PasswordReset, &user, client, None).await?;
    Ok(tx.commit().await?)
}

/// Sets a new password for whoever knows the old one, which the caller has checked; ends the user's other sign-ins.
///
/// # Errors
/// The rule the password breaks; `Wrong` when it was changed meanwhile.
pub async fn change(app: &App, current: &CurrentUser, password: String, client: &Client) -> Result<(), ChangeError> {
    let now = app.clock.now();
    let email: Email = current.model.email.parse().map_err(AccountError::from)?;
    password::check(&password, &email).map_err(AccountError::from)?;
    let password_hash = app.auth.passwords.hash(password).await.map_err(AccountError::from)?;
    let tx = begin_write(&app.db).await?;
    let user = user::Entity::find_by_id(current.id.0).lock_exclusive().one(&tx).await?;
    let user = user.filter(|user| user.password_hash == current.model.password_hash).ok_or(LoginError::Wrong)?;
    set_password(&tx, current.id, password_hash, now).await?;
    forget_links(&tx, current.id).await?;
    grant::revoke_others(&tx, current.id, current.sign_in, now).await?;
    audit::record(&tx, now, Kind::PasswordChanged, &user, client, None).await?;
    Ok(tx.commit().await?)
}

#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Login(#[from] LoginError),
}

impl From<DbErr> for ChangeError {
    fn from(error: DbErr) -> Self {
        Self::Account(error.into())
    }
}

/// Links made before the password or the e-mail address changed.
///
/// # Errors
/// Of the database.
pub(super) async fn forget_links(db: &impl ConnectionTrait, user: UserId) -> Result<(), DbErr> {
    password_reset::Entity::delete_many()
        .filter(password_reset::Column::UserId.eq(user.0))
        .filter(password_reset::Column::UsedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}
