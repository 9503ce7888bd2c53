//! `POST /auth/login`

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Login, signed_in};
use crate::api::extract::Json;
use crate::auth::accounts::AccountError;
use crate::auth::client::Client;
use crate::auth::email::Email;
use crate::auth::login;
use crate::error::Problem;
use crate::state::App;

#[derive(Deserialize, ToSchema)]
#[schema(as = LoginRequest)]
pub struct Request {
    email: String,
    password: String,
}

/// Signs in. What is answered to a wrong password, and how soon, does not tell whether the account exists.
#[utoipa::path(
    post, path = "/login", tag = "auth", operation_id = "login", security(()), request_body = Request,
    responses(
        (status = 200, body = Login),
        (status = 401, description = "auth.wrongCredentials"),
        (status = 403, description = "auth.deactivated: only with the right password"),
        (status = 422, description = "invalid: no e-mail address"),
        (status = 429, description = "auth.locked, rateLimited"),
        (status = 503, description = "auth.busy"),
    ),
)]
pub async fn login(State(app): State<App>, client: Client, Json(request): Json<Request>) -> Result<Response, Problem> {
    app.auth.limits.sign_in_address.check(client.address)?;
    let email: Email = request.email.parse().map_err(AccountError::from)?;
    app.auth.limits.sign_in_account.check(email.clone())?;
    let grant = login::login(&app, &email, request.password, &client).await?;
    Ok(signed_in(&app, grant))
}
