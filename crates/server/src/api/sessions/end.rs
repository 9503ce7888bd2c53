//! `DELETE /sessions/{id}`

use axum::extract::State;
use axum::http::StatusCode;
use protocol::session::EndReason;

use super::Session;
use crate::api::extract::{Json, Path};
use crate::auth::audit::{self, Kind};
use crate::auth::client::Client;
use crate::auth::current::CurrentUser;
use crate::db::entity::session;
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
        (status = 503, description = "stopping, unavailable"),
    ),
)]
pub async fn end(
    State(app): State<App>,
    user: CurrentUser,
    client: Client,
    Path(id): Path<SessionId>,
) -> Result<(StatusCode, Json<Session>), Problem> {
    let row = super::find(&app, &user, id).await?;
    if UserId(row.user_id) == user.id {
        app.sessions.end(id, EndReason::User).await?;
    } else {
        end_as_admin(&app, &user, &client, &row).await?;
    }
    let row = super::find(&app, &user, id).await?;
    Ok((StatusCode::ACCEPTED, Json(Session::seen_by(&user, &app, row)?)))
}

/// Ends anybody's session, on record in the audit trail.
///
/// # Errors
/// 503 `stopping`, or of the database.
pub async fn end_as_admin(
    app: &App,
    admin: &CurrentUser,
    client: &Client,
    row: &session::Model,
) -> Result<(), Problem> {
    // First: better an entry for an end that fails than an end without an entry.
    if row.end_reason.is_none() && row.ended_at.is_none() {
        let detail = format!("{} by {}", row.id, admin.model.email);
        let now = app.clock.now();
        audit::record(&app.db, now, Kind::SessionEnded, UserId(row.user_id), client, Some(detail)).await?;
    }
    Ok(app.sessions.end(SessionId(row.id), EndReason::Admin).await?)
}
