//! `POST /files/versions/{id}/restore`

use axum::extract::State;
use axum::http::StatusCode;
use uuid::Uuid;

use crate::api::extract::{Json, Path};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;
use crate::workspace::entry::Entry;

/// Makes a new file of a version, beside the file; where that is gone, in its place. Replaces nothing.
#[utoipa::path(
    post,
    path = "/versions/{id}/restore",
    tag = "files",
    params(("id" = Uuid, Path)),
    responses((status = 201, body = Entry))
)]
pub async fn versions_restore(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<Uuid>,
) -> Result<(StatusCode, Json<Entry>), Problem> {
    let entry = app.workspaces.open(user.id).await?.version_restore(id).await?;
    Ok((StatusCode::CREATED, Json(entry)))
}
