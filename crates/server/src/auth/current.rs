//! Extractors: the signed-in user of a request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum_extra::extract::CookieJar;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::token;
use crate::api::observe::Visitor;
use crate::db::entity;
use crate::error::Problem;
use crate::ids::{SignInId, UserId};
use crate::state::App;

/// Cookie that carries the access token of a browser.
pub const ACCESS_COOKIE: &str = "gimp_access";
/// Cookie that carries the refresh token of a browser; sent to `/api/v1/auth` only.
pub const REFRESH_COOKIE: &str = "gimp_refresh";

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

impl Role {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }

    /// Anything that is not `admin` has a user's rights.
    #[must_use]
    pub fn from_sql(text: &str) -> Self {
        if text == "admin" { Self::Admin } else { Self::User }
    }
}

/// The user of a request with a valid access token, by `Authorization: Bearer` or cookie.
#[derive(Debug, Clone)]
pub struct CurrentUser {
    pub id: UserId,
    pub sign_in: SignInId,
    pub role: Role,
    pub model: entity::user::Model,
}

/// The same, refused with 403 unless the role is `admin`.
#[derive(Debug, Clone)]
pub struct CurrentAdmin(pub CurrentUser);

impl FromRequestParts<App> for CurrentUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if let Some(user) = parts.extensions.get::<Self>() {
            return Ok(user.clone());
        }
        let token = access_token(parts).ok_or_else(signed_out)?;
        let user = find(app, &token).await?.ok_or_else(signed_out)?;
        if let Some(visitor) = parts.extensions.get::<Visitor>() {
            visitor.is(user.id);
        }
        parts.extensions.insert(user.clone());
        Ok(user)
    }
}

impl FromRequestParts<App> for CurrentAdmin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let user = CurrentUser::from_request_parts(parts, app).await?;
        match user.role {
            Role::Admin => Ok(Self(user)),
            Role::User => {
                Err(Problem::new(StatusCode::FORBIDDEN, "auth.adminOnly", "Only administrators may do this."))
            }
        }
    }
}

pub(crate) fn access_token(parts: &Parts) -> Option<String> {
    let bearer = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match bearer {
        Some(token) => Some(token.to_owned()),
        None => CookieJar::from_headers(&parts.headers).get(ACCESS_COOKIE).map(|cookie| cookie.value().to_owned()),
    }
}

async fn find(app: &App, access: &str) -> Result<Option<CurrentUser>, Problem> {
    let now = app.clock.now();
    let row = entity::token::Entity::find_by_id(token::hash(access))
        .filter(entity::token::Column::Kind.eq("access"))
        .filter(entity::token::Column::ExpiresAt.gt(now))
        .find_also_related(entity::sign_in::Entity)
        .one(&app.db)
        .await?;
    let Some((_, Some(sign_in))) = row else { return Ok(None) };
    if sign_in.revoked_at.is_some() {
        return Ok(None);
    }
    let user = entity::user::Entity::find_by_id(sign_in.user_id).one(&app.db).await?;
    Ok(user.filter(|user| user.is_active).map(|model| CurrentUser {
        id: UserId(model.id),
        sign_in: SignInId(sign_in.id),
        role: Role::from_sql(&model.role),
        model,
    }))
}

fn signed_out() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "auth.signedOut", "You are signed out. Sign in and try again.")
}
