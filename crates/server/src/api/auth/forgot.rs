//! `POST /auth/password/forgot`

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::extract::Json;
use crate::auth::accounts::AccountError;
use crate::auth::client::Client;
use crate::auth::email::Email;
use crate::auth::reset;
use crate::error::Problem;
use crate::state::App;

#[derive(Deserialize, ToSchema)]
#[schema(as = ForgotRequest)]
pub struct Request {
    email: String,
}

/// Sends a link for choosing a new password, if the address has an account. The answer does not tell: the account is
/// looked up after it. Without a mail server the link is printed in the server's log.
#[utoipa::path(
    post, path = "/password/forgot", tag = "auth", operation_id = "forgotPassword", security(()), request_body = Request,
    responses(
        (status = 202),
        (status = 422, description = "invalid: no e-mail address"),
        (status = 429, description = "rateLimited"),
        (status = 503, description = "auth.busy"),
    ),
)]
pub async fn forgot(
    State(app): State<App>,
    client: Client,
    Json(request): Json<Request>,
) -> Result<StatusCode, Problem> {
    app.auth.limits.reset_address.check(client.address)?;
    let email: Email = request.email.parse().map_err(AccountError::from)?;
    app.auth.limits.reset_account.check(email.clone())?;
    app.auth.outbox.spawn(&app.background, reset::send_link(app.clone(), email, client))?;
    Ok(StatusCode::ACCEPTED)
}
