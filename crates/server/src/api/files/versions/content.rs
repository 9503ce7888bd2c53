//! `GET /files/versions/{id}/content`

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use uuid::Uuid;

use crate::api::extract::Path;
use crate::api::files::attachment::send;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// The bytes of a version, named after its file.
#[utoipa::path(
    get,
    path = "/versions/{id}/content",
    tag = "files",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>, description = "All of it. Always an attachment."),
        (status = 206, content_type = "application/octet-stream", body = Vec<u8>, description = "The range asked for."),
        (status = 404, description = "`versions.notFound`: it was removed, perhaps to make room."),
    )
)]
pub async fn versions_content(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let content = app.workspaces.open(user.id).await?.version_content(id).await?;
    send(content, &headers).await
}
