//! Removes what is of no use to anyone any more. Run by the retention job.

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};
use time::{Duration, OffsetDateTime};

use super::lockout;
use crate::db::entity::{invite, login_failure, password_reset, sign_in, token};

/// How long used and expired invites are still listed.
const INVITES_KEPT: Duration = Duration::days(30);

/// Sign-ins younger than this are kept even without a token: one may be on its way.
const UNUSED: Duration = Duration::days(1);

/// Removes expired tokens, links, invites, failures and the sign-ins nobody can use. The number of rows removed.
///
/// # Errors
/// Of the database. Safe to repeat.
pub async fn prune(db: &impl ConnectionTrait, now: OffsetDateTime) -> Result<u64, DbErr> {
    let tokens = token::Entity::delete_many().filter(token::Column::ExpiresAt.lte(now)).exec(db).await?;
    let with_tokens = Query::select().column(token::Column::SignInId).from(token::Entity).to_owned();
    let sign_ins = sign_in::Entity::delete_many()
        .filter(
            sign_in::Column::RevokedAt.is_not_null().or(sign_in::Column::LastUsedAt
                .lte(now - UNUSED)
                .and(Expr::col(sign_in::Column::Id).not_in_subquery(with_tokens))),
        )
        .exec(db)
        .await?;
    let resets = password_reset::Entity::delete_many()
        .filter(password_reset::Column::UsedAt.is_not_null().or(password_reset::Column::ExpiresAt.lte(now)))
        .exec(db)
        .await?;
    let invites = invite::Entity::delete_many()
        .filter(invite::Column::UsedAt.lte(now - INVITES_KEPT).or(invite::Column::ExpiresAt.lte(now - INVITES_KEPT)))
        .exec(db)
        .await?;
    let failures = login_failure::Entity::delete_many()
        .filter(login_failure::Column::LastAt.lte(now - lockout::FORGET_AFTER))
        .exec(db)
        .await?;
    Ok([tokens, sign_ins, resets, invites, failures].iter().map(|result| result.rows_affected).sum())
}
