//! `GET /files`

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::parse_path;
use crate::api::extract::{Json, Query};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;
use crate::workspace::browse::Listing;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// The folder, relative to the workspace; empty for the workspace itself.
    #[serde(default)]
    path: String,
    /// Also what starts with a dot: GIMP's settings and caches.
    #[serde(default)]
    hidden: bool,
}

/// What is in a folder.
#[utoipa::path(get, path = "", tag = "files", params(ListQuery), responses((status = 200, body = Listing)))]
pub async fn files_list(
    State(app): State<App>,
    user: CurrentUser,
    Query(query): Query<ListQuery>,
) -> Result<Json<Listing>, Problem> {
    let path = parse_path("path", &query.path)?;
    Ok(Json(app.workspaces.open(user.id).await?.list(path, query.hidden).await?))
}
