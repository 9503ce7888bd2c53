//! Who may make an account: everybody, holders of an invite, nobody; and always the first.
//!
//! Registration says that an e-mail address is taken: where anyone may register that can't be hidden without a mail
//! server that confirms addresses. It is limited per network address instead.

use sea_orm::{DatabaseConnection, DbErr, EntityTrait, PaginatorTrait};
use time::OffsetDateTime;

use super::accounts::{self, AccountError, NewAccount};
use super::audit::{self, Kind};
use super::client::Client;
use super::current::Role;
use super::email::Email;
use super::grant::{self, Grant, GrantError};
use super::{invite, password};
use crate::config::Registration;
use crate::db::entity::user;
use crate::db::transaction::begin_accounts;
use crate::ids::UserId;
use crate::state::App;

#[derive(Debug)]
pub struct Request {
    pub email: String,
    pub password: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub invite_code: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("Nobody can register here. Ask your administrator for an account.")]
    Closed,
    #[error("You need an invite to register here. Ask your administrator for one.")]
    InviteNeeded,
    #[error("This invite is not valid: it was used, has expired, or is for another e-mail address. Ask for a new one.")]
    InviteInvalid,
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Grant(#[from] GrantError),
}

impl From<DbErr> for RegisterError {
    fn from(error: DbErr) -> Self {
        Self::Account(error.into())
    }
}

/// Whether nobody has an account yet: the first becomes administrator, whatever `registration` says.
///
/// # Errors
/// Of the database.
pub async fn is_first(db: &DatabaseConnection) -> Result<bool, DbErr> {
    Ok(user::Entity::find().count(db).await? == 0)
}

/// Makes an account and signs it in.
///
/// # Errors
/// Each says what to do.
pub async fn register(app: &App, request: Request, client: &Client) -> Result<Grant, RegisterError> {
    let email: Email = request.email.parse().map_err(AccountError::from)?;
    password::check(&request.password, &email).map_err(AccountError::from)?;
    let first_name = accounts::check_name("firstName", request.first_name)?;
    let last_name = accounts::check_name("lastName", request.last_name)?;
    let code = request.invite_code.filter(|code| !code.is_empty());
    let now = app.clock.now();
    // Asked twice: here before the work of a hash, and below where it counts.
    if !is_first(&app.db).await? {
        match (app.settings.registration, &code) {
            (Registration::Open, _) => {}
            (Registration::Closed, _) => return Err(RegisterError::Closed),
            (Registration::Invite, None) => return Err(RegisterError::InviteNeeded),
            (Registration::Invite, Some(code)) => {
                if !invite::is_usable(&app.db, code, &email, now).await? {
                    return Err(RegisterError::InviteInvalid);
                }
            }
        }
    }
    let password_hash = app.auth.passwords.hash(request.password).await.map_err(AccountError::from)?;
    let account = NewAccount {
        id: UserId::new(),
        email,
        password_hash,
        first_name,
        last_name,
        role: Role::User,
        quota_gb: app.settings.quota_gb,
    };
    insert(app, account, code.as_deref(), client, now).await
}

async fn insert(
    app: &App,
    mut account: NewAccount,
    code: Option<&str>,
    client: &Client,
    now: OffsetDateTime,
) -> Result<Grant, RegisterError> {
    let tx = begin_accounts(&app.db).await?;
    let first = user::Entity::find().count(&tx).await? == 0;
    if first {
        account.role = Role::Admin;
    }
    let by_invite = match app.settings.registration {
        _ if first => false,
        Registration::Open => false,
        Registration::Closed => return Err(RegisterError::Closed),
        Registration::Invite => {
            let code = code.ok_or(RegisterError::InviteNeeded)?;
            // Before the address is looked at: that it is taken is told only to who may register.
            if !invite::redeem(&tx, code, &account.email, account.id, now).await? {
                return Err(RegisterError::InviteInvalid);
            }
            true
        }
    };
    let user = accounts::insert(&tx, account, now).await?;
    if by_invite {
        audit::record(&tx, now, Kind::InviteUsed, &user, client, None).await?;
    }
    audit::record(&tx, now, Kind::Registered, &user, client, first.then(|| "first account, administrator".to_owned()))
        .await?;
    let grant = grant::sign_in(&tx, user, client, app.auth.lifetimes, now).await?;
    tx.commit().await?;
    Ok(grant)
}
