//! `PATCH /files/uploads/{id}`

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::{UPLOAD_OFFSET, parse_offset};
use crate::api::extract::{Json, Path};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;
use crate::workspace::entry::Entry;
use crate::workspace::upload::Received;

/// The next bytes of an upload.
#[utoipa::path(
    patch,
    path = "/uploads/{id}",
    tag = "files",
    params(
        ("id" = Uuid, Path),
        ("Upload-Offset" = u64, Header, description = "Where these bytes go: what has arrived so far."),
    ),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "Taken.", headers(("Upload-Offset" = u64, description = "Bytes that have arrived"))),
        (status = 201, body = Entry, description = "That was the last byte: the file is there."),
        (status = 409, description = "`uploads.offset`: the upload is at `offset`. `files.exists`: something took the name; move it away and send an empty part."),
        (status = 507, description = "`files.quotaExceeded`, `files.diskFull`: what has arrived is kept."),
    )
)]
pub async fn uploads_receive(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Some(offset) = parse_offset(&headers) else {
        return Err(Problem::invalid(&[(
            "Upload-Offset",
            "Send the header Upload-Offset: the number of bytes that have arrived so far.".to_owned(),
        )]));
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let workspace = app.workspaces.open(user.id).await?;
    match workspace.upload_receive(id, offset, length, body.into_data_stream()).await {
        Ok(Received::Part { offset }) => {
            Ok((StatusCode::NO_CONTENT, [(UPLOAD_OFFSET, offset.to_string())]).into_response())
        }
        Ok(Received::Finished(entry)) => Ok((StatusCode::CREATED, Json(entry)).into_response()),
        Err(error) => Err(error.into()),
    }
}
