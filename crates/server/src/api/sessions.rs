//! `/sessions`: begin, look at, extend, use and end sessions. Each belongs to its owner, who alone gets to what is inside:
//! picture, input, open files. Administrators see how it is, extend and end it; for everybody else it does not exist.

mod create;
mod documents;
mod end;
mod extend;
mod ice;
mod list;
mod open;
mod problem;
mod read;
mod screen;
mod status;

use axum::http::StatusCode;
pub use end::end_as_admin;
use protocol::agent::Document;
use protocol::session::{EndReason, EndStage, SessionStatus, StartStep};
use sea_orm::EntityTrait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::watch;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::current::{CurrentUser, Role};
use crate::db::entity::session;
use crate::error::Problem;
use crate::ids::{SessionId, UserId};
use crate::session::Live;
use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, create::create))
        .routes(routes!(read::read, end::end))
        .routes(routes!(status::status))
        .routes(routes!(extend::extend))
        .routes(routes!(screen::screen))
        .routes(routes!(open::open))
        .routes(routes!(documents::list::list, documents::open::open))
        .routes(routes!(documents::save::save))
        .routes(routes!(documents::export::export))
        .routes(routes!(documents::thumbnail::thumbnail))
        .routes(routes!(ice::ice))
}

/// One run of GIMP on a workspace.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub id: SessionId,
    pub user_id: UserId,
    /// Always `gimp`.
    pub application: String,
    pub status: SessionStatus,
    /// How far the start is.
    pub step: Option<StartStep>,
    /// How far the end is.
    pub stage: Option<EndStage>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When GIMP was there to be used.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// Set as soon as an end begins.
    pub end_reason: Option<EndReason>,
    /// For people.
    pub end_detail: Option<String>,
    /// When the session ends unless it is extended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// The page of the session.
    pub endpoint: String,
    pub resources: Resources,
    /// Seconds without human input, as far as is known, while the session runs.
    pub idle_seconds: Option<u64>,
    /// What GIMP has open. None: that is not known, or the session is somebody else's.
    pub documents: Option<Vec<Document>>,
}

/// Limits of a session, in the notation of Kubernetes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Resources {
    /// Cores, such as `1500m` or `1.5`.
    #[schema(example = "1000m")]
    pub cpu: String,
    #[schema(example = "2Gi")]
    pub memory: String,
}

impl Session {
    /// A row as the API shows it to the session's owner.
    ///
    /// # Errors
    /// When the row has words this version does not know.
    pub fn own(app: &App, row: session::Model) -> Result<Self, Problem> {
        let live = app.sessions.live(SessionId(row.id));
        let documents = live.and_then(|live| live.borrow().report.as_ref()?.documents.clone());
        Ok(Self { documents, ..Self::new(app, row)? })
    }

    /// As `own` to its owner, as `new` to administrators.
    ///
    /// # Errors
    /// When the row has words this version does not know.
    pub fn seen_by(user: &CurrentUser, app: &App, row: session::Model) -> Result<Self, Problem> {
        if row.user_id == user.id.0 { Self::own(app, row) } else { Self::new(app, row) }
    }

    /// A row as the API shows it to whoever may know of the session, without what is inside.
    ///
    /// # Errors
    /// When the row has words this version does not know.
    pub fn new(app: &App, row: session::Model) -> Result<Self, Problem> {
        let id = SessionId(row.id);
        let live = app.sessions.live(id);
        Ok(Self {
            id,
            user_id: UserId(row.user_id),
            application: row.application,
            status: known(&row.status)?,
            step: row.step.as_deref().map(known).transpose()?,
            stage: row.stage.as_deref().map(known).transpose()?,
            created_at: row.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            end_reason: row.end_reason.as_deref().map(known).transpose()?,
            end_detail: row.end_detail,
            expires_at: row.expires_at,
            endpoint: format!("{}/session/{id}", app.settings.public_url()),
            resources: Resources { cpu: row.cpu_request, memory: row.memory_request },
            idle_seconds: live.and_then(|live| live.borrow().idle_seconds(app.clock.now())),
            documents: None,
        })
    }
}

fn known<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::internal(format!("unknown word in the table of sessions: {text}")))
}

/// The row of a session that the user may know about.
///
/// # Errors
/// 404 for everybody but its owner and administrators.
pub async fn find(app: &App, user: &CurrentUser, id: SessionId) -> Result<session::Model, Problem> {
    let row = session::Entity::find_by_id(id.0).one(&app.db).await?;
    row.filter(|row| row.user_id == user.id.0 || user.role == Role::Admin).ok_or_else(|| Problem::not_found("session"))
}

/// The row of a session for whoever wants to see or change what is inside.
///
/// # Errors
/// 404 as `find`; 403 `session.notYours` for administrators who are not its owner.
pub async fn find_own(app: &App, user: &CurrentUser, id: SessionId) -> Result<session::Model, Problem> {
    let row = find(app, user, id).await?;
    if row.user_id == user.id.0 {
        return Ok(row);
    }
    let detail = "Only its owner may look into a session. As an administrator you can end it.";
    Err(Problem::new(StatusCode::FORBIDDEN, "session.notYours", detail))
}

/// What becomes of a session whose GIMP can be used now.
///
/// # Errors
/// 409 `session.notRunning`.
pub async fn usable(app: &App, row: &session::Model) -> Result<watch::Receiver<Live>, Problem> {
    let live = app.sessions.watch_closely(SessionId(row.id)).await?;
    live.borrow().life.usable()?;
    Ok(live)
}

#[cfg(test)]
mod tests;
