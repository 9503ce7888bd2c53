//! `POST /sessions/{id}/documents/{document}/save`

use axum::extract::State;
use protocol::agent::{SaveRequest, WrittenFile};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Named, agent_of, refusal, workspace_path};
use crate::api::extract::{Json, Path};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;

#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SaveDocument)]
pub struct Request {
    /// Where in the workspace, ending with .xcf. None: its own file.
    path: Option<String>,
    /// Whether another file that is there may be overwritten.
    #[serde(default)]
    replace: bool,
}

/// Saves a document with all its layers, as Ctrl+S in GIMP does. Afterwards the file is its own.
#[utoipa::path(
    post, path = "/{id}/documents/{document}/save", tag = "sessions", operation_id = "saveDocument",
    params(("id" = SessionId, Path), ("document" = String, Path)),
    request_body = Option<Request>,
    responses(
        (status = 200, body = WrittenFile),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "session.notYours"),
        (status = 404, description = "notFound: no such session; document.notFound; files.noFolder"),
        (status = 409, description = "session.notRunning; files.exists"),
        (status = 422, description = "invalid; document.noFile: it needs a path; gimp.failed"),
        (status = 501, description = "documents.unknown"),
        (status = 503, description = "gimp.busy, session.noAnswer"),
    ),
)]
pub async fn save(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, document)): Named,
    request: Option<Json<Request>>,
) -> Result<Json<WrittenFile>, Problem> {
    let agent = agent_of(&app, &user, id, &document).await?;
    let Request { path, replace } = request.map(|Json(request)| request).unwrap_or_default();
    let path = path.as_deref().map(workspace_path).transpose()?;
    Ok(Json(agent.save(&SaveRequest { document, path, replace }).await.map_err(refusal)?))
}
