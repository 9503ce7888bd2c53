//! `PUT /sessions/{id}/screen`

use axum::extract::State;
use protocol::session::ScreenSize;

use crate::api::extract::{Json, Path};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;

/// Gives the picture the size of the browser's window. For the session's owner only.
#[utoipa::path(
    put, path = "/{id}/screen", tag = "sessions", operation_id = "setScreen", params(("id" = SessionId, Path)),
    request_body = ScreenSize,
    responses(
        (status = 200, body = ScreenSize, description = "What it became; large sizes are capped"),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "session.notYours"),
        (status = 404, description = "notFound"),
        (status = 409, description = "session.notRunning"),
        (status = 422, description = "invalid"),
        (status = 503, description = "session.noAnswer"),
    ),
)]
pub async fn screen(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<SessionId>,
    Json(size): Json<ScreenSize>,
) -> Result<Json<ScreenSize>, Problem> {
    let row = super::find_own(&app, &user, id).await?;
    let errors: Vec<_> = errors(&size).into_iter().map(|message| ("screen", message)).collect();
    if !errors.is_empty() {
        return Err(Problem::invalid(&errors));
    }
    super::usable(&app, &row).await?;
    Ok(Json(app.driver.agent(id).set_screen(size).await?))
}

/// What is wrong with a size, for people.
pub(super) fn errors(size: &ScreenSize) -> Vec<String> {
    let mut errors = vec![];
    let (wide, high) = size.turned(ScreenSize::LARGEST);
    if !(320..=wide).contains(&size.width) {
        errors.push(format!("The width must be from 320 to {wide} pixels."));
    }
    if !(240..=high).contains(&size.height) {
        errors.push(format!("The height must be from 240 to {high} pixels."));
    }
    // False for what is no number.
    if !(0.5..=4.0).contains(&size.scale) {
        errors.push("The scale must be from 0.5 to 4.".to_owned());
    }
    errors
}
