//! `POST /auth/password/reset`

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::extract::Json;
use crate::auth::client::Client;
use crate::auth::reset;
use crate::error::Problem;
use crate::state::App;

#[derive(Deserialize, ToSchema)]
#[schema(as = ResetRequest)]
pub struct Request {
    /// From the link.
    token: String,
    /// At least 10 characters, at most 72 bytes.
    password: String,
}

/// Sets a new password by a link's token, once. Signs the user out everywhere and lifts a lockout.
#[utoipa::path(
    post, path = "/password/reset", tag = "auth", operation_id = "resetPassword", security(()), request_body = Request,
    responses(
        (status = 204),
        (status = 400, description = "auth.resetInvalid"),
        (status = 422, description = "invalid: the password breaks a rule; the link still works"),
        (status = 429, description = "rateLimited"),
        (status = 503, description = "auth.busy"),
    ),
)]
pub async fn reset(
    State(app): State<App>,
    client: Client,
    Json(request): Json<Request>,
) -> Result<StatusCode, Problem> {
    app.auth.limits.reset_address.check(client.address)?;
    reset::redeem(&app, &request.token, request.password, &client).await?;
    Ok(StatusCode::NO_CONTENT)
}
