//! `POST /sessions/{id}/documents`

use axum::extract::State;
use axum::http::StatusCode;
use protocol::agent::{LayerRequest, OpenRequest};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{check_openable, refusal, workspace_path};
use crate::api::extract::{Json, Path};
use crate::api::sessions::{find_own, usable};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OpenDocument)]
pub struct Request {
    /// A file of the workspace.
    path: String,
    #[serde(default, rename = "as")]
    kind: Kind,
    /// With `layer`: onto which document; without, the one that GIMP shows.
    document: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OpenAs)]
pub enum Kind {
    /// As an image of its own.
    #[default]
    Image,
    /// On top of an image that is open.
    Layer,
}

/// Opens a file in the running GIMP, as an image or as a layer of one. An image is open a moment after the answer.
#[utoipa::path(
    post, path = "/{id}/documents", tag = "sessions", operation_id = "openDocument", params(("id" = SessionId, Path)),
    request_body = Request,
    responses(
        (status = 204),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "session.notYours"),
        (status = 404, description = "notFound: no such session; files.notFound; document.notFound"),
        (status = 409, description = "session.notRunning"),
        (status = 422, description = "invalid; document.unsupported, with the endings that GIMP opens in `formats`; \
                                      document.which; gimp.failed"),
        (status = 501, description = "documents.unknown"),
        (status = 503, description = "gimp.busy, session.noAnswer"),
    ),
)]
pub async fn open(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<SessionId>,
    Json(request): Json<Request>,
) -> Result<StatusCode, Problem> {
    let row = find_own(&app, &user, id).await?;
    let path = workspace_path(&request.path)?;
    check_openable(&path)?;
    usable(&app, &row).await?;
    let agent = app.driver.agent(id);
    match request.kind {
        Kind::Image => agent.open(&OpenRequest { path, as_new: false }).await,
        Kind::Layer => agent.add_layer(&LayerRequest { path, document: request.document }).await,
    }
    .map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}
