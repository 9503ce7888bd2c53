//! `GET /admin/users`

use std::collections::HashMap;

use axum::extract::State;
use protocol::session::SessionStatus;
use sea_orm::sea_query::{Expr, ExprTrait, Func, LikeExpr};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::admin::page::PageQuery;
use crate::api::extract::{Json, Query};
use crate::api::users::User;
use crate::auth::current::CurrentAdmin;
use crate::db::entity::{session, storage_quota, user};
use crate::error::Problem;
use crate::state::App;

/// Which users.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Search {
    /// Part of an e-mail address or a name, in any case.
    query: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminUsers {
    /// Newest first.
    users: Vec<AdminUser>,
    next_cursor: Option<String>,
}

/// An account as administrators see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminUser {
    #[serde(flatten)]
    user: User,
    #[serde(with = "time::serde::rfc3339::option")]
    last_sign_in_at: Option<OffsetDateTime>,
    /// That run now.
    sessions: u64,
    /// Of the workspace, as last measured.
    used_bytes: u64,
    quota_bytes: u64,
}

/// Accounts, or those that match.
#[utoipa::path(
    get, path = "", tag = "admin", operation_id = "adminUsers", params(Search, PageQuery),
    responses((status = 200, body = AdminUsers), (status = 403, description = "auth.adminOnly")),
)]
pub async fn list(
    State(app): State<App>,
    _: CurrentAdmin,
    Query(search): Query<Search>,
    Query(page): Query<PageQuery>,
) -> Result<Json<AdminUsers>, Problem> {
    let mut select = user::Entity::find().order_by_desc(user::Column::Id).limit(page.rows() + 1);
    if let Some(text) = search.query.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        select = select.filter(matches(text));
    }
    if let Some(before) = page.before()? {
        select = select.filter(user::Column::Id.lt(before));
    }
    let mut rows = select.all(&app.db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);

    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let counts: Vec<(Uuid, i64)> = session::Entity::find()
        .select_only()
        .column(session::Column::UserId)
        .column_as(session::Column::Id.count(), "sessions")
        .filter(session::Column::UserId.is_in(ids.clone()))
        .filter(session::Column::Status.is_in([SessionStatus::Starting.as_str(), SessionStatus::Running.as_str()]))
        .group_by(session::Column::UserId)
        .into_tuple()
        .all(&app.db)
        .await?;
    let counts: HashMap<Uuid, i64> = counts.into_iter().collect();
    let quotas = storage_quota::Entity::find().filter(storage_quota::Column::UserId.is_in(ids)).all(&app.db).await?;
    let quotas: HashMap<Uuid, storage_quota::Model> = quotas.into_iter().map(|row| (row.user_id, row)).collect();

    let users = rows
        .into_iter()
        .map(|row| {
            let quota = quotas.get(&row.id);
            AdminUser {
                last_sign_in_at: row.last_sign_in_at,
                sessions: counts.get(&row.id).map_or(0, |count| u64::try_from(*count).unwrap_or(0)),
                used_bytes: quota.map_or(0, |quota| u64::try_from(quota.used_bytes).unwrap_or(0)),
                quota_bytes: quota.map_or(0, |quota| u64::try_from(quota.storage_gb).unwrap_or(0) << 30),
                user: row.into(),
            }
        })
        .collect();
    Ok(Json(AdminUsers { users, next_cursor }))
}

fn matches(text: &str) -> Condition {
    let escaped: String = text
        .to_lowercase()
        .chars()
        .flat_map(|c| ['\\'].into_iter().filter(move |_| "\\%_".contains(c)).chain([c]))
        .collect();
    let like = |column: user::Column| {
        Expr::expr(Func::lower(Expr::col(column))).like(LikeExpr::new(format!("%{escaped}%")).escape('\\'))
    };
    Condition::any().add(like(user::Column::Email)).add(like(user::Column::FirstName)).add(like(user::Column::LastName))
}
