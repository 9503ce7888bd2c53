//! `GET /workspace`

use axum::extract::State;

use crate::api::extract::Json;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;
use crate::workspace::quota::Quota;

/// How much room there is in the workspace.
#[utoipa::path(get, path = "", tag = "workspace", responses((status = 200, body = Quota)))]
pub async fn workspace_quota(State(app): State<App>, user: CurrentUser) -> Result<Json<Quota>, Problem> {
    Ok(Json(app.workspaces.open(user.id).await?.quota().await?))
}
