//! `POST /sessions/{id}/documents/{document}/export`

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use protocol::agent::{ExportFormat, ExportRequest, WrittenFile};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Named, agent_of, refusal, workspace_path};
use crate::api::extract::{Json, Path};
use crate::api::files::attachment::disposition;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::state::App;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ExportDocument)]
pub struct Request {
    format: ExportFormat,
    /// Of JPEG and WebP, percent, 1 to 100; 90 if it is not given.
    #[schema(minimum = 1, maximum = 100)]
    quality: Option<u8>,
    /// Percent of the document's size, 1 to 200.
    #[schema(minimum = 1, maximum = 200)]
    scale: Option<u16>,
    /// Where in the workspace, ending as the format's files do. None: the answer is the file.
    path: Option<String>,
    /// Whether a file that is there may be overwritten.
    #[serde(default)]
    replace: bool,
}

/// Writes what is seen of a document, or as XCF all of it, in a format of choice: into the workspace, or as a download. The
/// document stays as it is.
#[utoipa::path(
    post, path = "/{id}/documents/{document}/export", tag = "sessions", operation_id = "exportDocument",
    params(("id" = SessionId, Path), ("document" = String, Path)),
    request_body = Request,
    responses(
        (status = 200, content((WrittenFile = "application/json"), (Vec<u8> = "application/octet-stream")),
         description = "The file that was written or, if no path was given, what is in it, of the format's own type."),
        (status = 401, description = "auth.signedOut"),
        (status = 403, description = "session.notYours"),
        (status = 404, description = "notFound: no such session; document.notFound; files.noFolder"),
        (status = 409, description = "session.notRunning; files.exists"),
        (status = 422, description = "invalid; gimp.failed"),
        (status = 501, description = "documents.unknown"),
        (status = 503, description = "gimp.busy, session.noAnswer"),
    ),
)]
pub async fn export(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, document)): Named,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    let agent = agent_of(&app, &user, id, &document).await?;
    let Request { format, quality, scale, path, replace } = request;
    check(quality, scale)?;
    let path = path.as_deref().map(workspace_path).transpose()?;
    let name = file_name(&app, id, &document, format);
    let wanted = ExportRequest { document, format, quality, scale, path, replace };
    if wanted.path.is_some() {
        return Ok(Json(agent.export(&wanted).await.map_err(refusal)?).into_response());
    }
    let (size, bytes) = agent.export_out(&wanted).await.map_err(refusal)?;
    let mut response = Body::from_stream(bytes).into_response();
    let out = response.headers_mut();
    if let Some(size) = size {
        out.insert(header::CONTENT_LENGTH, size.into());
    }
    let disposition = HeaderValue::try_from(disposition(&name)).map_err(Problem::internal)?;
    out.insert(header::CONTENT_DISPOSITION, disposition);
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    // What comes is what a session sent: nothing in it can act on our pages.
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    Ok(response)
}

fn check(quality: Option<u8>, scale: Option<u16>) -> Result<(), Problem> {
    let mut errors = vec![];
    if quality.is_some_and(|quality| !(1..=100).contains(&quality)) {
        errors.push(("quality", "The quality must be from 1 to 100 percent.".to_owned()));
    }
    if scale.is_some_and(|scale| !(1..=200).contains(&scale)) {
        errors.push(("scale", "The scale must be from 1 to 200 percent.".to_owned()));
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(&errors)) }
}

/// What a browser calls the file.
fn file_name(app: &App, session: SessionId, document: &str, format: ExportFormat) -> String {
    let live = app.sessions.live(session);
    let documents = live.and_then(|live| live.borrow().report.as_ref()?.documents.clone()).unwrap_or_default();
    let name = documents.into_iter().find(|known| known.id == document).map(|known| known.name);
    named(name.as_deref().unwrap_or("Untitled"), format)
}

fn named(name: &str, format: ExportFormat) -> String {
    // Names of files that were imported go on: "photo.png (imported)".
    let name = name.split('/').next_back().unwrap_or(name);
    let stem = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= 5 => stem,
        _ => name,
    };
    let stem = if stem.trim_matches(['.', ' ']).is_empty() { "Untitled" } else { stem };
    format!("{stem}.{}", format.endings()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_are_called_as_the_image_with_the_formats_ending() {
        for (name, called) in [
            ("poster.xcf", "poster.png"),
            ("Untitled", "Untitled.png"),
            ("photo", "photo.png"),
            ("v1.2 of it", "v1.2 of it.png"),
            ("../../etc/passwd", "passwd.png"),
            (".xcf", ".xcf.png"),
            ("", "Untitled.png"),
            ("..", "Untitled.png"),
        ] {
            assert_eq!(named(name, ExportFormat::Png), called, "{name:?}");
        }
        assert_eq!(named("a.xcf", ExportFormat::Jpeg), "a.jpg");
    }
}
