//! HTTP: one module per area, one handler per action. Handlers translate; decisions live in `auth`, `session` and
//! `workspace`. Every area exports `router()`, whose handlers carry `#[utoipa::path]`.

pub mod auth;
pub mod extract;
pub mod users;

use axum::Router;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;

use crate::state::App;

/// The REST API under `/api/v1`, with its OpenAPI description.
fn v1() -> OpenApiRouter<App> {
    OpenApiRouter::new().nest("/auth", auth::router()).nest("/users", users::router())
}

/// All routes of the TCP port.
pub fn router(app: App) -> Router {
    let (api, _openapi) = OpenApiRouter::new().nest("/api/v1", v1()).split_for_parts();
    Router::new().route("/healthz", get(|| async { "ok\n" })).merge(api).with_state(app)
}
