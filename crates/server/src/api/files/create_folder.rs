//! `POST /files/folder`

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::parse_path;
use crate::api::extract::Json;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;
use crate::workspace::entry::Entry;

#[derive(Deserialize, ToSchema)]
pub struct NewFolder {
    /// Relative to the workspace; the folder above must exist.
    #[schema(example = "pictures/2026")]
    path: String,
}

/// Makes a folder.
#[utoipa::path(post, path = "/folder", tag = "files", request_body = NewFolder, responses((status = 201, body = Entry)))]
pub async fn files_create_folder(
    State(app): State<App>,
    user: CurrentUser,
    Json(request): Json<NewFolder>,
) -> Result<(StatusCode, Json<Entry>), Problem> {
    let path = parse_path("path", &request.path)?;
    let entry = app.workspaces.open(user.id).await?.create_folder(path).await?;
    Ok((StatusCode::CREATED, Json(entry)))
}
