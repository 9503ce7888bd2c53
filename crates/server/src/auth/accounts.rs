//! Making and changing accounts. Used by the REST API and by `gimp-platform users`.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, SqlErr,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::audit::{self, Kind};
use super::client::Client;
use super::current::Role;
use super::email::{Email, EmailError};
use super::grant;
use super::password::{self, HashError, PasswordRule, Passwords};
use super::reset;
use crate::db::entity::{storage_quota, user};
use crate::db::transaction::{begin_accounts, begin_write};
use crate::ids::UserId;

/// Who changed something, in the audit trail, where no administrator was signed in.
pub const COMMAND_LINE: &str = "the command line";
/// Longest first or last name, characters.
const MAX_NAME: usize = 100;
/// Largest workspace quota, GiB.
pub const MAX_QUOTA_GB: u32 = 10_000;

/// Why an account was not made or changed, in words for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Email(#[from] EmailError),
    #[error(transparent)]
    Password(#[from] PasswordRule),
    #[error("Use at most {MAX_NAME} characters for a name, and no line breaks.")]
    Name {
        /// As the REST API calls it.
        field: &'static str,
    },
    #[error("There is an account with this e-mail address already. Sign in, or use another address.")]
    EmailTaken,
    #[error("There is no such account.")]
    Unknown,
    #[error("This account is deactivated. Activate it first.")]
    Inactive,
    #[error("This is the last active administrator. Make another one first.")]
    LastAdmin,
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error("database: {0}")]
    Db(#[from] DbErr),
}

/// What a new account starts with; checked.
#[derive(Debug)]
pub struct NewAccount {
    pub id: UserId,
    pub email: Email,
    pub password_hash: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub role: Role,
    pub quota_gb: u32,
}

/// Trims a name; empty is none.
///
/// # Errors
/// When it is too long or not one line.
pub fn check_name(field: &'static str, name: Option<String>) -> Result<Option<String>, AccountError> {
    let Some(name) = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()) else { return Ok(None) };
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(AccountError::Name { field });
    }
    Ok(Some(name))
}

/// Adds the rows of a new account, inside `begin_accounts`.
///
/// # Errors
/// `EmailTaken`, or of the database.
pub async fn insert(
    tx: &DatabaseTransaction,
    account: NewAccount,
    now: OffsetDateTime,
) -> Result<user::Model, AccountError> {
    let highest: Option<Option<i32>> = user::Entity::find()
        .select_only()
        .column_as(user::Column::UidOffset.max(), "highest")
        .into_tuple()
        .one(tx)
        .await?;
    let id = account.id.0;
    let user = user::Model {
        id,
        email: account.email.to_string(),
        password_hash: account.password_hash,
        first_name: account.first_name,
        last_name: account.last_name,
        role: account.role.as_str().to_owned(),
        created_at: now,
        updated_at: now,
        is_active: true,
        last_sign_in_at: None,
        uid_offset: Some(highest.flatten().map_or(0, |highest| highest + 1)),
    };
    user::Entity::insert(user::ActiveModel::from(user.clone()).reset_all())
        .exec_without_returning(tx)
        .await
        .map_err(email_taken)?;
    let quota = storage_quota::ActiveModel {
        id: Set(Uuid::now_v7()),
        user_id: Set(id),
        storage_gb: Set(i32::try_from(account.quota_gb).unwrap_or(i32::MAX)),
        used_gb: Set(0),
        used_bytes: Set(0),
        created_at: Set(now),
        updated_at: Set(now),
    };
    storage_quota::Entity::insert(quota).exec_without_returning(tx).await?;
    Ok(user)
}

pub(super) fn email_taken(error: DbErr) -> AccountError {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(constraint)) if constraint.contains("email") => AccountError::EmailTaken,
        _ => AccountError::Db(error),
    }
}

/// `users add`: an account made by whoever has the machine, whatever `registration` says. Unless its role is given, the
/// first account becomes administrator as in `registration`, and any other a user.
///
/// # Errors
/// A bad e-mail address or password, or one that is taken.
pub async fn add(
    db: &DatabaseConnection,
    passwords: &Passwords,
    email: &str,
    password: String,
    role: Option<Role>,
    quota_gb: u32,
    now: OffsetDateTime,
) -> Result<user::Model, AccountError> {
    let email: Email = email.parse()?;
    password::check(&password, &email)?;
    let password_hash = passwords.hash(password).await?;
    let tx = begin_accounts(db).await?;
    let role = match role {
        Some(role) => role,
        None if user::Entity::find().count(&tx).await? == 0 => Role::Admin,
        None => Role::User,
    };
    let account =
        NewAccount { id: UserId::new(), email, password_hash, first_name: None, last_name: None, role, quota_gb };
    let user = insert(&tx, account, now).await?;
    audit::record(&tx, now, Kind::Added, &user, &Client::local(), Some(format!("{} by {COMMAND_LINE}", role.as_str())))
        .await?;
    tx.commit().await?;
    Ok(user)
}

/// All accounts, oldest first. For `users list`.
///
/// # Errors
/// Of the database.
pub async fn list(db: &DatabaseConnection) -> Result<Vec<user::Model>, AccountError> {
    Ok(user::Entity::find().order_by_asc(user::Column::Id).all(db).await?)
}

/// The account with this e-mail address.
///
/// # Errors
/// `Unknown`, a bad address, or of the database.
pub async fn by_email(db: &DatabaseConnection, email: &str) -> Result<user::Model, AccountError> {
    let email: Email = email.parse()?;
    user::Entity::find().filter(user::Column::Email.eq(email.as_str())).one(db).await?.ok_or(AccountError::Unknown)
}

/// The account with this id, if it may sign in.
///
/// # Errors
/// `Unknown`, `Inactive`, or of the database.
pub async fn active(db: &DatabaseConnection, user: UserId) -> Result<user::Model, AccountError> {
    let user = user::Entity::find_by_id(user.0).one(db).await?.ok_or(AccountError::Unknown)?;
    if user.is_active { Ok(user) } else { Err(AccountError::Inactive) }
}

/// Ends all sign-ins of an account for an administrator.
///
/// # Errors
/// `Unknown`, or of the database.
pub async fn sign_out(
    db: &DatabaseConnection,
    user: UserId,
    by: &user::Model,
    client: &Client,
    now: OffsetDateTime,
) -> Result<(), AccountError> {
    let tx = begin_write(db).await?;
    let model = user::Entity::find_by_id(user.0).lock_exclusive().one(&tx).await?.ok_or(AccountError::Unknown)?;
    grant::revoke_all(&tx, user, now).await?;
    audit::record(&tx, now, Kind::SignedOutEverywhere, &model, client, Some(format!("by {}", by.email))).await?;
    Ok(tx.commit().await?)
}

/// What an administrator changes of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub role: Option<Role>,
    pub is_active: Option<bool>,
    /// GiB, 1..=`MAX_QUOTA_GB`.
    pub quota_gb: Option<u32>,
}

/// An account after `change`.
#[derive(Debug)]
pub struct Changed {
    pub user: user::Model,
    /// Its sign-ins were revoked; its sessions are to be ended.
    pub deactivated: bool,
}

/// Changes an account and revokes its sign-ins if it is deactivated.
///
/// # Errors
/// `Unknown`; `LastAdmin` when no active administrator would be left.
pub async fn change(
    db: &DatabaseConnection,
    user: UserId,
    change: &Change,
    by: &str,
    client: &Client,
    now: OffsetDateTime,
) -> Result<Changed, AccountError> {
    let tx = begin_accounts(db).await?;
    let mut model = user::Entity::find_by_id(user.0).lock_exclusive().one(&tx).await?.ok_or(AccountError::Unknown)?;
    let was_active = model.is_active;
    let was_admin = is_active_admin(&model);
    if let Some(role) = change.role.filter(|role| *role != Role::from_sql(&model.role)) {
        role.as_str().clone_into(&mut model.role);
        audit::record(&tx, now, Kind::RoleChanged, &model, client, Some(format!("{} by {by}", role.as_str()))).await?;
    }
    if let Some(active) = change.is_active.filter(|active| *active != was_active) {
        model.is_active = active;
        let kind = if active { Kind::Activated } else { Kind::Deactivated };
        audit::record(&tx, now, kind, &model, client, Some(format!("by {by}"))).await?;
    }
    let deactivated = was_active && !model.is_active;
    if let Some(gb) = change.quota_gb {
        storage_quota::Entity::update_many()
            .col_expr(storage_quota::Column::StorageGb, Expr::value(i32::try_from(gb).unwrap_or(i32::MAX)))
            .col_expr(storage_quota::Column::UpdatedAt, Expr::value(now))
            .filter(storage_quota::Column::UserId.eq(user.0))
            .exec(&tx)
            .await?;
        audit::record(&tx, now, Kind::QuotaChanged, &model, client, Some(format!("{gb} GiB by {by}"))).await?;
    }
    model.updated_at = now;
    user::Entity::update(user::ActiveModel::from(model.clone()).reset_all()).exec(&tx).await?;
    if deactivated {
        grant::revoke_all(&tx, user, now).await?;
    }
    if was_admin && !is_active_admin(&model) {
        let admins = user::Entity::find()
            .filter(user::Column::Role.eq(Role::Admin.as_str()))
            .filter(user::Column::IsActive.eq(true))
            .count(&tx)
            .await?;
        if admins == 0 {
            return Err(AccountError::LastAdmin);
        }
    }
    tx.commit().await?;
    Ok(Changed { user: model, deactivated })
}

fn is_active_admin(user: &user::Model) -> bool {
    user.is_active && Role::from_sql(&user.role) == Role::Admin
}

/// `users set-role`.
///
/// # Errors
/// `Unknown`, a bad address, or `LastAdmin`.
pub async fn set_role(
    db: &DatabaseConnection,
    email: &str,
    role: Role,
    now: OffsetDateTime,
) -> Result<user::Model, AccountError> {
    let user = by_email(db, email).await?;
    let role = Change { role: Some(role), ..Change::default() };
    Ok(change(db, UserId(user.id), &role, COMMAND_LINE, &Client::local(), now).await?.user)
}

/// Sets the password of an account whose row the caller has locked.
///
/// # Errors
/// Of the database.
pub(super) async fn set_password(
    tx: &DatabaseTransaction,
    user: UserId,
    password_hash: String,
    now: OffsetDateTime,
) -> Result<(), DbErr> {
    user::Entity::update_many()
        .col_expr(user::Column::PasswordHash, Expr::value(password_hash))
        .col_expr(user::Column::UpdatedAt, Expr::value(now))
        .filter(user::Column::Id.eq(user.0))
        .exec(tx)
        .await?;
    Ok(())
}

/// Names and, after a check of the password by the caller, the e-mail address.
#[derive(Debug, Clone, Default)]
pub struct ProfileChange {
    pub email: Option<Email>,
    /// None: unchanged. Some(None): removed.
    pub first_name: Option<Option<String>>,
    pub last_name: Option<Option<String>>,
}

/// Changes what a user may change of their own account.
///
/// # Errors
/// `EmailTaken`, or of the database.
pub async fn change_profile(
    db: &DatabaseConnection,
    user: UserId,
    change: ProfileChange,
    client: &Client,
    now: OffsetDateTime,
) -> Result<user::Model, AccountError> {
    let tx = begin_write(db).await?;
    let mut model = user::Entity::find_by_id(user.0).lock_exclusive().one(&tx).await?.ok_or(AccountError::Unknown)?;
    if let Some(name) = change.first_name {
        model.first_name = name;
    }
    if let Some(name) = change.last_name {
        model.last_name = name;
    }
    let mut kind = (Kind::ProfileChanged, None);
    if let Some(email) = change.email.filter(|email| email.as_str() != model.email) {
        kind = (Kind::EmailChanged, Some(format!("before: {}", model.email)));
        model.email = email.to_string();
        // They went to an address that may be somebody else's by now.
        reset::forget_links(&tx, user).await?;
    }
    model.updated_at = now;
    user::Entity::update(user::ActiveModel::from(model.clone()).reset_all()).exec(&tx).await.map_err(email_taken)?;
    audit::record(&tx, now, kind.0, &model, client, kind.1).await?;
    tx.commit().await?;
    Ok(model)
}
