//! `POST /admin/users/{id}/sign-out`

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::extract::Path;
use crate::auth::accounts;
use crate::auth::client::Client;
use crate::auth::current::CurrentAdmin;
use crate::error::Problem;
use crate::ids::UserId;
use crate::state::App;

/// Ends all sign-ins of a user. Their sessions go on.
#[utoipa::path(
    post, path = "/{id}/sign-out", tag = "admin", operation_id = "adminSignOut", params(("id" = UserId, Path)),
    responses(
        (status = 204),
        (status = 403, description = "auth.adminOnly"),
        (status = 404, description = "notFound"),
    ),
)]
pub async fn sign_out(
    State(app): State<App>,
    CurrentAdmin(admin): CurrentAdmin,
    client: Client,
    Path(id): Path<UserId>,
) -> Result<StatusCode, Problem> {
    accounts::sign_out(&app.db, id, &admin.model, &client, app.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
