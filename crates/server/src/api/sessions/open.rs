//! `POST /sessions/{id}/open`

use axum::extract::State;
use axum::http::StatusCode;
use protocol::agent::OpenRequest;
use protocol::session::RECOVERY_DIR;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::extract::{Json, Path};
use crate::auth::current::CurrentUser;
use crate::driver::agent_client::AgentError;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;
use crate::workspace::path::{PathError, WorkspacePath};

const MAX_RECOVERY: usize = 64;

/// Exactly one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OpenFile)]
pub struct Request {
    /// A file of the workspace.
    path: Option<String>,
    /// A copy of an image that was unsaved when GIMP ended; opens as a new image.
    recovery_id: Option<String>,
}

/// Opens a file in the running GIMP. For the session's owner only.
#[utoipa::path(
    post, path = "/{id}/open", tag = "sessions", operation_id = "openFile", params(("id" = SessionId, Path)),
    request_body = Request,
    responses(
        (status = 204),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "session.notYours"),
        (status = 404, description = "notFound: no such session, or files.notFound: no such file"),
        (status = 409, description = "session.notRunning"),
        (status = 422, description = "invalid"),
        (status = 503, description = "session.noAnswer"),
    ),
)]
pub async fn open(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<SessionId>,
    Json(request): Json<Request>,
) -> Result<StatusCode, Problem> {
    let row = super::find_own(&app, &user, id).await?;
    let request = check(request)?;
    super::usable(&app, &row).await?;
    match app.driver.agent(id).open(&request).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(AgentError::Refused { status: StatusCode::NOT_FOUND, .. }) => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "files.notFound",
            "There is no such file in the workspace. It may have been moved or deleted.",
        )),
        Err(error) => Err(error.into()),
    }
}

fn check(request: Request) -> Result<OpenRequest, Problem> {
    match (request.path, request.recovery_id) {
        (Some(path), None) => match plain_path(&path) {
            Ok(path) => Ok(OpenRequest { path, as_new: false }),
            Err(error) => Err(Problem::invalid(&[("path", error.to_string())])),
        },
        (None, Some(id)) if is_recovery_id(&id) => {
            Ok(OpenRequest { path: format!("{RECOVERY_DIR}/{id}.xcf"), as_new: true })
        }
        (None, Some(_)) => {
            Err(Problem::invalid(&[("recoveryId", "recoveryId must be the id of a recovery.".to_owned())]))
        }
        (Some(_), Some(_)) | (None, None) => {
            Err(Problem::invalid(&[("path", "Give either path or recoveryId.".to_owned())]))
        }
    }
}

/// As the session's file system has it.
pub(super) fn plain_path(text: &str) -> Result<String, PathError> {
    let path = WorkspacePath::parse(text)?;
    // Not the workspace itself.
    path.split_names()?;
    path.plain().ok_or(PathError::NotUnicode)
}

fn is_recovery_id(id: &str) -> bool {
    (1..=MAX_RECOVERY).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Nothing that gets through leaves the workspace or reaches the platform's own folder.
        #[test]
        fn paths_stay_inside(path in "[a-z./\\\\\0]{0,20}|\\.gimp-platform[/a-z.]{0,12}") {
            if let Ok(path) = plain_path(&path) {
                let path = std::path::Path::new(&path);
                prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert!(path.components().count() > 0);
                prop_assert!(!path.starts_with(crate::workspace::path::PLATFORM_FOLDER));
            }
        }

        #[test]
        fn recovery_ids_are_names(id in ".{0,70}") {
            let sane = id.len() <= 64 && !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
            prop_assert_eq!(is_recovery_id(&id), sane);
        }
    }
}
