//! `DELETE /users/signins/{id}`

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::extract::Path;
use crate::auth::client::Client;
use crate::auth::current::CurrentUser;
use crate::auth::login;
use crate::error::Problem;
use crate::ids::SignInId;
use crate::state::App;

/// Ends one of the user's sign-ins, whichever asks.
#[utoipa::path(
    delete, path = "/signins/{id}", tag = "users", operation_id = "revokeSignIn", params(("id" = SignInId, Path)),
    responses(
        (status = 204),
        (status = 401, description = "auth.signedOut"),
        (status = 404, description = "notFound: not one of this user's, or ended already"),
    ),
)]
pub async fn revoke_sign_in(
    State(app): State<App>,
    user: CurrentUser,
    client: Client,
    Path(id): Path<SignInId>,
) -> Result<StatusCode, Problem> {
    if login::revoke(&app, user.id, id, &client).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("sign-in"))
    }
}
