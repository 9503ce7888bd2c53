//! `POST /sessions/{id}/extend`

use axum::extract::State;

use super::Session;
use crate::api::extract::{Json, Path};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;

/// Moves the end of a session to a whole session time from now. Counts as use.
///
/// Whoever was warned that nobody uses the session keeps it by this, even where its end can't be moved any further.
#[utoipa::path(
    post, path = "/{id}/extend", tag = "sessions", operation_id = "extendSession", params(("id" = SessionId, Path)),
    responses(
        (status = 200, body = Session, description = "With the new expiresAt"),
        (status = 401, description = "auth.signedOut"),
        (status = 404, description = "notFound"),
        (status = 409, description = "session.notRunning, session.longestTime"),
        (status = 503, description = "stopping, unavailable"),
    ),
)]
pub async fn extend(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<SessionId>,
) -> Result<Json<Session>, Problem> {
    super::find(&app, &user, id).await?;
    app.sessions.extend(id).await?;
    let row = super::find(&app, &user, id).await?;
    Ok(Json(Session::seen_by(&user, &app, row)?))
}
