//! `GET /files/thumbnail`

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::{PathQuery, parse_path};
use crate::api::extract::Query;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;
use crate::workspace::error::FileError;

/// A small picture of a file, at most 256 pixels wide and high.
#[utoipa::path(
    get,
    path = "/thumbnail",
    tag = "files",
    params(PathQuery),
    responses((status = 200, content_type = "image/png", body = Vec<u8>), (status = 304, description = "As it was."))
)]
pub async fn files_thumbnail(
    State(app): State<App>,
    user: CurrentUser,
    Query(query): Query<PathQuery>,
    _headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = parse_path("path", &query.path)?;
    app.workspaces.open(user.id).await?.content(path).await?;
    Err(FileError::NoThumbnail.into())
}
