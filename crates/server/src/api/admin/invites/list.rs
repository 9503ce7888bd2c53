//! `GET /admin/invites`

use axum::extract::State;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::api::extract::Json;
use crate::auth::current::CurrentAdmin;
use crate::auth::invite;
use crate::error::Problem;
use crate::ids::UserId;
use crate::state::App;

#[derive(Serialize, ToSchema)]
pub struct Invites {
    /// Newest first, at most 200.
    invites: Vec<Invite>,
}

/// An invite without its code, which nobody can be shown again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Invite {
    /// Whose account it is for; none: anybody's who has the code.
    email: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    used_at: Option<OffsetDateTime>,
    used_by: Option<UserId>,
}

/// Invites that are open, or were used or expired in the last 30 days.
#[utoipa::path(
    get, path = "", tag = "admin", operation_id = "adminInvites",
    responses((status = 200, body = Invites), (status = 403, description = "auth.adminOnly")),
)]
pub async fn list(State(app): State<App>, _: CurrentAdmin) -> Result<Json<Invites>, Problem> {
    let invites = invite::list(&app.db)
        .await?
        .into_iter()
        .map(|row| Invite {
            email: row.email,
            created_at: row.created_at,
            expires_at: row.expires_at,
            used_at: row.used_at,
            used_by: row.used_by.map(UserId),
        })
        .collect();
    Ok(Json(Invites { invites }))
}
