//! HTTP: one module per area, one handler per action. Handlers translate; decisions live in `auth`, `session` and
//! `workspace`. Every area exports `router()`, whose handlers carry `#[utoipa::path]`.

pub mod admin;
pub mod auth;
pub mod client_address;
pub mod events;
pub mod extract;
pub mod files;
pub mod health;
pub mod observe;
pub mod openapi;
pub mod sessions;
pub mod users;
pub mod workspace;

mod headers;
pub(crate) mod origin;
mod pages;
mod rate_limit;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use tower_http::timeout::RequestBodyTimeoutLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::error::Problem;
use crate::state::App;
use rate_limit::RequestLimit;

/// Largest request body, bytes. Routes that take more raise it themselves.
const BODY_LIMIT: usize = 256 * 1024;
/// Longest pause within a request body.
const BODY_PAUSE: Duration = Duration::from_secs(30);

/// The REST API under `/api/v1`, with its OpenAPI description. Each area adds one line.
fn v1() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .nest("/admin", admin::router())
        .nest("/auth", auth::router())
        .merge(events::router())
        .nest("/files", files::router())
        .nest("/sessions", sessions::router())
        .nest("/users", users::router())
        .nest("/workspace", workspace::router())
}

/// Everything that is described in `openapi.json`.
fn described() -> OpenApiRouter<App> {
    let mut router = OpenApiRouter::with_openapi(openapi::base())
        .merge(health::router())
        .merge(crate::gateway::router())
        .nest("/api/v1", v1());
    openapi::add_problems(router.get_openapi_mut());
    router
}

/// All routes of the TCP port.
pub fn router(app: App) -> Router {
    assemble(app, described())
}

fn assemble(app: App, described: OpenApiRouter<App>) -> Router {
    let (described, description) = described.split_for_parts();
    let limit = RequestLimit::new(app.settings.requests_per_minute);
    described
        .merge(openapi::router(&description))
        .fallback(pages::page)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE))
        .layer(from_fn_with_state(app.clone(), origin::check))
        .layer(from_fn_with_state(limit, rate_limit::check))
        .layer(from_fn_with_state(app.clone(), headers::add))
        .layer(from_fn_with_state(app.clone(), observe::observe))
        .with_state(app)
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "methodNotAllowed",
        "This address does not take this method; the header Allow names those it takes.",
    )
}
