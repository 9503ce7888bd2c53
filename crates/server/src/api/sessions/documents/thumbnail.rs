//! `GET /sessions/{id}/documents/{document}/thumbnail`

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use protocol::agent::ThumbnailRequest;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Named, agent_of, refusal};
use crate::api::extract::{Path, Query};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct Size {
    /// Pixels of the longer side, 16 to 512; 256 if it is not given.
    #[param(minimum = 16, maximum = 512)]
    size: Option<u32>,
}

/// What a document looks like now, small.
#[utoipa::path(
    get, path = "/{id}/documents/{document}/thumbnail", tag = "sessions", operation_id = "documentThumbnail",
    params(("id" = SessionId, Path), ("document" = String, Path), Size),
    responses(
        (status = 200, content_type = "image/png", body = Vec<u8>),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "session.notYours"),
        (status = 404, description = "notFound: no such session; document.notFound"),
        (status = 409, description = "session.notRunning"),
        (status = 422, description = "invalid; gimp.failed"),
        (status = 501, description = "documents.unknown"),
        (status = 503, description = "gimp.busy, session.noAnswer"),
    ),
)]
pub async fn thumbnail(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, document)): Named,
    Query(Size { size }): Query<Size>,
) -> Result<Response, Problem> {
    let agent = agent_of(&app, &user, id, &document).await?;
    let size = size.unwrap_or(256);
    if !(16..=512).contains(&size) {
        return Err(Problem::invalid(&[("size", "The size must be from 16 to 512 pixels.".to_owned())]));
    }
    let png = agent.thumbnail(&ThumbnailRequest { document, size }).await.map_err(refusal)?;
    let mut response = png.into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/png"));
    // Pages ask anew, under another address, when the document has changed.
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=60"));
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    Ok(response)
}
