//! `DELETE /admin/sessions/{id}`

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::extract::{Json, Path};
use crate::api::sessions::{self, Session};
use crate::auth::client::Client;
use crate::auth::current::CurrentAdmin;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;

/// Ends anybody's session, with reason `admin`. GIMP saves copies of what is unsaved first. Harmless if it has ended.
#[utoipa::path(
    delete, path = "/{id}", tag = "admin", operation_id = "adminEndSession", params(("id" = SessionId, Path)),
    responses(
        (status = 202, body = Session),
        (status = 403, description = "auth.adminOnly"),
        (status = 404, description = "notFound"),
        (status = 503, description = "stopping"),
    ),
)]
pub async fn end(
    State(app): State<App>,
    CurrentAdmin(admin): CurrentAdmin,
    client: Client,
    Path(id): Path<SessionId>,
) -> Result<(StatusCode, Json<Session>), Problem> {
    let row = sessions::find(&app, &admin, id).await?;
    sessions::end_as_admin(&app, &admin, &client, &row).await?;
    let row = sessions::find(&app, &admin, id).await?;
    Ok((StatusCode::ACCEPTED, Json(Session::new(&app, row)?)))
}
