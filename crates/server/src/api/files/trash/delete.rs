//! `DELETE /files/trash/{id}`

use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use crate::api::extract::Path;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// Deletes one entry of the trash for good.
#[utoipa::path(delete, path = "/trash/{id}", tag = "files", params(("id" = Uuid, Path)), responses((status = 204)))]
pub async fn trash_delete(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    app.workspaces.open(user.id).await?.trash_delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
