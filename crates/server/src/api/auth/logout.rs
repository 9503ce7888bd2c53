//! `POST /auth/logout`

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use serde::Deserialize;
use utoipa::ToSchema;

use super::cookies;
use crate::api::extract::Json;
use crate::auth::client::Client;
use crate::auth::current::{CurrentUser, REFRESH_COOKIE};
use crate::auth::{grant, login};
use crate::error::Problem;
use crate::ids::{SignInId, UserId};
use crate::state::App;

#[derive(Deserialize, ToSchema)]
#[schema(as = LogoutRequest)]
pub struct Request {
    /// Ends all sign-ins of the user.
    #[serde(default)]
    everywhere: bool,
}

/// Whoever signs out: by access token or, when that has expired, by the cookie that would renew it.
pub struct Leaving(Option<(UserId, SignInId)>);

impl FromRequestParts<App> for Leaving {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match CurrentUser::from_request_parts(parts, app).await {
            Ok(user) => return Ok(Self(Some((user.id, user.sign_in)))),
            Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {}
            Err(problem) => return Err(problem),
        }
        let jar = CookieJar::from_headers(&parts.headers);
        let Some(cookie) = jar.get(REFRESH_COOKIE) else { return Ok(Self(None)) };
        let sign_in = grant::of_refresh_token(&app.db, cookie.value()).await?;
        Ok(Self(sign_in.map(|sign_in| (UserId(sign_in.user_id), SignInId(sign_in.id)))))
    }
}

/// Ends this sign-in, or all of the user's. Harmless when already signed out.
#[utoipa::path(
    post, path = "/logout", tag = "auth", operation_id = "logout", security(()), request_body = Option<Request>,
    responses((status = 204)),
)]
pub async fn logout(
    State(app): State<App>,
    client: Client,
    Leaving(leaving): Leaving,
    body: Option<Json<Request>>,
) -> Result<Response, Problem> {
    let everywhere = body.is_some_and(|Json(request)| request.everywhere);
    if let Some((user, sign_in)) = leaving {
        login::sign_out(&app, user, sign_in, everywhere, &client).await?;
    }
    Ok((StatusCode::NO_CONTENT, cookies::none(&app)).into_response())
}
