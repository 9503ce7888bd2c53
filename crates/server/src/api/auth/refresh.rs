//! `POST /auth/refresh`

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Login, cookies, signed_in};
use crate::api::extract::Json;
use crate::auth::client::Client;
use crate::auth::current::REFRESH_COOKIE;
use crate::auth::grant::{self, GrantError};
use crate::error::Problem;
use crate::state::App;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RefreshRequest)]
pub struct Request {
    /// None: the cookie's.
    refresh_token: Option<String>,
}

/// Exchanges a refresh token for a new pair. One that comes back later than 10 s after it was exchanged, or from
/// elsewhere, ends the sign-in: somebody copied it.
#[utoipa::path(
    post, path = "/refresh", tag = "auth", operation_id = "refresh", security(()), request_body = Option<Request>,
    responses(
        (status = 200, body = Login),
        (status = 401, description = "auth.signedOut"),
        (status = 429, description = "rateLimited"),
    ),
)]
pub async fn refresh(
    State(app): State<App>,
    client: Client,
    jar: CookieJar,
    body: Option<Json<Request>>,
) -> Result<Response, Problem> {
    app.auth.limits.refresh_address.check(client.address)?;
    let sent = body.and_then(|Json(request)| request.refresh_token);
    let token = sent.or_else(|| jar.get(REFRESH_COOKIE).map(|cookie| cookie.value().to_owned()));
    let granted = match token {
        None => Err(GrantError::Invalid),
        Some(token) => grant::refresh(&app.db, &token, &client, app.auth.lifetimes, app.clock.now()).await,
    };
    match granted {
        Ok(grant) => Ok(signed_in(&app, grant)),
        Err(refused @ (GrantError::Invalid | GrantError::Reused)) => {
            Ok((cookies::none(&app), Problem::from(refused)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}
