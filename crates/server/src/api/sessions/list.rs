//! `GET /sessions`

use axum::extract::State;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;
use utoipa::ToSchema;

use super::Session;
use crate::api::admin::page::PageQuery;
use crate::api::extract::{Json, Query};
use crate::auth::current::CurrentUser;
use crate::db::entity::session::{Column, Entity};
use crate::error::Problem;
use crate::state::App;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SessionPage)]
pub struct Page {
    sessions: Vec<Session>,
    /// None: this is the last page.
    next_cursor: Option<String>,
}

/// The user's sessions, the newest first, ended ones too.
#[utoipa::path(
    get, path = "/", tag = "sessions", operation_id = "listSessions", params(PageQuery),
    responses(
        (status = 200, body = Page),
        (status = 401, description = "auth.signedOut"),
        (status = 422, description = "invalid"),
    ),
)]
pub async fn list(
    State(app): State<App>,
    user: CurrentUser,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page>, Problem> {
    let mut rows = Entity::find().filter(Column::UserId.eq(user.id.0));
    if let Some(before) = page.before()? {
        rows = rows.filter(Column::Id.lt(before));
    }
    let mut rows = rows.order_by_desc(Column::Id).limit(page.rows() + 1).all(&app.db).await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    let sessions = rows.into_iter().map(|row| Session::own(&app, row)).collect::<Result<_, _>>()?;
    Ok(Json(Page { sessions, next_cursor }))
}
