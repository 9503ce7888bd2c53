//! `POST /admin/invites`

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::api::extract::Json;
use crate::auth::accounts::AccountError;
use crate::auth::client::Client;
use crate::auth::current::CurrentAdmin;
use crate::auth::email::Email;
use crate::auth::invite;
use crate::error::Problem;
use crate::mail::Letter;
use crate::state::App;

/// Hours an invite can be valid.
const MAX_HOURS: u32 = 24 * 365;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InviteRequest)]
pub struct Request {
    /// Only an account with this address can use it; the invite is mailed there if there is a mail server.
    email: Option<String>,
    /// 1..=8760; 168 unless given.
    expires_in_hours: Option<u32>,
}

/// An invite as only its maker sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InviteMade {
    code: String,
    /// Opens the registration page with the code filled in.
    link: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    /// Whether it is on its way by mail.
    mailed: bool,
}

/// Makes an invite for one account.
#[utoipa::path(
    post, path = "", tag = "admin", operation_id = "adminInvite", request_body = Request,
    responses(
        (status = 201, body = InviteMade),
        (status = 403, description = "auth.adminOnly"),
        (status = 422, description = "invalid"),
    ),
)]
pub async fn create(
    State(app): State<App>,
    CurrentAdmin(admin): CurrentAdmin,
    client: Client,
    Json(request): Json<Request>,
) -> Result<(StatusCode, Json<InviteMade>), Problem> {
    let email = request.email.as_deref().map(str::trim).filter(|email| !email.is_empty());
    let email: Option<Email> = email.map(str::parse).transpose().map_err(AccountError::from)?;
    let lifetime = match request.expires_in_hours {
        None => invite::DEFAULT_LIFETIME,
        Some(hours @ 1..=MAX_HOURS) => Duration::hours(hours.into()),
        Some(_) => {
            return Err(Problem::invalid(&[("expiresInHours", format!("Choose between 1 and {MAX_HOURS} hours."))]));
        }
    };
    let (code, expires_at) =
        invite::make(&app.db, admin.id, email.as_ref(), lifetime, &client, app.clock.now()).await?;
    // In the fragment, which browsers send to nobody.
    let link = format!("{}/register#invite={code}", app.settings.public_url());
    let mailed = match email {
        Some(email) if app.auth.outbox.mailer.sends() => {
            let letter = Letter::Invite { link: link.clone(), days: lifetime.whole_days().max(1) };
            let mailer = app.auth.outbox.mailer.clone();
            let send = async move {
                if let Err(error) = mailer.send(&email, &letter).await {
                    tracing::warn!(%error, "an invite could not be mailed");
                }
            };
            app.auth.outbox.spawn(&app.background, send).is_ok()
        }
        _ => false,
    };
    Ok((StatusCode::CREATED, Json(InviteMade { code, link, expires_at, mailed })))
}
