//! `POST /sessions`

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::session::ScreenSize;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Session, screen};
use crate::api::extract::Json;
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::session::{NewSession, resources};
use crate::state::App;

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = NewSession)]
pub struct Request {
    /// Only `gimp`.
    application: Option<String>,
    resources: Option<PartialResources>,
    /// Size of the browser's picture.
    screen: Option<ScreenSize>,
}

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = NewSessionResources)]
pub struct PartialResources {
    /// 250m to 4; 1000m if not given.
    cpu: Option<String>,
    /// 512Mi to 8Gi; 2Gi if not given.
    memory: Option<String>,
}

/// Begins a session. The answer comes at once; the start goes on, see `/events` or `/sessions/{id}/status`.
#[utoipa::path(
    post, path = "/", tag = "sessions", operation_id = "createSession", request_body = Option<Request>,
    responses(
        (status = 201, body = Session),
        (status = 401, description = "auth.signedOut"),
        (status = 409, description = "session.exists, with the sessionId of the one that runs"),
        (status = 422, description = "invalid"),
        (status = 429, description = "rateLimited"),
        (status = 503, description = "session.machineFull, stopping, unavailable"),
    ),
)]
pub async fn create(
    State(app): State<App>,
    user: CurrentUser,
    request: Option<Json<Request>>,
) -> Result<Response, Problem> {
    let Json(request) = request.unwrap_or(Json(Request::default()));
    let new = check(&request)?;
    let row = app.sessions.create(NewSession { user: user.id, resources: new.0, screen: new.1 }).await?;
    let session = Session::own(&app, row)?;
    let location = format!("/api/v1/sessions/{}", session.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(session)).into_response())
}

fn check(request: &Request) -> Result<(resources::Resources, ScreenSize), Problem> {
    let mut errors = vec![];
    if request.application.as_deref().is_some_and(|application| application != "gimp") {
        errors.push(("application", "application must be \"gimp\".".to_owned()));
    }
    let mut wanted = resources::Resources::default();
    let given = request.resources.as_ref();
    if let Some(cpu) = given.and_then(|given| given.cpu.as_deref()) {
        match cpu.parse() {
            Ok(cpu) => wanted.cpu = cpu,
            Err(error) => errors.push(("resources.cpu", error.to_string())),
        }
    }
    if let Some(memory) = given.and_then(|given| given.memory.as_deref()) {
        match memory.parse() {
            Ok(memory) => wanted.memory = memory,
            Err(error) => errors.push(("resources.memory", error.to_string())),
        }
    }
    let size = request.screen.unwrap_or_default();
    errors.extend(screen::errors(&size).into_iter().map(|message| ("screen", message)));
    if errors.is_empty() { Ok((wanted, size)) } else { Err(Problem::invalid(&errors)) }
}
