//! `GET /sessions/{id}`

use axum::extract::State;

use super::Session;
use crate::api::extract::{Json, Path};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;

/// One session.
#[utoipa::path(
    get, path = "/{id}", tag = "sessions", operation_id = "readSession", params(("id" = SessionId, Path)),
    responses(
        (status = 200, body = Session),
        (status = 401, description = "auth.signedOut"),
        (status = 404, description = "notFound"),
    ),
)]
pub async fn read(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<SessionId>,
) -> Result<Json<Session>, Problem> {
    let row = super::find(&app, &user, id).await?;
    Ok(Json(Session::seen_by(&user, &app, row)?))
}
