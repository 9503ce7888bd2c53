//! `GET /files/content`

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::attachment::send;
use super::{PathQuery, parse_path};
use crate::api::extract::Query;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// A file's bytes, whole or in part.
#[utoipa::path(
    get,
    path = "/content",
    tag = "files",
    params(
        PathQuery,
        ("Range" = Option<String>, Header, description = "One range of bytes."),
        ("If-Range" = Option<String>, Header, description = "ETag of what the range continues."),
    ),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>, description = "The whole file. Always an attachment."),
        (status = 206, content_type = "application/octet-stream", body = Vec<u8>, description = "The range asked for."),
        (status = 304, description = "As it was."),
        (status = 416, description = "The file is shorter. Content-Range has its size."),
    )
)]
pub async fn files_content(
    State(app): State<App>,
    user: CurrentUser,
    Query(query): Query<PathQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = parse_path("path", &query.path)?;
    let content = app.workspaces.open(user.id).await?.content(path).await?;
    send(content, &headers).await
}
