//! `GET /sessions/{id}/status`

use axum::extract::State;
use protocol::agent::{AgentPhase, Capabilities, Supervised};
use protocol::session::{EndStage, SessionStatus, StartStep};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::Session;
use crate::api::extract::{Json, Path};
use crate::auth::current::CurrentUser;
use crate::error::Problem;
use crate::ids::SessionId;
use crate::session::report::{Report, supervised};
use crate::state::App;

/// What is known of a session at this moment.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SessionState)]
pub struct Status {
    status: SessionStatus,
    step: Option<StartStep>,
    stage: Option<EndStage>,
    /// What is going on, for people; None when nothing is out of the ordinary.
    detail: Option<String>,
    idle_seconds: Option<u64>,
    /// Browsers that show the picture.
    viewers: u32,
    /// None until known.
    gimp_version: Option<String>,
    capabilities: Option<Capabilities>,
    /// What died and was brought back, the newest last.
    restarts: Vec<Restart>,
    #[serde(with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = SessionRestart)]
pub struct Restart {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    #[schema(value_type = String, example = "gimp")]
    what: Supervised,
    cause: String,
}

/// How a session is: for progress, and for what this GIMP can do.
#[utoipa::path(
    get, path = "/{id}/status", tag = "sessions", operation_id = "sessionStatus", params(("id" = SessionId, Path)),
    responses(
        (status = 200, body = Status),
        (status = 401, description = "auth.signedOut"),
        (status = 404, description = "notFound"),
    ),
)]
pub async fn status(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<SessionId>,
) -> Result<Json<Status>, Problem> {
    let row = super::find(&app, &user, id).await?;
    let report = app.sessions.live(id).and_then(|live| live.borrow().report.clone());
    let session = Session::new(&app, row)?;
    Ok(Json(Status {
        status: session.status,
        step: session.step,
        stage: session.stage,
        detail: session.end_detail.or_else(|| report.as_ref().and_then(restarting)),
        idle_seconds: session.idle_seconds,
        viewers: report.as_ref().map_or(0, |report| report.viewers),
        gimp_version: report.as_ref().and_then(|report| report.gimp_version.clone()),
        capabilities: report.as_ref().map(|report| report.capabilities.clone()),
        restarts: report.map_or_else(Vec::new, restarts),
        expires_at: session.expires_at,
    }))
}

fn restarting(report: &Report) -> Option<String> {
    let restart = report.restarts.last().filter(|_| report.phase == AgentPhase::Restarting)?;
    Some(format!("{} stopped ({}) and is being started again.", supervised(restart.what), restart.cause))
}

fn restarts(report: Report) -> Vec<Restart> {
    let restarts = report.restarts.into_iter();
    restarts.map(|restart| Restart { at: restart.at, what: restart.what, cause: restart.cause }).collect()
}
