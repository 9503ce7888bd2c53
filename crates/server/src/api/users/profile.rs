//! `GET /users/profile`

use super::User;
use crate::api::extract::Json;
use crate::auth::current::CurrentUser;

/// Whose access token this is.
#[utoipa::path(
    get, path = "/profile", tag = "users", operation_id = "profile",
    responses((status = 200, body = User), (status = 401, description = "auth.signedOut")),
)]
pub async fn profile(user: CurrentUser) -> Json<User> {
    Json(user.model.into())
}
