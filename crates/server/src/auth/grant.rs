//! Sign-ins and the two tokens each holds: made at login, exchanged at refresh, revoked.
//!
//! A refresh token is exchanged once. Seen again, it was copied, and the whole sign-in ends. One exception: within
//! `REUSE_GRACE` the same address and program may present it again and gets a further pair, because two tabs that wake
//! up together, or a browser whose answer was lost, do exactly that.

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect,
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::audit::{self, Kind};
use super::client::Client;
use super::token;
use crate::db::entity::{self, sign_in, user};
use crate::db::transaction::begin_write;
use crate::ids::{SignInId, UserId};

/// How long a refresh token that has been exchanged may come back from the same address and program.
pub const REUSE_GRACE: Duration = Duration::seconds(10);
/// Sign-ins one user may hold; the one unused for longest ends when there is one more.
const MAX_SIGN_INS: u64 = 100;

const ACCESS: &str = "access";
const REFRESH: &str = "refresh";

/// How long tokens are valid.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    pub access: Duration,
    pub refresh: Duration,
}

/// What a sign-in holds. The only place where the tokens exist in full.
#[derive(Clone)]
pub struct Grant {
    pub access: String,
    pub refresh: String,
    /// When `access` ends.
    pub expires_at: OffsetDateTime,
    pub user: user::Model,
    pub sign_in: SignInId,
}

#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// Unknown, expired, revoked, or its user was deactivated: sign in again.
    #[error("the refresh token is not valid")]
    Invalid,
    /// The sign-in was revoked just now.
    #[error("the refresh token was used before")]
    Reused,
    #[error("no randomness: {0}")]
    Random(#[from] rand::rand_core::OsError),
    #[error(transparent)]
    Db(#[from] DbErr),
}

/// Signs `user` in. The caller has locked the user's row or made it in this transaction.
///
/// # Errors
/// Of the database or without randomness.
pub async fn sign_in(
    tx: &DatabaseTransaction,
    user: user::Model,
    client: &Client,
    lifetimes: Lifetimes,
    now: OffsetDateTime,
) -> Result<Grant, GrantError> {
    let id = SignInId::new();
    let row = sign_in::ActiveModel {
        id: Set(id.0),
        user_id: Set(user.id),
        created_at: Set(now),
        last_used_at: Set(now),
        revoked_at: Set(None),
        address: Set(client.address.to_string()),
        user_agent: Set(client.user_agent.clone()),
    };
    sign_in::Entity::insert(row).exec_without_returning(tx).await?;
    let surplus: Vec<Uuid> = sign_in::Entity::find()
        .select_only()
        .column(sign_in::Column::Id)
        .filter(sign_in::Column::UserId.eq(user.id))
        .filter(sign_in::Column::RevokedAt.is_null())
        .order_by_desc(sign_in::Column::LastUsedAt)
        .order_by_desc(sign_in::Column::Id)
        .offset(MAX_SIGN_INS)
        .limit(MAX_SIGN_INS)
        .into_tuple()
        .all(tx)
        .await?;
    if !surplus.is_empty() {
        revoke_where(tx, sign_in::Column::Id.is_in(surplus), now).await?;
    }
    issue(tx, id, user, lifetimes, now).await
}

/// Exchanges a refresh token.
///
/// # Errors
/// `Invalid` and `Reused` are the caller's; the others are ours.
pub async fn refresh(
    db: &DatabaseConnection,
    presented: &str,
    client: &Client,
    lifetimes: Lifetimes,
    now: OffsetDateTime,
) -> Result<Grant, GrantError> {
    let tx = begin_write(db).await?;
    let (row, sign_in) = entity::token::Entity::find_by_id(token::hash(presented))
        .filter(entity::token::Column::Kind.eq(REFRESH))
        .find_also_related(sign_in::Entity)
        .one(&tx)
        .await?
        .ok_or(GrantError::Invalid)?;
    let sign_in = sign_in.filter(|sign_in| sign_in.revoked_at.is_none()).ok_or(GrantError::Invalid)?;
    // Locks in the order of every other change to a user: user, then sign-in.
    let user = user::Entity::find_by_id(sign_in.user_id).lock_exclusive().one(&tx).await?;
    let user = user.filter(|user| user.is_active).ok_or(GrantError::Invalid)?;
    let exchanged = entity::token::Entity::update_many()
        .col_expr(entity::token::Column::UsedAt, Expr::value(now))
        .filter(entity::token::Column::Hash.eq(&row.hash))
        .filter(entity::token::Column::UsedAt.is_null())
        .filter(entity::token::Column::ExpiresAt.gt(now))
        .exec(&tx)
        .await?;
    if exchanged.rows_affected == 0 {
        let row = entity::token::Entity::find_by_id(&row.hash).one(&tx).await?.ok_or(GrantError::Invalid)?;
        let Some(used_at) = row.used_at else { return Err(GrantError::Invalid) };
        if !is_race(used_at, &sign_in, client, now) {
            revoke_where(&tx, sign_in::Column::Id.eq(sign_in.id), now).await?;
            audit::record(&tx, now, Kind::RefreshReused, &user, client, None).await?;
            tx.commit().await?;
            return Err(GrantError::Reused);
        }
    }
    // Again under the lock: a revocation may have come in between.
    let still = sign_in::Entity::update_many()
        .col_expr(sign_in::Column::LastUsedAt, Expr::value(now))
        .col_expr(sign_in::Column::Address, Expr::value(client.address.to_string()))
        .col_expr(sign_in::Column::UserAgent, Expr::value(client.user_agent.clone()))
        .filter(sign_in::Column::Id.eq(sign_in.id))
        .filter(sign_in::Column::RevokedAt.is_null())
        .exec(&tx)
        .await?;
    if still.rows_affected == 0 {
        return Err(GrantError::Invalid);
    }
    let grant = issue(&tx, SignInId(sign_in.id), user, lifetimes, now).await?;
    tx.commit().await?;
    Ok(grant)
}

/// Whether an exchanged token that comes back is two tabs of one browser rather than a thief.
fn is_race(used_at: OffsetDateTime, sign_in: &sign_in::Model, client: &Client, now: OffsetDateTime) -> bool {
    now - used_at <= REUSE_GRACE
        && sign_in.address == client.address.to_string()
        && sign_in.user_agent == client.user_agent
}

async fn issue(
    db: &impl ConnectionTrait,
    sign_in: SignInId,
    user: user::Model,
    lifetimes: Lifetimes,
    now: OffsetDateTime,
) -> Result<Grant, GrantError> {
    let (access, refresh) = (token::generate()?, token::generate()?);
    let expires_at = now + lifetimes.access;
    let row = |text: &str, kind: &str, expires_at| entity::token::ActiveModel {
        hash: Set(token::hash(text)),
        sign_in_id: Set(sign_in.0),
        kind: Set(kind.to_owned()),
        expires_at: Set(expires_at),
        used_at: Set(None),
    };
    let rows = [row(&access, ACCESS, expires_at), row(&refresh, REFRESH, now + lifetimes.refresh)];
    entity::token::Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(Grant { access, refresh, expires_at, user, sign_in })
}

/// The sign-in a refresh token belongs to, if it is not revoked; for signing out with an access token that has expired.
///
/// # Errors
/// Of the database.
pub async fn of_refresh_token(db: &impl ConnectionTrait, presented: &str) -> Result<Option<sign_in::Model>, DbErr> {
    let row = entity::token::Entity::find_by_id(token::hash(presented))
        .filter(entity::token::Column::Kind.eq(REFRESH))
        .find_also_related(sign_in::Entity)
        .one(db)
        .await?;
    Ok(row.and_then(|(_, sign_in)| sign_in).filter(|sign_in| sign_in.revoked_at.is_none()))
}

/// The sign-ins of a user that are still good for something, last used first.
///
/// # Errors
/// Of the database.
pub async fn list(db: &impl ConnectionTrait, user: UserId, now: OffsetDateTime) -> Result<Vec<sign_in::Model>, DbErr> {
    let with_tokens = Query::select()
        .column(entity::token::Column::SignInId)
        .from(entity::token::Entity)
        .and_where(entity::token::Column::ExpiresAt.gt(now))
        .and_where(entity::token::Column::UsedAt.is_null())
        .to_owned();
    sign_in::Entity::find()
        .filter(sign_in::Column::UserId.eq(user.0))
        .filter(sign_in::Column::RevokedAt.is_null())
        .filter(sign_in::Column::Id.in_subquery(with_tokens))
        .order_by_desc(sign_in::Column::LastUsedAt)
        .order_by_desc(sign_in::Column::Id)
        .limit(MAX_SIGN_INS)
        .all(db)
        .await
}

/// Ends one sign-in of a user; its tokens are worth nothing from now on. False: the user has no such sign-in.
///
/// # Errors
/// Of the database.
pub async fn revoke(
    db: &impl ConnectionTrait,
    user: UserId,
    sign_in: SignInId,
    now: OffsetDateTime,
) -> Result<bool, DbErr> {
    let condition = sign_in::Column::Id.eq(sign_in.0).and(sign_in::Column::UserId.eq(user.0));
    Ok(revoke_where(db, condition, now).await? > 0)
}

/// Ends every sign-in of a user. The number of those that ended.
///
/// # Errors
/// Of the database.
pub async fn revoke_all(db: &impl ConnectionTrait, user: UserId, now: OffsetDateTime) -> Result<u64, DbErr> {
    revoke_where(db, sign_in::Column::UserId.eq(user.0), now).await
}

/// Ends every sign-in of a user but the one in use.
///
/// # Errors
/// Of the database.
pub async fn revoke_others(
    db: &impl ConnectionTrait,
    user: UserId,
    keep: SignInId,
    now: OffsetDateTime,
) -> Result<u64, DbErr> {
    revoke_where(db, sign_in::Column::UserId.eq(user.0).and(sign_in::Column::Id.ne(keep.0)), now).await
}

async fn revoke_where(db: &impl ConnectionTrait, which: Expr, now: OffsetDateTime) -> Result<u64, DbErr> {
    let revoked = sign_in::Entity::update_many()
        .col_expr(sign_in::Column::RevokedAt, Expr::value(now))
        .filter(which)
        .filter(sign_in::Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    Ok(revoked.rows_affected)
}
