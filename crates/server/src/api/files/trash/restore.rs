//! `POST /files/trash/{id}/restore`

use axum::extract::State;
use uuid::Uuid;

use crate::api::extract::{Json, Path};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;
use crate::workspace::entry::Entry;

/// Puts something back where it was, under another name if there is something else by now.
#[utoipa::path(
    post,
    path = "/trash/{id}/restore",
    tag = "files",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Entry))
)]
pub async fn trash_restore(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<Uuid>,
) -> Result<Json<Entry>, Problem> {
    Ok(Json(app.workspaces.open(user.id).await?.restore(id).await?))
}
