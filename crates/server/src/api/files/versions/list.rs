//! `GET /files/versions`

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::extract::{Json, Query};
use crate::api::files::{PathQuery, parse_path};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;
use crate::workspace::history::Version;

/// What a file was after it was saved.
#[derive(Serialize, ToSchema)]
pub struct Versions {
    /// Newest first.
    versions: Vec<Version>,
}

/// The versions of a file: one for each save in GIMP or by the platform, and for each export. None for a file that was
/// never saved in a session. How many are kept, and how long, the administrator sets; where room is short, the oldest go.
#[utoipa::path(get, path = "/versions", tag = "files", params(PathQuery), responses((status = 200, body = Versions)))]
pub async fn versions_list(
    State(app): State<App>,
    user: CurrentUser,
    Query(query): Query<PathQuery>,
) -> Result<Json<Versions>, Problem> {
    let path = parse_path("path", &query.path)?;
    Ok(Json(Versions { versions: app.workspaces.open(user.id).await?.versions(path).await? }))
}
