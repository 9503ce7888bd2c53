//! `POST /files/trash`

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::extract::Json;
use crate::api::files::parse_path;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

#[derive(Deserialize, ToSchema)]
pub struct TrashRequest {
    /// The file or folder to delete.
    path: String,
}

/// Moves a file or folder to the trash.
#[utoipa::path(post, path = "/trash", tag = "files", request_body = TrashRequest, responses((status = 204)))]
pub async fn trash_put(
    State(app): State<App>,
    user: CurrentUser,
    Json(request): Json<TrashRequest>,
) -> Result<StatusCode, Problem> {
    let path = parse_path("path", &request.path)?;
    app.workspaces.open(user.id).await?.trash(path).await?;
    Ok(StatusCode::NO_CONTENT)
}
