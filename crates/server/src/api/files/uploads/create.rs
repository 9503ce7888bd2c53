//! `POST /files/uploads`

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::extract::Json;
use crate::api::files::parse_path;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;
use crate::workspace::upload::{CHUNK_SIZE, UploadRequest};

#[derive(Deserialize, ToSchema)]
pub struct NewUpload {
    /// What the file is to be called; the folder above must exist.
    path: String,
    /// Bytes.
    size: u64,
    /// Move an existing file of that name to the trash when the new one is complete.
    #[serde(default)]
    overwrite: bool,
}

/// An upload that has begun.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    id: Uuid,
    /// Bytes that have arrived.
    offset: u64,
    /// Bytes that make a good part; others are fine.
    chunk_size: u64,
}

/// Announces an upload. It can be continued for seven days after its last part.
#[utoipa::path(post, path = "/uploads", tag = "files", request_body = NewUpload, responses((status = 201, body = Upload)))]
pub async fn uploads_create(
    State(app): State<App>,
    user: CurrentUser,
    Json(request): Json<NewUpload>,
) -> Result<(StatusCode, Json<Upload>), Problem> {
    let path = parse_path("path", &request.path)?;
    let request = UploadRequest { path, size: request.size, overwrite: request.overwrite };
    let id = app.workspaces.open(user.id).await?.upload_create(request).await?;
    Ok((StatusCode::CREATED, Json(Upload { id, offset: 0, chunk_size: CHUNK_SIZE })))
}
