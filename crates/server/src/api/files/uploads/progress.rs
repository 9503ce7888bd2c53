//! `HEAD /files/uploads/{id}`

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{AppendHeaders, IntoResponse};
use uuid::Uuid;

use super::{UPLOAD_LENGTH, UPLOAD_OFFSET};
use crate::api::extract::Path;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// How much of an upload has arrived.
#[utoipa::path(
    head,
    path = "/uploads/{id}",
    tag = "files",
    params(("id" = Uuid, Path)),
    responses((status = 200, headers(
        ("Upload-Offset" = u64, description = "Bytes that have arrived"),
        ("Upload-Length" = u64, description = "Bytes of the whole file"),
    )))
)]
pub async fn uploads_progress(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let progress = app.workspaces.open(user.id).await?.upload_progress(id).await?;
    Ok(AppendHeaders([
        (UPLOAD_OFFSET, HeaderValue::from(progress.offset)),
        (UPLOAD_LENGTH, HeaderValue::from(progress.size)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]))
}
