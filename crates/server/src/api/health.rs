//! What orchestrators and load balancers ask: does the process turn, can it work.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::SetOnce;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Json;
use crate::state::App;

/// Longest wait for the database.
const LIMIT: Duration = Duration::from_secs(2);

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

/// How the driver's preparation went. Cheap to clone; set once.
#[derive(Clone, Default)]
pub struct Preparation(Arc<SetOnce<Result<(), String>>>);

impl Preparation {
    /// `Err` holds why, for people.
    pub fn done(&self, result: Result<(), String>) {
        let _ = self.0.set(result);
    }

    /// Waits for it.
    pub async fn finished(&self) {
        self.0.wait().await;
    }

    fn state(&self) -> String {
        match self.0.get() {
            None => "preparing".to_owned(),
            Some(Ok(())) => OK.to_owned(),
            Some(Err(why)) => why.clone(),
        }
    }
}

const OK: &str = "ok";

/// Whether the platform can start sessions.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub struct Readiness {
    ready: bool,
    /// `ok`, or what is wrong.
    database: String,
    /// `ok`, `preparing`, or what is wrong.
    driver: String,
    /// Whether this server may look after sessions and hears the others: `ok`, `ending`, or what is wrong. Always `ok`
    /// where there is one.
    servers: String,
}

/// Whether the process turns
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It does", body = String)))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether this server can work: the database answers, the driver is prepared, and it hears the other servers
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "It can", body = Readiness),
        (status = 503, description = "Not now", body = Readiness),
    )
)]
async fn readyz(State(app): State<App>) -> Response {
    let database = match tokio::time::timeout(LIMIT, app.db.ping()).await {
        Ok(Ok(())) => OK.to_owned(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database does not answer");
            "the database does not answer".to_owned()
        }
        Err(_) => "the database does not answer in time".to_owned(),
    };
    let driver = app.preparation.state();
    let servers = if app.background.leaves() { "ending".to_owned() } else { app.replicas.state() };
    let ready = database == OK && driver == OK && servers == OK;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, database, driver, servers })).into_response()
}
