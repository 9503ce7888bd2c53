//! `/sessions/{id}/documents`: what GIMP has open, into it and out of it. For the session's owner only.

pub mod export;
pub mod list;
pub mod open;
pub mod save;
pub mod thumbnail;

use axum::http::StatusCode;
use protocol::agent::problem as code;
use serde_json::json;

use crate::api::extract::Path;
use crate::auth::current::CurrentUser;
use crate::driver::agent_client::{AgentClient, AgentError};
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;
use crate::workspace::path::PathError;

/// Endings of the names of files that GIMP opens without asking; the page has the same.
const OPENABLE: &str = include_str!("../../../../protocol/golden/openable.json");
/// Longest id of a document, bytes.
const MAX_ID: usize = 64;
/// When it is worth trying again with a GIMP that is busy, seconds.
const BUSY_RETRY: u64 = 5;

/// A document of a session whose GIMP can be used now, and the way there.
type Named = Path<(SessionId, String)>;

/// # Errors
/// 404 and 403 as `find_own`, 409 `session.notRunning`, 404 `document.notFound` for what is no document's id.
async fn agent_of(app: &App, user: &CurrentUser, session: SessionId, document: &str) -> Result<AgentClient, Problem> {
    let row = super::find_own(app, user, session).await?;
    super::usable(app, &row).await?;
    if document.len() > MAX_ID || !document.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Err(not_found());
    }
    Ok(app.driver.agent(session))
}

fn not_found() -> Problem {
    let detail = "GIMP has no such image open. It may have been closed, or GIMP was started again.";
    Problem::new(StatusCode::NOT_FOUND, code::NO_DOCUMENT, detail)
}

/// Why the agent did not do it, in our own words: those of its sandbox are not believed.
fn refusal(error: AgentError) -> Problem {
    let AgentError::Refused { code: said, .. } = &error else { return error.into() };
    let new = |status, code, detail: &str| Problem::new(status, code, detail);
    match said.as_str() {
        code::NO_DOCUMENT => not_found(),
        code::WHICH => new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code::WHICH,
            "Several images are open. Show the one you mean in GIMP, or name it.",
        ),
        code::NO_FILE => new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code::NO_FILE,
            "This image has no XCF file of its own yet. Give it a name that ends with .xcf.",
        ),
        code::BUSY => new(
            StatusCode::SERVICE_UNAVAILABLE,
            code::BUSY,
            "GIMP is busy: it may be working on a filter or a large image. Nothing was lost. Try again in a moment.",
        )
        .retry_after(BUSY_RETRY),
        code::FAILED => new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code::FAILED,
            "GIMP could not read or write the file. It may be damaged, or there is no room left. Nothing was lost.",
        ),
        code::UNKNOWN => new(
            StatusCode::NOT_IMPLEMENTED,
            code::UNKNOWN,
            "This session's GIMP does not tell the platform of its images. Save and export in GIMP itself.",
        ),
        code::EXISTS => new(StatusCode::CONFLICT, code::EXISTS, "There is a file of this name already."),
        code::NO_FOLDER => new(StatusCode::NOT_FOUND, code::NO_FOLDER, "There is no such folder in the workspace."),
        code::FILE_NOT_FOUND => new(
            StatusCode::NOT_FOUND,
            code::FILE_NOT_FOUND,
            "There is no such file in the workspace. It may have been moved or deleted.",
        ),
        code::INVALID_PATH => Problem::invalid(&[(
            "path",
            "The name must end as files of this format do, and name no folder.".to_owned(),
        )]),
        _ => error.into(),
    }
}

/// A path of the workspace as the session has it.
fn workspace_path(path: &str) -> Result<String, Problem> {
    super::open::plain_path(path).map_err(|error: PathError| Problem::invalid(&[("path", error.to_string())]))
}

fn openable() -> Vec<String> {
    serde_json::from_str(OPENABLE).unwrap_or_default()
}

/// Refuses what GIMP would only ask about.
fn check_openable(path: &str) -> Result<(), Problem> {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let openable = openable();
    if openable.iter().any(|ending| name.strip_suffix(ending.as_str()).is_some_and(|stem| stem.ends_with('.'))) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "document.unsupported",
        "GIMP does not open files of this kind. It opens XCF, PNG, JPEG, WebP, TIFF, GIF, PSD, SVG, PDF and many more.",
    )
    .with("formats", json!(openable)))
}

#[cfg(test)]
mod tests;
