//! `GET /files/versions/{id}/thumbnail`

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::api::extract::{Path, Query};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// How long a browser may show it without asking: a version never changes. Seconds.
const GOOD_FOR: &str = "private, max-age=3600";

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Size {
    /// Longest side, pixels, 16 to 512.
    #[serde(default = "usual")]
    size: u32,
}

const fn usual() -> u32 {
    256
}

/// A small picture of a version.
#[utoipa::path(
    get,
    path = "/versions/{id}/thumbnail",
    tag = "files",
    params(("id" = Uuid, Path), Size),
    responses(
        (status = 200, content((Vec<u8> = "image/jpeg"), (Vec<u8> = "image/png"))),
        (status = 404, description = "`versions.notFound`, or `files.noThumbnail`: there is no picture of it."),
        (status = 422, description = "`files.brokenPicture`: broken, or too large."),
    )
)]
pub async fn versions_thumbnail(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<Uuid>,
    Query(query): Query<Size>,
) -> Result<Response, Problem> {
    if !(16..=512).contains(&query.size) {
        return Err(Problem::invalid(&[("size", "It must be from 16 to 512 pixels.".to_owned())]));
    }
    let thumbnail = app.workspaces.open(user.id).await?.version_thumbnail(id, query.size).await?;
    let mut response = ([(header::CONTENT_TYPE, thumbnail.media_type)], thumbnail.bytes).into_response();
    let out = response.headers_mut();
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(GOOD_FOR));
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    Ok(response)
}
