//! `POST /files/move`

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::parse_path;
use crate::api::extract::Json;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;
use crate::workspace::entry::Entry;

#[derive(Deserialize, ToSchema)]
pub struct Move {
    /// What is to be renamed or moved.
    from: String,
    /// Its new path; the folder above must exist and nothing may be there yet.
    to: String,
}

/// Renames or moves a file or folder. Never replaces anything.
#[utoipa::path(post, path = "/move", tag = "files", request_body = Move, responses((status = 200, body = Entry)))]
pub async fn files_move(
    State(app): State<App>,
    user: CurrentUser,
    Json(request): Json<Move>,
) -> Result<Json<Entry>, Problem> {
    let from = parse_path("from", &request.from)?;
    let to = parse_path("to", &request.to)?;
    Ok(Json(app.workspaces.open(user.id).await?.rename(from, to).await?))
}
