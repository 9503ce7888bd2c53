//! `PATCH /admin/users/{id}`

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::extract::{Json, Path};
use crate::api::users::User;
use crate::auth::accounts::{self, Change, MAX_QUOTA_GB};
use crate::auth::client::Client;
use crate::auth::current::{CurrentAdmin, Role};
use crate::error::Problem;
use crate::ids::UserId;
use crate::state::App;

/// What is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AdminUserRequest)]
pub struct Request {
    role: Option<Role>,
    /// False: signs the user out everywhere, ends their sessions, and refuses new sign-ins.
    is_active: Option<bool>,
    /// GiB, 1..=10000.
    quota_gb: Option<u32>,
}

/// Changes role, state or quota of an account.
#[utoipa::path(
    patch, path = "/{id}", tag = "admin", operation_id = "adminUpdateUser", params(("id" = UserId, Path)),
    request_body = Request,
    responses(
        (status = 200, body = User),
        (status = 403, description = "auth.adminOnly"),
        (status = 404, description = "notFound"),
        (status = 409, description = "users.self: not one's own role or state; users.lastAdmin"),
        (status = 422, description = "invalid"),
    ),
)]
pub async fn update(
    State(app): State<App>,
    CurrentAdmin(admin): CurrentAdmin,
    client: Client,
    Path(id): Path<UserId>,
    Json(request): Json<Request>,
) -> Result<Json<User>, Problem> {
    if request.quota_gb.is_some_and(|gb| !(1..=MAX_QUOTA_GB).contains(&gb)) {
        return Err(Problem::invalid(&[("quotaGb", format!("Choose between 1 and {MAX_QUOTA_GB} GiB."))]));
    }
    if id == admin.id && (request.role == Some(Role::User) || request.is_active == Some(false)) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "users.self",
            "You would lock yourself out. Another administrator can change your role or deactivate you.",
        ));
    }
    let change = Change { role: request.role, is_active: request.is_active, quota_gb: request.quota_gb };
    let changed = accounts::change(&app.db, id, &change, &admin.model.email, &client, app.clock.now()).await?;
    if changed.deactivated
        && let Err(error) = app.sessions.end_deactivated().await
    {
        tracing::warn!(%error, "sessions of a deactivated user go on until the next round of reconcile");
    }
    Ok(Json(changed.user.into()))
}
