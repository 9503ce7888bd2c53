//! `GET /sessions/{id}/documents`

use axum::extract::State;
use protocol::agent::Document;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::extract::{Json, Path};
use crate::api::sessions::{find_own, usable};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;

/// What GIMP has open.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Documents)]
pub struct Answer {
    /// At most 128. None: that is not known, or not yet.
    documents: Option<Vec<Document>>,
    /// Why it is not known, for people.
    unavailable: Option<String>,
}

/// The images that GIMP has open. Changes come by `/events`.
#[utoipa::path(
    get, path = "/{id}/documents", tag = "sessions", operation_id = "listDocuments", params(("id" = SessionId, Path)),
    responses(
        (status = 200, body = Answer),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "session.notYours"),
        (status = 404, description = "notFound"),
        (status = 409, description = "session.notRunning"),
    ),
)]
pub async fn list(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<SessionId>,
) -> Result<Json<Answer>, Problem> {
    let row = find_own(&app, &user, id).await?;
    let live = usable(&app, &row).await?;
    let report = live.borrow().report.clone();
    Ok(Json(match report {
        Some(report) => Answer { documents: report.documents, unavailable: report.capabilities.documents_unavailable },
        None => Answer { documents: None, unavailable: None },
    }))
}
