//! `GET /auth/config`

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::extract::Json;
use crate::auth::registration;
use crate::config::Registration;
use crate::error::Problem;
use crate::state::App;

/// What the pages before sign-in need to know.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthConfig {
    /// `open`, `invite` or `closed`.
    #[schema(value_type = String)]
    registration: Registration,
    /// Whether reset links come by mail; otherwise an administrator has them.
    smtp: bool,
    /// Nobody has an account yet: whoever registers becomes administrator, whatever `registration` says.
    first_user: bool,
    version: &'static str,
}

/// How to get an account here.
#[utoipa::path(get, path = "/config", tag = "auth", operation_id = "authConfig", security(()), responses((status = 200, body = AuthConfig)))]
pub async fn config(State(app): State<App>) -> Result<Json<AuthConfig>, Problem> {
    Ok(Json(AuthConfig {
        registration: app.settings.registration,
        smtp: app.settings.smtp_host.is_some(),
        first_user: registration::is_first(&app.db).await?,
        version: env!("CARGO_PKG_VERSION"),
    }))
}
