//! `GET /files/thumbnail`

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::range::{Current, Selection, select};
use super::{PathQuery, parse_path};
use crate::api::extract::Query;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// A small picture of a file, at most 256 pixels wide and high.
#[utoipa::path(
    get,
    path = "/thumbnail",
    tag = "files",
    params(PathQuery),
    responses(
        (status = 200, content((Vec<u8> = "image/jpeg"), (Vec<u8> = "image/png"))),
        (status = 304, description = "As it was."),
        (status = 404, description = "`files.noThumbnail`: not a picture, or GIMP has left none of it."),
        (status = 422, description = "`files.brokenPicture`: broken, or too large."),
    )
)]
pub async fn files_thumbnail(
    State(app): State<App>,
    user: CurrentUser,
    Query(query): Query<PathQuery>,
    mut headers: HeaderMap,
) -> Result<Response, Problem> {
    let path = parse_path("path", &query.path)?;
    let workspace = app.workspaces.open(user.id).await?;
    let content = workspace.content(path.clone()).await?;
    let etag = format!("\"{}-small\"", content.version);
    // Too small for parts.
    headers.remove(header::RANGE);
    let known = select(&headers, Current { size: 0, etag: &etag, modified: content.modified });
    let mut response = if known == Selection::NotModified {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let thumbnail = workspace.thumbnail(&path, content).await?;
        ([(header::CONTENT_TYPE, thumbnail.media_type)], thumbnail.bytes).into_response()
    };
    let out = response.headers_mut();
    out.insert(header::ETAG, HeaderValue::try_from(etag).map_err(Problem::internal)?);
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    Ok(response)
}
