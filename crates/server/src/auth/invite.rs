//! Invite codes: one account each, shown once, stored as hashes.

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};
use time::{Duration, OffsetDateTime};

use super::audit::{self, Kind, Subject};
use super::client::Client;
use super::email::Email;
use super::grant::GrantError;
use super::token;
use crate::db::entity::invite;
use crate::db::transaction::begin_write;
use crate::ids::UserId;

/// Unless said otherwise.
pub const DEFAULT_LIFETIME: Duration = Duration::days(7);
/// Invites listed.
const MAX_LISTED: u64 = 200;

/// Makes a code; only an account with this e-mail address can use it, if there is one.
///
/// # Errors
/// Of the database or without randomness.
pub async fn make(
    db: &DatabaseConnection,
    by: UserId,
    email: Option<&Email>,
    lifetime: Duration,
    client: &Client,
    now: OffsetDateTime,
) -> Result<(String, OffsetDateTime), GrantError> {
    let code = token::generate()?;
    let expires_at = now + lifetime;
    let row = invite::ActiveModel {
        hash: Set(token::hash(&code)),
        email: Set(email.map(Email::to_string)),
        created_by: Set(Some(by.0)),
        created_at: Set(now),
        expires_at: Set(expires_at),
        used_at: Set(None),
        used_by: Set(None),
    };
    let tx = begin_write(db).await?;
    invite::Entity::insert(row).exec_without_returning(&tx).await?;
    let subject = Subject { user: Some(by.0), email: email.map(Email::to_string) };
    audit::record(&tx, now, Kind::InviteMade, subject, client, None).await?;
    tx.commit().await?;
    Ok((code, expires_at))
}

/// Uses a code up. False: unknown, used, expired or for another e-mail address.
///
/// # Errors
/// Of the database.
pub async fn redeem(
    tx: &DatabaseTransaction,
    code: &str,
    email: &Email,
    by: UserId,
    now: OffsetDateTime,
) -> Result<bool, DbErr> {
    let used = invite::Entity::update_many()
        .col_expr(invite::Column::UsedAt, Expr::value(now))
        .col_expr(invite::Column::UsedBy, Expr::value(by.0))
        .filter(usable(code, email, now))
        .exec(tx)
        .await?;
    Ok(used.rows_affected == 1)
}

/// Whether `redeem` would succeed: asked before a password is hashed.
///
/// # Errors
/// Of the database.
pub async fn is_usable(db: &DatabaseConnection, code: &str, email: &Email, now: OffsetDateTime) -> Result<bool, DbErr> {
    Ok(invite::Entity::find().filter(usable(code, email, now)).one(db).await?.is_some())
}

fn usable(code: &str, email: &Email, now: OffsetDateTime) -> Condition {
    Condition::all()
        .add(invite::Column::Hash.eq(token::hash(code)))
        .add(invite::Column::UsedAt.is_null())
        .add(invite::Column::ExpiresAt.gt(now))
        .add(invite::Column::Email.is_null().or(invite::Column::Email.eq(email.as_str())))
}

/// Newest first.
///
/// # Errors
/// Of the database.
pub async fn list(db: &DatabaseConnection) -> Result<Vec<invite::Model>, DbErr> {
    invite::Entity::find().order_by_desc(invite::Column::CreatedAt).limit(MAX_LISTED).all(db).await
}
