//! `/auth`: making accounts, signing in and out, forgotten passwords.

mod config;
pub mod cookies;
mod forgot;
mod login;
mod logout;
mod problem;
mod refresh;
mod register;
mod reset;

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Json;
use super::users::User;
use crate::auth::grant::Grant;
use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(config::config))
        .routes(routes!(register::register))
        .routes(routes!(login::login))
        .routes(routes!(refresh::refresh))
        .routes(routes!(logout::logout))
        .routes(routes!(forgot::forgot))
        .routes(routes!(reset::reset))
}

/// A signed-in browser or program. Browsers hold the tokens as cookies as well and need not keep these.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Login {
    access_token: String,
    /// To be exchanged at `/auth/refresh`, once.
    refresh_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// When the access token ends.
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    user: User,
}

/// The tokens of a grant as JSON and as cookies.
fn signed_in(app: &App, grant: Grant) -> Response {
    let jar = cookies::of_grant(app, &grant);
    let login = Login {
        access_token: grant.access,
        refresh_token: grant.refresh,
        token_type: "Bearer",
        expires_at: grant.expires_at,
        user: grant.user.into(),
    };
    (jar, Json(login)).into_response()
}

#[cfg(test)]
mod tests;
