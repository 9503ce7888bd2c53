//! `GET /admin/audit`

use std::collections::HashMap;

use axum::extract::State;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::page::PageQuery;
use crate::api::extract::{Json, Query};
use crate::auth::audit::Kind;
use crate::auth::current::CurrentAdmin;
use crate::db::entity::{audit_entry, user};
use crate::error::Problem;
use crate::ids::UserId;
use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(audit))
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Newest first.
    entries: Vec<AuditEntry>,
    next_cursor: Option<String>,
}

/// One security event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    #[schema(value_type = Kind)]
    kind: String,
    /// Whose account it is about.
    user_id: Option<UserId>,
    email: Option<String>,
    /// Where the request came from.
    address: Option<String>,
    detail: Option<String>,
}

/// What happened to accounts and their sessions.
#[utoipa::path(
    get, path = "", tag = "admin", operation_id = "adminAudit", params(PageQuery),
    responses((status = 200, body = Audit), (status = 403, description = "auth.adminOnly")),
)]
pub async fn audit(
    State(app): State<App>,
    _: CurrentAdmin,
    Query(page): Query<PageQuery>,
) -> Result<Json<Audit>, Problem> {
    let mut select = audit_entry::Entity::find().order_by_desc(audit_entry::Column::Id).limit(page.rows() + 1);
    if let Some(before) = page.before()? {
        select = select.filter(audit_entry::Column::Id.lt(before));
    }
    let mut rows = select.all(&app.db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);

    let nameless: Vec<Uuid> = rows.iter().filter(|row| row.email.is_none()).filter_map(|row| row.user_id).collect();
    let users = user::Entity::find().filter(user::Column::Id.is_in(nameless)).all(&app.db).await?;
    let emails: HashMap<Uuid, String> = users.into_iter().map(|user| (user.id, user.email)).collect();
    let entries = rows
        .into_iter()
        .map(|row| AuditEntry {
            email: row.email.or_else(|| emails.get(&row.user_id?).cloned()),
            at: row.at,
            kind: row.kind,
            user_id: row.user_id.map(UserId),
            address: row.address,
            detail: row.detail,
        })
        .collect();
    Ok(Json(Audit { entries, next_cursor }))
}
