//! `DELETE /files/versions/{id}`

use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use crate::api::extract::Path;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// Removes a version for good. The file itself stays.
#[utoipa::path(delete, path = "/versions/{id}", tag = "files", params(("id" = Uuid, Path)), responses((status = 204)))]
pub async fn versions_delete(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    app.workspaces.open(user.id).await?.version_delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
