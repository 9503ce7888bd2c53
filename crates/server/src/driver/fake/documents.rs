//! Pretended documents: they are saved and exported as files that say so.

use axum::extract::{Extension, Json};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::agent::{
    Document, ExportRequest, LayerRequest, SaveRequest, ThumbnailRequest, WrittenFile, problem as code,
};

use super::agent::Agent;
use super::agent::FakeAgent;
use crate::error::Problem;

/// The smallest PNG: one pixel.
const PIXEL: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\nIDATx\x9cc\0\x01\
\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";

pub(super) async fn layer(Extension(agent): Agent, Json(request): Json<LayerRequest>) -> Result<StatusCode, Problem> {
    check(&agent)?;
    if !agent.workspace().join(&request.path).is_file() {
        return Err(refusal(StatusCode::NOT_FOUND, code::FILE_NOT_FOUND));
    }
    let documents = agent.status().documents.unwrap_or_default();
    let id = match (request.document, &documents[..]) {
        (Some(id), _) => id,
        (None, []) => return Err(refusal(StatusCode::NOT_FOUND, code::NO_DOCUMENT)),
        (None, [only]) => only.id.clone(),
        (None, _) => return Err(refusal(StatusCode::UNPROCESSABLE_ENTITY, code::WHICH)),
    };
    find(&agent, &id)?;
    change(&agent, &id, |document| {
        document.layers += 1;
        document.dirty = true;
    });
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn save(
    Extension(agent): Agent,
    Json(request): Json<SaveRequest>,
) -> Result<Json<WrittenFile>, Problem> {
    check(&agent)?;
    let document = find(&agent, &request.document)?;
    let own = document.file.filter(|file| file.ends_with(".xcf"));
    let path = request.path.or(own.clone()).ok_or(refusal(StatusCode::UNPROCESSABLE_ENTITY, code::NO_FILE))?;
    let replace = request.replace || own.as_deref() == Some(&path);
    let written = write(&agent, &path, replace, "gimp xcf pretended")?;
    change(&agent, &request.document, |document| {
        document.dirty = false;
        document.dirty_since = None;
        document.file = Some(path);
    });
    Ok(written)
}

pub(super) async fn export(Extension(agent): Agent, Json(request): Json<ExportRequest>) -> Result<Response, Problem> {
    check(&agent)?;
    let document = find(&agent, &request.document)?;
    let text = format!("{} as {:?}, {:?}, {:?}", document.name, request.format, request.quality, request.scale);
    match request.path {
        Some(path) => Ok(write(&agent, &path, request.replace, &text)?.into_response()),
        None => Ok(([(header::CONTENT_TYPE, "text/html")], text).into_response()),
    }
}

pub(super) async fn thumbnail(
    Extension(agent): Agent,
    Json(request): Json<ThumbnailRequest>,
) -> Result<Response, Problem> {
    check(&agent)?;
    find(&agent, &request.document)?;
    Ok(([(header::CONTENT_TYPE, "image/png")], PIXEL).into_response())
}

fn check(agent: &FakeAgent) -> Result<(), Problem> {
    agent.ready()?;
    if agent.is_busy() { Err(refusal(StatusCode::SERVICE_UNAVAILABLE, code::BUSY)) } else { Ok(()) }
}

fn find(agent: &FakeAgent, id: &str) -> Result<Document, Problem> {
    let documents = agent.status().documents.ok_or(refusal(StatusCode::NOT_IMPLEMENTED, code::UNKNOWN))?;
    let found = documents.into_iter().find(|document| document.id == id);
    found.ok_or(refusal(StatusCode::NOT_FOUND, code::NO_DOCUMENT))
}

fn change(agent: &FakeAgent, id: &str, change: impl FnOnce(&mut Document)) {
    agent.change_documents(|documents| {
        if let Some(document) = documents.iter_mut().find(|document| document.id == id) {
            change(document)
        }
    });
}

fn write(agent: &FakeAgent, path: &str, replace: bool, text: &str) -> Result<Json<WrittenFile>, Problem> {
    let file = agent.workspace().join(path);
    if file.exists() && !replace {
        return Err(refusal(StatusCode::CONFLICT, code::EXISTS));
    }
    std::fs::write(file, text).map_err(|_| refusal(StatusCode::NOT_FOUND, code::NO_FOLDER))?;
    Ok(Json(WrittenFile { path: path.to_owned(), size: text.len() as u64 }))
}

fn refusal(status: StatusCode, code: &'static str) -> Problem {
    Problem::new(status, code, "The pretended agent says no.")
}
