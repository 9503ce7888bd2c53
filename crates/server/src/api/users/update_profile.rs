//! `PUT /users/profile`

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{User, confirm};
use crate::api::extract::Json;
use crate::auth::accounts::{self, AccountError, ProfileChange};
use crate::auth::client::Client;
use crate::auth::current::CurrentUser;
use crate::auth::email::Email;
use crate::error::Problem;
use crate::state::App;

/// What is absent or null stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProfileRequest)]
pub struct Request {
    email: Option<String>,
    /// Empty: removed.
    first_name: Option<String>,
    /// Empty: removed.
    last_name: Option<String>,
    /// Needed when `email` changes.
    current_password: Option<String>,
}

/// Changes names or e-mail address of the signed-in user.
#[utoipa::path(
    put, path = "/profile", tag = "users", operation_id = "updateProfile", request_body = Request,
    responses(
        (status = 200, body = User),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "auth.wrongPassword"),
        (status = 409, description = "auth.emailTaken"),
        (status = 422, description = "invalid"),
        (status = 429, description = "auth.locked, rateLimited"),
    ),
)]
pub async fn update_profile(
    State(app): State<App>,
    user: CurrentUser,
    client: Client,
    Json(request): Json<Request>,
) -> Result<Json<User>, Problem> {
    let email: Option<Email> = request.email.map(|email| email.parse()).transpose().map_err(AccountError::from)?;
    let email = email.filter(|email| email.as_str() != user.model.email);
    let change = ProfileChange {
        first_name: request.first_name.map(|name| accounts::check_name("firstName", Some(name))).transpose()?,
        last_name: request.last_name.map(|name| accounts::check_name("lastName", Some(name))).transpose()?,
        email,
    };
    if change.email.is_some() {
        confirm(&app, &user, request.current_password, &client).await?;
    }
    let model = accounts::change_profile(&app.db, user.id, change, &client, app.clock.now()).await?;
    Ok(Json(model.into()))
}
