//! `POST /auth/register`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Login, signed_in};
use crate::api::extract::Json;
use crate::auth::client::Client;
use crate::auth::registration;
use crate::error::Problem;
use crate::state::App;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RegisterRequest)]
pub struct Request {
    email: String,
    /// At least 10 characters, at most 72 bytes.
    password: String,
    first_name: Option<String>,
    last_name: Option<String>,
    /// Needed where registration is by invite.
    invite_code: Option<String>,
}

/// Makes an account and signs it in. The first account of all becomes administrator.
#[utoipa::path(
    post, path = "/register", tag = "auth", operation_id = "register", security(()), request_body = Request,
    responses(
        (status = 201, body = Login),
        (status = 403, description = "auth.registrationClosed, auth.inviteNeeded, auth.inviteInvalid"),
        (status = 409, description = "auth.emailTaken"),
        (status = 422, description = "invalid"),
        (status = 429, description = "rateLimited"),
        (status = 503, description = "auth.busy"),
    ),
)]
pub async fn register(
    State(app): State<App>,
    client: Client,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    app.auth.limits.register_address.check(client.address)?;
    let request = registration::Request {
        email: request.email,
        password: request.password,
        first_name: request.first_name,
        last_name: request.last_name,
        invite_code: request.invite_code,
    };
    let grant = registration::register(&app, request, &client).await?;
    Ok((StatusCode::CREATED, signed_in(&app, grant)).into_response())
}
