//! `GET /workspace/recoveries`

use axum::extract::State;
use protocol::session::Recovery;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::extract::Json;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// Copies of images that were unsaved when GIMP ended.
#[derive(Serialize, ToSchema)]
pub struct Recoveries {
    /// Newest first.
    recoveries: Vec<Recovery>,
}

/// Copies of images that were unsaved when GIMP ended. Open them with `POST /sessions/{id}/open`.
#[utoipa::path(get, path = "/recoveries", tag = "workspace", responses((status = 200, body = Recoveries)))]
pub async fn recoveries_list(State(app): State<App>, user: CurrentUser) -> Result<Json<Recoveries>, Problem> {
    Ok(Json(Recoveries { recoveries: app.workspaces.open(user.id).await?.recoveries().await? }))
}
