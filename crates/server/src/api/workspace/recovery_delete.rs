//! `DELETE /workspace/recoveries/{id}`

use axum::extract::State;
use axum::http::StatusCode;

use super::parse_id;
use crate::api::extract::Path;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::state::App;

/// Moves a copy to the trash.
#[utoipa::path(
    delete,
    path = "/recoveries/{id}",
    tag = "workspace",
    params(("id" = String, Path)),
    responses((status = 204))
)]
pub async fn recovery_delete(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.workspaces.open(user.id).await?.recovery_delete(parse_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
