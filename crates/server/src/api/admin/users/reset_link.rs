//! `POST /admin/users/{id}/reset-link`

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::extract::{Json, Path};
use crate::auth::client::Client;
use crate::auth::current::CurrentAdmin;
use crate::auth::{accounts, reset};
use crate::error::Problem;
use crate::ids::UserId;
use crate::state::App;

#[derive(Serialize, ToSchema)]
pub struct ResetLink {
    /// Works once, for an hour.
    link: String,
}

/// Makes a link by which a user chooses a new password: for platforms without a mail server. The account's sign-ins
/// end when it is used, not before.
#[utoipa::path(
    post, path = "/{id}/reset-link", tag = "admin", operation_id = "adminResetLink", params(("id" = UserId, Path)),
    responses(
        (status = 200, body = ResetLink),
        (status = 403, description = "auth.adminOnly"),
        (status = 404, description = "notFound"),
        (status = 409, description = "users.inactive: activate the account first"),
    ),
)]
pub async fn reset_link(
    State(app): State<App>,
    CurrentAdmin(admin): CurrentAdmin,
    client: Client,
    Path(id): Path<UserId>,
) -> Result<Json<ResetLink>, Problem> {
    let user = accounts::active(&app.db, id).await?;
    let by = format!("by {}", admin.model.email);
    let link = reset::make_link_for(&app.db, &app.settings.public_url(), &user, &client, by, app.clock.now()).await?;
    Ok(Json(ResetLink { link }))
}
