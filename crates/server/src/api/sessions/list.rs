//! `GET /sessions`

use axum::extract::State;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Session;
use crate::api::extract::{Json, Query};
use crate::auth::current::CurrentUser;
use crate::db::entity::session::{Column, Entity};
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;

const MOST: u64 = 200;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// 1 to 200; 50 if not given.
    limit: Option<u64>,
    /// `nextCursor` of the page before.
    cursor: Option<SessionId>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SessionPage)]
pub struct Page {
    sessions: Vec<Session>,
    /// None: this is the last page.
    next_cursor: Option<SessionId>,
}

/// The user's sessions, the newest first, ended ones too.
#[utoipa::path(
    get, path = "/", tag = "sessions", operation_id = "listSessions", params(Paging),
    responses(
        (status = 200, body = Page),
        (status = 401, description = "auth.signedOut"),
        (status = 422, description = "invalid"),
    ),
)]
pub async fn list(
    State(app): State<App>,
    user: CurrentUser,
    Query(paging): Query<Paging>,
) -> Result<Json<Page>, Problem> {
    let limit = limit(paging.limit)?;
    let mut rows = Entity::find().filter(Column::UserId.eq(user.id.0));
    if let Some(cursor) = paging.cursor {
        rows = rows.filter(Column::Id.lt(cursor.0));
    }
    // One more than asked for tells whether there is another page.
    let mut rows = rows.order_by_desc(Column::Id).limit(limit + 1).all(&app.db).await?;
    let more = rows.len() as u64 > limit;
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = rows.last().filter(|_| more).map(|row| SessionId(row.id));
    let sessions = rows.into_iter().map(|row| Session::new(&app, row)).collect::<Result<_, _>>()?;
    Ok(Json(Page { sessions, next_cursor }))
}

/// The size of a page.
///
/// # Errors
/// 422 when it is out of range.
pub(in crate::api) fn limit(asked: Option<u64>) -> Result<u64, Problem> {
    match asked.unwrap_or(50) {
        limit @ 1..=MOST => Ok(limit),
        _ => Err(Problem::invalid(&[("limit", format!("limit must be from 1 to {MOST}."))])),
    }
}
