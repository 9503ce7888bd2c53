//! `PUT /users/password`

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::confirm;
use crate::api::extract::Json;
use crate::auth::client::Client;
use crate::auth::current::CurrentUser;
use crate::auth::reset;
use crate::error::Problem;
use crate::state::App;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PasswordRequest)]
pub struct Request {
    current_password: String,
    /// At least 10 characters, at most 72 bytes.
    new_password: String,
}

/// Changes the signed-in user's password and ends their other sign-ins.
#[utoipa::path(
    put, path = "/password", tag = "users", operation_id = "changePassword", request_body = Request,
    responses(
        (status = 204),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "auth.wrongPassword"),
        (status = 422, description = "invalid"),
        (status = 429, description = "auth.locked, rateLimited"),
    ),
)]
pub async fn change_password(
    State(app): State<App>,
    user: CurrentUser,
    client: Client,
    Json(request): Json<Request>,
) -> Result<StatusCode, Problem> {
    confirm(&app, &user, Some(request.current_password), &client).await?;
    reset::change(&app, &user, request.new_password, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
