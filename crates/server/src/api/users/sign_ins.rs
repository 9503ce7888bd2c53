//! `GET /users/signins`

use axum::extract::State;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::api::extract::Json;
use crate::auth::current::CurrentUser;
use crate::auth::grant;
use crate::error::Problem;
use crate::ids::SignInId;
use crate::state::App;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignIns {
    /// Last used first.
    sign_ins: Vec<SignIn>,
}

/// One browser or program that is signed in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignIn {
    id: SignInId,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// When it last renewed its access token.
    #[serde(with = "time::serde::rfc3339")]
    last_used_at: OffsetDateTime,
    address: String,
    user_agent: Option<String>,
    /// Whether it is the one that asks.
    current: bool,
}

/// Where the signed-in user is signed in.
#[utoipa::path(
    get, path = "/signins", tag = "users", operation_id = "signIns",
    responses((status = 200, body = SignIns), (status = 401, description = "auth.signedOut")),
)]
pub async fn sign_ins(State(app): State<App>, user: CurrentUser) -> Result<Json<SignIns>, Problem> {
    let rows = grant::list(&app.db, user.id, app.clock.now()).await?;
    let sign_ins = rows
        .into_iter()
        .map(|row| SignIn {
            current: row.id == user.sign_in.0,
            id: SignInId(row.id),
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            address: row.address,
            user_agent: row.user_agent,
        })
        .collect();
    Ok(Json(SignIns { sign_ins }))
}
