//! `GET /workspace/recoveries`

use std::collections::HashSet;

use axum::extract::State;
use protocol::agent::AgentPhase;
use protocol::session::Recovery;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::extract::Json;
use crate::auth::current::CurrentUser;
use crate::db::entity::session::{Column, Entity};
use crate::error::Problem;
use crate::ids::{SessionId, UserId};
use crate::state::App;

/// Copies of images that were unsaved when GIMP ended.
#[derive(Serialize, ToSchema)]
pub struct Recoveries {
    /// Newest first.
    recoveries: Vec<Recovery>,
}

/// Copies of images that were unsaved when GIMP ended. Open them with `POST /sessions/{id}/open`. Copies of what is open in
/// a GIMP that runs are left out.
#[utoipa::path(get, path = "/recoveries", tag = "workspace", responses((status = 200, body = Recoveries)))]
pub async fn recoveries_list(State(app): State<App>, user: CurrentUser) -> Result<Json<Recoveries>, Problem> {
    let open = copies_of_open_documents(&app, user.id).await?;
    let mut recoveries = app.workspaces.open(user.id).await?.recoveries().await?;
    recoveries.retain(|recovery| !open.contains(&recovery.id));
    Ok(Json(Recoveries { recoveries }))
}

async fn copies_of_open_documents(app: &App, user: UserId) -> Result<HashSet<String>, Problem> {
    let sessions =
        Entity::find().filter(Column::UserId.eq(user.0)).filter(Column::EndedAt.is_null()).all(&app.db).await?;
    let reports = sessions.into_iter().filter_map(|row| app.sessions.live(SessionId(row.id))?.borrow().report.clone());
    // Once GIMP is gone they are what is left.
    let running = reports.filter(|report| report.phase == AgentPhase::Running);
    Ok(running.filter_map(|report| report.documents).flatten().filter_map(|document| document.recovery).collect())
}
