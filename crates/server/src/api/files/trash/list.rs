//! `GET /files/trash`

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::extract::Json;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;
use crate::workspace::trash::TrashEntry;

/// What was deleted and can still be restored.
#[derive(Serialize, ToSchema)]
pub struct Trash {
    /// Newest first.
    entries: Vec<TrashEntry>,
}

/// What is in the trash. Entries go for good after thirty days.
#[utoipa::path(get, path = "/trash", tag = "files", responses((status = 200, body = Trash)))]
pub async fn trash_list(State(app): State<App>, user: CurrentUser) -> Result<Json<Trash>, Problem> {
    Ok(Json(Trash { entries: app.workspaces.open(user.id).await?.trash_entries().await? }))
}
