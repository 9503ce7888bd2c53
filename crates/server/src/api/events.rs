//! `GET /events`: what changes, as it changes.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::sessions::Session;
use crate::auth::current::CurrentUser;
use crate::db::entity::session::{Column, Entity};
use crate::error::Problem;
use crate::ids::{SessionId, UserId};
use crate::session::lifecycle::{Notice, NoticeKind};
use crate::session::watchers::{self, STREAMS_PER_USER, Subscription};
use crate::state::App;
use crate::workspace::quota::Quota;

/// Proxies close what is silent for longer.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(events))
}

/// An event of the stream: its name and its data.
#[derive(Serialize, ToSchema)]
#[serde(tag = "event", content = "data", rename_all = "camelCase")]
pub enum StreamEvent {
    /// First of all: the full state.
    Sessions(SessionsEvent),
    /// A session changed.
    Session(Session),
    /// Something the user should know.
    Notice(NoticeEvent),
    /// The workspace's usage or quota changed.
    Quota(Quota),
}

#[derive(Serialize, ToSchema)]
pub struct SessionsEvent {
    /// Those that have not ended, the newest first.
    sessions: Vec<Session>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoticeEvent {
    session_id: SessionId,
    kind: NoticeKind,
    /// For people.
    detail: String,
    /// When it happened or, for a warning, will.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// Event `sessions` first, with the full state, and a `notice` for each warning that still holds; then `session`, `notice` and `quota` as things change. The schema's `event`
/// is the name of the server-sent event, its `data` the data, as JSON. A reader that is too slow is cut off and gets the
/// full state when it connects again.
#[utoipa::path(
    get, path = "/events", tag = "events", operation_id = "events",
    responses(
        (status = 200, body = StreamEvent, content_type = "text/event-stream"),
        (status = 401, description = "auth.signedOut"),
        (status = 429, description = "events.tooMany"),
    ),
)]
pub async fn events(
    State(app): State<App>,
    user: CurrentUser,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let subscription = app.sessions.watchers().subscribe(user.id).map_err(|_| {
        let detail = format!("You have {STREAMS_PER_USER} pages open. Close some of them and load this one again.");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "events.tooMany", detail).retry_after(10)
    })?;
    // After subscribing, so that no change is missed in between.
    let first = full_state(&app, user.id).await?;
    let ended = {
        let (app, user) = (app.clone(), user.clone());
        async move {
            let stopping = app.background.closing();
            tokio::select! {
                () = crate::auth::watch::rights_lost(&app, &user) => {}
                () = stopping.cancelled() => {}
            }
        }
    };
    let changes = futures::stream::unfold((app, subscription), |(app, mut subscription)| async {
        let event = next(&app, &mut subscription).await?;
        Some((Ok(event), (app, subscription)))
    });
    let stream = futures::stream::iter(first.into_iter().map(Ok)).chain(changes).take_until(Box::pin(ended));
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// None: too slow, or something failed; the reader connects again.
async fn next(app: &App, subscription: &mut Subscription) -> Option<Event> {
    loop {
        let event = match subscription.next().await? {
            watchers::Event::Session(id) => {
                let row = Entity::find_by_id(id.0).one(&app.db).await;
                // Removed with its user.
                let Some(row) = row.map_err(Problem::from).ok()? else { continue };
                StreamEvent::Session(Session::own(app, row).ok()?)
            }
            watchers::Event::Notice(session_id, notice) => StreamEvent::Notice(NoticeEvent::new(session_id, notice)),
            watchers::Event::Quota(quota) => StreamEvent::Quota(quota),
        };
        return event.sent().ok();
    }
}

async fn full_state(app: &App, user: UserId) -> Result<Vec<Event>, Problem> {
    let rows = Entity::find().filter(Column::UserId.eq(user.0)).filter(Column::EndedAt.is_null());
    let rows = rows.order_by_desc(Column::Id).all(&app.db).await?;
    let warnings = rows.iter().map(|row| SessionId(row.id)).flat_map(|id| {
        let warnings = app.sessions.live(id).map(|live| live.borrow().life.warnings()).unwrap_or_default();
        warnings.into_iter().map(move |notice| StreamEvent::Notice(NoticeEvent::new(id, notice)))
    });
    let warnings: Vec<_> = warnings.collect();
    let sessions = rows.into_iter().map(|row| Session::own(app, row)).collect::<Result<_, _>>()?;
    let all = StreamEvent::Sessions(SessionsEvent { sessions });
    std::iter::once(all).chain(warnings).map(|event| event.sent()).collect()
}

impl NoticeEvent {
    fn new(session_id: SessionId, Notice { kind, detail, at }: Notice) -> Self {
        Self { session_id, kind, detail, at }
    }
}

impl StreamEvent {
    fn sent(&self) -> Result<Event, Problem> {
        // The names on the wire are those of the description.
        let value = serde_json::to_value(self).map_err(Problem::internal)?;
        let name = value["event"].as_str().unwrap_or_default();
        Event::default().event(name).json_data(&value["data"]).map_err(Problem::internal)
    }
}

#[cfg(test)]
mod tests;
