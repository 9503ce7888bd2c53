//! `GET /admin/sessions`

use axum::extract::State;
use protocol::session::SessionStatus;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::admin::page::PageQuery;
use crate::api::extract::{Json, Query};
use crate::api::sessions::Session;
use crate::auth::current::CurrentAdmin;
use crate::db::entity::session::{Column, Entity};
use crate::db::entity::user;
use crate::error::Problem;
use crate::state::App;

/// Which sessions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    status: Option<SessionStatus>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminSessions {
    /// Newest first.
    sessions: Vec<AdminSession>,
    next_cursor: Option<String>,
}

/// A session and whose it is.
#[derive(Serialize, ToSchema)]
pub struct AdminSession {
    #[serde(flatten)]
    session: Session,
    email: Option<String>,
}

/// Sessions of all users, or those with a status.
#[utoipa::path(
    get, path = "", tag = "admin", operation_id = "adminSessions", params(Filter, PageQuery),
    responses((status = 200, body = AdminSessions), (status = 403, description = "auth.adminOnly")),
)]
pub async fn list(
    State(app): State<App>,
    _: CurrentAdmin,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<AdminSessions>, Problem> {
    let mut rows = Entity::find().find_also_related(user::Entity);
    if let Some(status) = filter.status {
        rows = rows.filter(Column::Status.eq(status.as_str()));
    }
    if let Some(before) = page.before()? {
        rows = rows.filter(Column::Id.lt(before));
    }
    let mut rows = rows.order_by_desc(Column::Id).limit(page.rows() + 1).all(&app.db).await?;
    let next_cursor = page.cut(&mut rows, |(row, _)| row.id);
    let sessions = rows
        .into_iter()
        .map(|(row, user)| Ok(AdminSession { session: Session::new(&app, row)?, email: user.map(|user| user.email) }));
    Ok(Json(AdminSessions { sessions: sessions.collect::<Result<_, Problem>>()?, next_cursor }))
}
