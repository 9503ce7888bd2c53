//! `DELETE /files/trash`

use axum::extract::State;
use axum::http::StatusCode;

use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// Deletes everything in the trash for good.
#[utoipa::path(delete, path = "/trash", tag = "files", responses((status = 204)))]
pub async fn trash_empty(State(app): State<App>, user: CurrentUser) -> Result<StatusCode, Problem> {
    app.workspaces.open(user.id).await?.trash_empty().await?;
    Ok(StatusCode::NO_CONTENT)
}
