//! `DELETE /files/uploads/{id}`

use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use crate::api::extract::Path;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// Cancels an upload and drops what has arrived.
#[utoipa::path(delete, path = "/uploads/{id}", tag = "files", params(("id" = Uuid, Path)), responses((status = 204)))]
pub async fn uploads_cancel(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    app.workspaces.open(user.id).await?.upload_cancel(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
