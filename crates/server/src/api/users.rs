//! `/users`: the signed-in user's own account.

mod password;
mod profile;
mod revoke_sign_in;
mod sign_ins;
mod update_profile;

#[cfg(test)]
mod tests;

use axum::http::StatusCode;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::client::Client;
use crate::auth::current::{CurrentUser, Role};
use crate::auth::login::{self, LoginError};
use crate::db::entity::user;
use crate::error::Problem;
use crate::ids::UserId;
use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(profile::profile, update_profile::update_profile))
        .routes(routes!(password::change_password))
        .routes(routes!(sign_ins::sign_ins))
        .routes(routes!(revoke_sign_in::revoke_sign_in))
}

/// An account.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub role: Role,
    pub is_active: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

impl From<user::Model> for User {
    fn from(user: user::Model) -> Self {
        Self {
            id: UserId(user.id),
            role: Role::from_sql(&user.role),
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            is_active: user.is_active,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// Asks for the password before something that a borrowed browser must not do.
async fn confirm(app: &App, user: &CurrentUser, password: Option<String>, client: &Client) -> Result<(), Problem> {
    let Some(password) = password.filter(|password| !password.is_empty()) else {
        return Err(Problem::invalid(&[("currentPassword", "Enter your current password.".to_owned())]));
    };
    app.auth.limits.sign_in_address.check(client.address)?;
    match login::confirm(app, &user.model, password, client).await {
        // Not 401: the sign-in itself is fine.
        Err(LoginError::Wrong) => {
            Err(Problem::new(StatusCode::FORBIDDEN, "auth.wrongPassword", "Your current password is another one."))
        }
        result => Ok(result?),
    }
}
