//! `DELETE /sessions/{id}`

use axum::extract::State;
use axum::http::StatusCode;
use protocol::session::EndReason;

use super::Session;
use crate::api::extract::{Json, Path};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::ids::{SessionId, UserId};
use crate::state::App;

/// Ends a session: GIMP saves copies of what is unsaved and quits. The answer comes at once; the end goes on, see
/// `/events`. Harmless if it has ended.
#[utoipa::path(
    delete, path = "/{id}", tag = "sessions", operation_id = "endSession", params(("id" = SessionId, Path)),
    responses(
        (status = 202, body = Session),
        (status = 401, description = "auth.signedOut"),
        (status = 404, description = "notFound"),
        (status = 503, description = "stopping"),
    ),
)]
pub async fn end(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<SessionId>,
) -> Result<(StatusCode, Json<Session>), Problem> {
    let row = super::find(&app, &user, id).await?;
    let reason = if UserId(row.user_id) == user.id { EndReason::User } else { EndReason::Admin };
    app.sessions.end(id, reason).await?;
    let row = super::find(&app, &user, id).await?;
    Ok((StatusCode::ACCEPTED, Json(Session::new(&app, row)?)))
}
